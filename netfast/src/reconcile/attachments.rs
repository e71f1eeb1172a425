//! What container runtimes ask for: one interface of one container at a time.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;

use super::attached_network;
use super::entries::Claim;
use super::forced;
use super::instance::Instance;
use super::ledger::Ledger;
use super::rotation::rotate;
use super::topology;
use crate::model::{Endpoint, EndpointId, Name, Network, Publish};
use crate::net::Netlink;
use crate::store::{AttachmentRecord, Definitions, EndpointRecord, NetworkRecord, Origin};

pub use crate::store::AttachmentKey;

/// What a container runtime asks for: one interface of one container in one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// What it is told apart by.
    pub key: AttachmentKey,
    /// The endpoint to make. Its network and the name of its device are those of the key, whatever it says; its name gets a
    /// piece of the container's id where another endpoint has it.
    pub endpoint: Endpoint,
    /// The network, as the runtime knows it: defined by this if there is none of that name.
    pub network: Network,
}

/// An attachment as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentView {
    /// What it is told apart by.
    pub key: AttachmentKey,
    /// The endpoint it is.
    pub endpoint: EndpointId,
    /// Another plugin made its device. Of what that one did, only the addresses are known, without lengths of prefixes.
    pub adopted: bool,
    /// Its addresses, with the lengths of its network's prefixes: the first of each family, IPv4 before IPv6, and those besides.
    pub addresses: Vec<IpNet>,
    /// The gateways of its network, one for each address.
    pub gateways: Vec<IpAddr>,
    /// Whether everything without a better route goes to the gateways, to the first of each family.
    pub default_route: bool,
    /// Name of the host's end of the pair.
    pub host_ifname: String,
    /// Index of the host's end.
    pub host_ifindex: Option<u32>,
    /// MAC address of the host's end; `None`: it is gone.
    pub host_mac: Option<[u8; 6]>,
    /// Name of the container's end.
    pub container_ifname: String,
    /// MAC address of the container's end.
    pub container_mac: [u8; 6],
    /// Path of the container's network namespace.
    pub netns: PathBuf,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Name of the network's bridge.
    pub bridge: String,
    /// MAC address of the bridge.
    pub bridge_mac: [u8; 6],
    /// Ports of the host that lead to it. Without those that another attachment of its container has.
    pub publish: Vec<Publish>,
}

impl Instance {
    /// Makes an endpoint of what a container runtime asks for. Brings the instance up if it is not, and defines the network
    /// if there is none of that name. All or nothing.
    ///
    /// # Errors
    /// When the attachment is there already, the network is defined differently, an address or a port is taken, or the
    /// kernel refuses.
    pub fn attach(&mut self, attachment: Attachment) -> Result<AttachmentView> {
        let Attachment { key, mut endpoint, network } = attachment;
        if !key.is_valid() {
            bail!("{:?} and {:?} are no container and no interface", key.container, key.ifname);
        }
        endpoint.network = key.network.clone();
        endpoint.ifname = Some(key.ifname.clone());
        if self.store().attachment(&key)?.is_some() {
            bail!(
                "container {} has an interface {} in network {} already (delete it first)",
                key.container,
                key.ifname,
                key.network
            );
        }
        let last = self.store().last_addresses(&network.name)?;
        rotate(&mut endpoint, &network, &last);
        let asked: Vec<_> = endpoint.asked().collect();
        let subnets: Vec<_> = network.subnets().collect();
        let record = AttachmentRecord { key, endpoint };
        let view = match self.attach_alone(&record, &network)? {
            Some(view) => view,
            None => self.attach_among_all(record, network)?,
        };
        let given = view.addresses.iter().map(IpNet::addr);
        let chosen: Vec<_> = given.filter(|ip| !asked.contains(ip)).collect();
        let subnet_of = |ip: &IpAddr| subnets.iter().position(|subnet| subnet.net.contains(ip));
        let is_kept = |old: &IpAddr| {
            subnet_of(old).is_some_and(|own| !chosen.iter().any(|ip| subnet_of(ip) == Some(own)))
        };
        let kept = last.into_iter().filter(is_kept);
        let last: Vec<_> = chosen.iter().copied().chain(kept).collect();
        // Without it, the next one begins elsewhere, and no harm is done.
        if let Err(error) = self.store().save_last_addresses(&view.key.network, &last) {
            tracing::warn!(%error, "which address was given last is not noted");
        }
        Ok(view)
    }

