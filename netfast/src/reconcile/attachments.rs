//! What container runtimes ask for: one interface of one container at a time.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;

use super::instance::Instance;
use super::topology;
use crate::model::{Endpoint, EndpointId, Name, Network, Publish};
use crate::net::Netlink;
use crate::store::{AttachmentRecord, Definitions, Origin};

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
    /// Its addresses, with the lengths of its network's prefixes: IPv4 first.
    pub addresses: Vec<IpNet>,
    /// The gateways of its network, one for each address.
    pub gateways: Vec<IpAddr>,
    /// Whether everything without a better route goes to the gateways.
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
        let key = attachment.key.clone();
        self.change(|definitions| define(definitions, attachment))?;
        self.attachment(&key)?.context("the attachment that was just made is gone")
    }

    /// Takes an attachment down, whatever is left of it. `false`: there was none.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn detach(&mut self, key: &AttachmentKey) -> Result<bool> {
        if !self.definitions().attachments.iter().any(|record| record.key == *key) {
            return Ok(false);
        }
        self.change(|definitions| {
            definitions.attachments.retain(|record| {
                let stays = record.key != *key;
                if !stays {
                    definitions.world.endpoints.remove(&record.endpoint.id);
                    definitions.origins.remove(&record.endpoint.id);
                }
                stays
            });
            Ok(())
        })?;
        Ok(true)
    }

    /// What container runtimes have attached.
    ///
    /// # Errors
    /// When a state file or the kernel cannot be read.
    pub fn attachments(&self) -> Result<Vec<AttachmentView>> {
        let netlink = Netlink::open(self.netns())?;
        let records = self.definitions().attachments.iter();
        records.filter_map(|record| self.attachment_view(&netlink, record).transpose()).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// When a state file or the kernel cannot be read.
    pub fn attachment(&self, key: &AttachmentKey) -> Result<Option<AttachmentView>> {
        let record = self.definitions().attachments.iter().find(|record| record.key == *key);
        let Some(record) = record else { return Ok(None) };
        self.attachment_view(&Netlink::open(self.netns())?, record)
    }

    fn attachment_view(
        &self,
        netlink: &Netlink,
        attachment: &AttachmentRecord,
    ) -> Result<Option<AttachmentView>> {
        let AttachmentRecord { key, endpoint, network } = attachment;
        let Some(record) = self.store().endpoint(&endpoint.id)? else { return Ok(None) };
        let Some(bridge) = self.store().network(&network.name)? else { return Ok(None) };
        let host_mac = match netlink.link(&record.host_ifname) {
            Ok(link) => link.mac,
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e.into()),
        };
        let v4 = record.ip.and_then(|_| network.gateway()).map(IpAddr::V4);
        let v6 = record.ip6.and_then(|_| network.gateway6()).map(IpAddr::V6);
        Ok(Some(AttachmentView {
            key: key.clone(),
            endpoint: endpoint.id.clone(),
            addresses: topology::prefixes(network, record.ip, record.ip6)?,
            gateways: [v4, v6].into_iter().flatten().collect(),
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
        }))
    }
}

/// Puts an attachment beside what is defined.
fn define(definitions: &mut Definitions, attachment: Attachment) -> Result<()> {
    let Attachment { key, mut endpoint, network } = attachment;
    if definitions.attachments.iter().any(|record| record.key == key) {
        bail!(
            "container {} has an interface {} in network {} already (delete it first)",
            key.container,
            key.ifname,
            key.network
        );
    }
    endpoint.network = key.network.clone();
    endpoint.ifname = Some(key.ifname.clone());
    endpoint.id.name = free_name(definitions, &endpoint.id, &key.container)?;
    let of_container = |record: &&AttachmentRecord| record.key.container == key.container;
    let published: Vec<_> = definitions
        .attachments
        .iter()
        .filter(of_container)
        .flat_map(|record| &record.endpoint.publish)
        .map(|publish| (publish.host_ip, publish.host, publish.protocol))
        .collect();
    endpoint.publish.retain(|p| p.host.is_none() || !published.contains(&(p.host_ip, p.host, p.protocol)));
    match definitions.world.networks.get(&network.name) {
        Some(defined) if *defined == network => {}
        Some(_) => bail!(
            "network {} is defined differently (subnets, mtu, internal and routed must be the same)",
            network.name
        ),
        None => {
            definitions.world.networks.insert(network.name.clone(), network.clone());
        }
    }
    definitions.origins.insert(endpoint.id.clone(), Origin::Cni);
    definitions.world.endpoints.insert(endpoint.id.clone(), endpoint.clone());
    definitions.attachments.push(AttachmentRecord { key, endpoint, network });
    Ok(())
}

/// The name asked for; where another endpoint has it, with as much of the container's id as makes it the only one.
fn free_name(definitions: &Definitions, id: &EndpointId, container: &str) -> Result<Name> {
    let is_taken = |name: &Name| {
        let id = EndpointId { name: name.clone(), ..id.clone() };
        definitions.world.endpoints.contains_key(&id)
    };
    let container = container.to_lowercase();
    let pieces = [8, container.len()].into_iter().filter_map(|length| container.get(..length));
    let longer = pieces.filter_map(|piece| format!("{}-{piece}", id.name).parse::<Name>().ok());
    std::iter::once(id.name.clone())
        .chain(longer)
        .find(|name| !is_taken(name))
        .with_context(|| format!("endpoint {id} exists already (remove it first: netfast endpoint rm {id})"))
}