    /// Makes the endpoint and looks at nothing else. `None`: that will not do, and nothing was done.
    fn attach_alone(
        &mut self,
        record: &AttachmentRecord,
        network: &Network,
    ) -> Result<Option<AttachmentView>> {
        let mut record = record.clone();
        let Some(ledger) = self.take_ledger()? else { return Ok(None) };
        let Some(mut instance) = self.store().instance()? else { return Ok(None) };
        let is_left = self.store().unfinished_attachment(&record.key)?.is_some();
        if is_left || ledger.networks.get(&network.name) != Some(network) {
            return Ok(None);
        }
        let is_taken = |id: &EndpointId| ledger.entries.find(id).is_some();
        record.endpoint.id.name = free_name(is_taken, &record.endpoint.id, &record.key.container)?;
        let container = record.key.container.as_str();
        let of_container: Vec<_> = ledger.entries.of_container(container).collect();
        if !of_container.is_empty() {
            let published: Vec<_> = of_container.into_iter().flat_map(|entry| entry.published).collect();
            leave_out_published(&mut record.endpoint, &published);
        }
        let mut single = self.single_soon(ledger);
        let made = single
            .add(&mut instance, &record.endpoint, Some(&record.key), |store| {
                Ok(store.begin_attachment(&record)?)
            })
            .and_then(|made| {
                if made.is_some() {
                    self.store().finish_attachment(&record.key)?;
                    single.ledger.save(self.store())?;
                }
                Ok(made)
            });
        self.read_anew();
        let Some(made) = made.or_else(|error| self.undo(error))? else { return Ok(None) };
        let host_mac = match made.host_mac {
            Some(mac) => Some(mac),
            None => host_mac(&Netlink::open(self.netns())?, &made.record)?,
        };
        Ok(Some(view(&record, made.record, made.bridge, host_mac)))
    }

    /// Makes the endpoint in a change of everything.
    fn attach_among_all(&mut self, record: AttachmentRecord, network: Network) -> Result<AttachmentView> {
        let key = record.key.clone();
        // From here on a removal knows what may be left of it.
        self.store().begin_attachment(&record)?;
        let made = self.change(|definitions| define(definitions, record, network));
        if made.is_err() {
            self.store().forget_attachment(&key)?;
        }
        made?;
        self.attachment(&key)?.context("the attachment that was just made is gone")
    }

    /// Takes an attachment down, whatever is left of it, also where state files are damaged or their disk is full. `false`:
    /// there was none.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn detach(&mut self, key: &AttachmentKey) -> Result<bool> {
        if !key.is_valid() {
            return Ok(false);
        }
        let error = match self.detach_in_order(key) {
            Err(error) if forced::is_of_files(&error) => error,
            other => return other,
        };
        tracing::warn!("{error:#}; what is left of the attachment is removed nevertheless");
        let store = self.store();
        let records = [store.attachment(key), store.unfinished_attachment(key)];
        let endpoint = records.into_iter().find_map(|record| Some(record.ok()??.endpoint.id));
        let endpoint = endpoint.or_else(|| {
            let ledger = Ledger::read(store).ok()??;
            ledger.entries.iter().find(|entry| entry.is_of(key)).and_then(|entry| entry.id())
        });
        self.detach_by_force(key, endpoint.as_ref())?;
        Ok(true)
    }

    /// As [`Self::detach`], by a process that ends then. It does not wait until the kernel has freed the device, of which nothing
    /// can be seen any more: a child is left to see to that.
    ///
    /// # Errors
    /// As [`Self::detach`].
    pub fn detach_and_end(mut self, key: &AttachmentKey) -> Result<bool> {
        self.ends_soon = true;
        self.detach(key)
    }

    fn detach_in_order(&mut self, key: &AttachmentKey) -> Result<bool> {
        let Some(record) = self.store().attachment(key)? else {
            if self.store().unfinished_attachment(key)?.is_none() {
                return Ok(false);
            }
            // It is no part of what the instance was asked for, and whatever is not goes.
            self.converge_as_before()?;
            self.store().forget_attachment(key)?;
            return Ok(true);
        };
        if let Some(ledger) = self.take_ledger()? {
            let mut single = self.single(ledger);
            let is_as_left = single.is_host_as_left(&key.network).unwrap_or(false);
            let removed = single.remove(&record.endpoint, |store| Ok(store.end_attachment(key)?)).and_then(
                |is_removed| {
                    if is_removed {
                        self.store().forget_attachment(key)?;
                        single.ledger.save(self.store())?;
                    }
                    Ok(is_removed)
                },
            );
            self.read_anew();
            match removed {
                Ok(true) => {
                    // What others have done to the host is put right too, but must not keep anything from being removed.
                    if !is_as_left && let Err(error) = self.converge_as_before() {
                        tracing::warn!(
                            "the attachment is removed, but the host is not as it should be: {error:#}"
                        );
                    }
                    return Ok(true);
                }
                Ok(false) => {}
                // It is not asked for any more, so all of it goes that can.
                Err(error) => return self.undo(error),
            }
        }
        self.change(|definitions| {
            definitions.world.endpoints.remove(&record.endpoint.id);
            definitions.origins.remove(&record.endpoint.id);
            Ok(())
        })?;
        // The very first one may have been noted before the definitions that it belongs to: then it was not among those.
        self.store().forget_attachment(key)?;
        Ok(true)
    }

    /// What all attachments are told apart by, also those of which something is left because a command was killed that made
    /// or removed them.
    ///
    /// # Errors
    /// When a state file cannot be read.
    pub fn attachment_keys(&self) -> Result<Vec<AttachmentKey>> {
        Ok(self.store().attachment_keys()?)
    }

    /// What container runtimes have attached.
    ///
    /// # Errors
    /// When a state file or the kernel cannot be read.
    pub fn attachments(&self) -> Result<Vec<AttachmentView>> {
        let netlink = Netlink::open(self.netns())?;
        let records = self.store().attachments()?;
        records.iter().filter_map(|record| self.attachment_view(&netlink, record).transpose()).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// When a state file or the kernel cannot be read.
    pub fn attachment(&self, key: &AttachmentKey) -> Result<Option<AttachmentView>> {
        if !key.is_valid() {
            return Ok(None);
        }
        let Some(record) = self.store().attachment(key)? else { return Ok(None) };
        self.attachment_view(&Netlink::open(self.netns())?, &record)
    }

    fn attachment_view(
        &self,
        netlink: &Netlink,
        attachment: &AttachmentRecord,
    ) -> Result<Option<AttachmentView>> {
        let Some(record) = self.store().endpoint(&attachment.endpoint.id)? else { return Ok(None) };
        let Some(bridge) = self.store().network(&record.network)? else { return Ok(None) };
        let host_mac = host_mac(netlink, &record)?;
        Ok(Some(view(attachment, record, bridge, host_mac)))
    }
}

/// The MAC address of the host's end of an endpoint's pair. `None`: it is gone.
fn host_mac(netlink: &Netlink, record: &EndpointRecord) -> Result<Option<[u8; 6]>> {
    match netlink.link(&record.host_ifname) {
        Ok(link) => Ok(link.mac),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// An attachment, by what is written down of its endpoint and of its network.
fn view(
    attachment: &AttachmentRecord,
    record: EndpointRecord,
    bridge: NetworkRecord,
    host_mac: Option<[u8; 6]>,
) -> AttachmentView {
    let AttachmentRecord { key, endpoint } = attachment;
    let network = bridge.network();
    let addresses = if network.adopted {
        record.addresses().map(IpNet::from).collect()
    } else {
        topology::prefixes(&network, &record).collect()
    };
    let gateways = record.addresses().filter_map(|ip| network.gateway_of(ip)).collect();
    AttachmentView {
        key: key.clone(),
        endpoint: endpoint.id.clone(),
        adopted: network.adopted,
        addresses,
        gateways,
        default_route: endpoint.default_route && !network.internal,
        host_ifname: record.host_ifname,
        host_ifindex: record.host_ifindex,
        host_mac,
        container_ifname: record.container_ifname,
        container_mac: record.mac,
        netns: record.netns,
        mtu: record.mtu,
        bridge: bridge.bridge,
        bridge_mac: bridge.mac,
        publish: record.publish.into_iter().map(|record| record.publish).collect(),
    }
}

/// Puts an attachment beside what is defined.
fn define(definitions: &mut Definitions, record: AttachmentRecord, network: Network) -> Result<()> {
    let AttachmentRecord { key, mut endpoint } = record;
    let is_taken = |id: &EndpointId| definitions.world.endpoints.contains_key(id);
    endpoint.id.name = free_name(is_taken, &endpoint.id, &key.container)?;
    end_stale(definitions, &endpoint);
    let of_container = definitions.attachments.iter().filter(|record| record.key.container == key.container);
    let published: Vec<_> =
        of_container.flat_map(|record| &record.endpoint.publish).filter_map(Claim::of).collect();
    leave_out_published(&mut endpoint, &published);
    attached_network::define(definitions, network)?;
    definitions.origins.insert(endpoint.id.clone(), Origin::Cni);
    definitions.world.endpoints.insert(endpoint.id.clone(), endpoint.clone());
    definitions.attachments.push(AttachmentRecord { key, endpoint });
    Ok(())
}

/// Removes attachments that had the endpoint's device in its namespace. It is not there any more, or this one could not be
/// made: their container is gone, and the path of its namespace means another one's, as numbers of processes come again.
fn end_stale(definitions: &mut Definitions, endpoint: &Endpoint) {
    let place = |endpoint: &Endpoint| (endpoint.attachment.clone(), endpoint.ifname().to_owned());
    let stale = definitions.attachments.iter().map(|record| &record.endpoint);
    let stale: Vec<_> =
        stale.filter(|other| place(other) == place(endpoint)).map(|other| other.id.clone()).collect();
    for id in stale {
        definitions.world.endpoints.remove(&id);
        definitions.origins.remove(&id);
    }
}

/// Ports that one container publishes in two networks are the first one's: a runtime tells each of them.
fn leave_out_published(endpoint: &mut Endpoint, published: &[Claim]) {
    endpoint.publish.retain(|publish| Claim::of(publish).is_none_or(|claim| !published.contains(&claim)));
}

/// The name asked for; where another endpoint has it, with as much of the container's id as makes it the only one.
fn free_name(is_taken: impl Fn(&EndpointId) -> bool, id: &EndpointId, container: &str) -> Result<Name> {
    let container = container.to_lowercase();
    let pieces = [8, container.len()].into_iter().filter_map(|length| container.get(..length));
    let longer = pieces.filter_map(|piece| format!("{}-{piece}", id.name).parse::<Name>().ok());
    std::iter::once(id.name.clone())
        .chain(longer)
        .find(|name| !is_taken(&EndpointId { name: name.clone(), ..id.clone() }))
        .with_context(|| format!("endpoint {id} exists already (remove it first: netfast endpoint rm {id})"))
}

#[cfg(test)]
#[path = "attachments_tests.rs"]
mod tests;
