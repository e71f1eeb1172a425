//! Numbers, names and addresses for what a world asks for. What has them keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use netfast_common::addr::Mac;

use super::ports::{self, PortFacts};
use crate::compile::policy::Assigned;
use crate::model::{Attachment, Endpoint, EndpointId, Name, Network, World};
use crate::store::{EndpointRecord, Instance, NetworkRecord, Store};

/// The records an instance has, or is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// Networks by name.
    pub networks: BTreeMap<Name, NetworkRecord>,
    /// Endpoints by namespace and name.
    pub endpoints: BTreeMap<EndpointId, EndpointRecord>,
}

impl Records {
    /// Those there are.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(super) fn read(store: &Store) -> Result<Self> {
        Ok(Self { networks: store.networks()?, endpoints: store.endpoints()? })
    }
}

/// The records `world` is to have, given those it has.
///
/// # Errors
/// When a network has no free address left, an endpoint asks for an address that another has, no port is free to be
/// published, or a number is exhausted.
pub(super) fn assign(
    world: &World,
    old: &Records,
    instance: &mut Instance,
    netns_dir: &Path,
    ports: &PortFacts,
) -> Result<Records> {
    let mut new = Records::default();
    for network in world.networks.values() {
        let record = match old.networks.get(&network.name) {
            Some(record) if suits_network(record, network) => record.clone(),
            _ => network_record(network, instance.take_network()?),
        };
        new.networks.insert(network.name.clone(), record);
    }
    let mut addresses = Addresses::new(world, old);
    let mut slots: BTreeSet<u32> = old.endpoints.values().map(|record| record.slot).collect();
    for endpoint in world.endpoints.values() {
        let network = world
            .networks
            .get(&endpoint.network)
            .with_context(|| format!("endpoint {}: there is no network {}", endpoint.id, endpoint.network))?;
        let netns = netns_path(endpoint, netns_dir);
        let kept = old
            .endpoints
            .get(&endpoint.id)
            .filter(|record| old.networks.get(&record.network) == new.networks.get(&endpoint.network))
            .filter(|record| suits_endpoint(record, endpoint, network, &netns));
        let record = if let Some(record) = kept {
            record.clone()
        } else {
            let slot = lowest_free(&slots);
            slots.insert(slot);
            let (ip, ip6) = addresses.take(endpoint, network)?;
            endpoint_record(endpoint, network, netns, instance.take_incarnation()?, slot, (ip, ip6))
        };
        new.endpoints.insert(endpoint.id.clone(), record);
    }
    each_has_its_own(&new)?;
    ports::assign(world, old, instance, ports, &mut new.endpoints)?;
    Ok(new)
}

/// Sees that no endpoint asks for what another was given without having asked, and keeps.
fn each_has_its_own(records: &Records) -> Result<()> {
    let mut oldest_first: Vec<_> = records.endpoints.values().collect();
    oldest_first.sort_by_key(|record| record.incarnation);
    let mut owners: BTreeMap<String, &EndpointId> = BTreeMap::new();
    for EndpointRecord { id, ip, ip6, mac, .. } in oldest_first {
        let addresses = [ip.map(IpAddr::V4), ip6.map(IpAddr::V6)].into_iter().flatten();
        for address in addresses.map(|ip| ip.to_string()).chain([Mac::new(*mac).to_string()]) {
            if let Some(owner) = owners.get(&address) {
                bail!(
                    "endpoint {id}: endpoint {owner} has {address} (ask for another, or remove that one first)"
                );
            }
            owners.insert(address, id);
        }
    }
    Ok(())
}

/// The addresses that `world` would get if it came up where nothing was: of each endpoint for which there are some.
pub(super) fn addresses(world: &World) -> BTreeMap<EndpointId, Assigned> {
    let mut addresses = Addresses::new(world, &Records::default());
    let endpoints = world.endpoints.values();
    endpoints
        .filter_map(|endpoint| {
            let (ip, ip6) = addresses.take(endpoint, world.networks.get(&endpoint.network)?).ok()?;
            Some((endpoint.id.clone(), Assigned { ip, ip6 }))
        })
        .collect()
}

fn suits_network(record: &NetworkRecord, network: &Network) -> bool {
    record.subnet == network.subnet
        && record.subnet6 == network.subnet6
        && record.fixed_gateway == network.fixed_gateway
        && record.fixed_gateway6 == network.fixed_gateway6
        && record.mtu == network.mtu
        && record.internal == network.internal
        && record.adopted == network.adopted
}

fn suits_endpoint(record: &EndpointRecord, endpoint: &Endpoint, network: &Network, netns: &Path) -> bool {
    fn suits<T: PartialEq + Copy>(asked: Option<T>, has: Option<T>) -> bool {
        asked.is_none_or(|asked| has == Some(asked))
    }
    if network.adopted {
        // Whatever else there is of it is as it is found.
        return record.network == network.name
            && (record.ip, record.ip6) == (endpoint.ip, endpoint.ip6)
            && record.container_ifname == endpoint.ifname()
            && record.netns == netns;
    }
    record.network == network.name
        && record.ip.is_some() == network.subnet.is_some()
        && record.ip6.is_some() == network.subnet6.is_some()
        && suits(endpoint.ip, record.ip)
        && suits(endpoint.ip6, record.ip6)
        && suits(endpoint.mac, Some(record.mac))
        && record.mtu == endpoint.mtu.unwrap_or(network.mtu)
        && record.netns == netns
        && record.container_ifname == endpoint.ifname()
}

fn network_record(network: &Network, id: u32) -> NetworkRecord {
    let [a, b, c, d] = id.to_be_bytes();
    NetworkRecord {
        name: network.name.clone(),
        id,
        subnet: network.subnet,
        subnet6: network.subnet6,
        fixed_gateway: network.fixed_gateway,
        fixed_gateway6: network.fixed_gateway6,
        mtu: network.mtu,
        internal: network.internal,
        adopted: network.adopted,
        bridge: device_name("nf-", network.name.as_str(), id),
        // Locally administered; the second byte keeps bridges and endpoints apart.
        mac: [0x02, 0x62, a, b, c, d],
        ifindex: None,
    }
}

/// The record of a new endpoint.
pub(super) fn endpoint_record(
    endpoint: &Endpoint,
    network: &Network,
    netns: PathBuf,
    incarnation: u32,
    slot: u32,
    (ip, ip6): (Option<Ipv4Addr>, Option<Ipv6Addr>),
) -> EndpointRecord {
    let [a, b, c, d] = incarnation.to_be_bytes();
    EndpointRecord {
        id: endpoint.id.clone(),
        incarnation,
        slot,
        network: network.name.clone(),
        ip,
        ip6,
        mac: endpoint.mac.unwrap_or([0x02, 0x65, a, b, c, d]),
        // The incarnation makes it unique, the name makes it readable.
        host_ifname: device_name(&format!("nf{incarnation}-"), endpoint.id.name.as_str(), incarnation),
        host_ifindex: None,
        container_ifname: endpoint.ifname().to_owned(),
        aliases: endpoint.aliases.clone(),
        mtu: endpoint.mtu.unwrap_or(network.mtu),
        netns,
        owns_netns: endpoint.attachment == Attachment::Create,
        netns_inode: None,
        adopted: None,
        publish: Vec::new(),
        command: None,
    }
}

/// Bytes of a device name, without the terminating zero.
const IFNAME_MAX: usize = 15;

/// A device name that starts with `prefix` and says as much of `name` as fits; where that is not all of it and the
/// prefix does not make it unique, it ends in `number`.
fn device_name(prefix: &str, name: &str, number: u32) -> String {
    let whole = format!("{prefix}{name}");
    if whole.len() <= IFNAME_MAX {
        return whole;
    }
    let suffix = if prefix.contains(&number.to_string()) { String::new() } else { format!("-{number}") };
    let kept = IFNAME_MAX.saturating_sub(suffix.len());
    let start = whole.get(..kept).unwrap_or(&whole).trim_end_matches(['-', '.']);
    format!("{start}{suffix}")
}

/// Where an endpoint's network namespace is.
pub(super) fn netns_path(endpoint: &Endpoint, netns_dir: &Path) -> PathBuf {
    match &endpoint.attachment {
        Attachment::Create if endpoint.id.namespace.as_str() == "default" => {
            netns_dir.join(endpoint.id.name.as_str())
        }
        Attachment::Create => netns_dir.join(format!("{}+{}", endpoint.id.namespace, endpoint.id.name)),
        Attachment::Path(path) | Attachment::Adopted(path) => path.clone(),
        Attachment::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
    }
}

/// The lowest number that is not used.
pub(super) fn lowest_free(used: &BTreeSet<u32>) -> u32 {
    (0..u32::MAX).find(|slot| !used.contains(slot)).unwrap_or(u32::MAX)
}

/// The addresses that are taken.
pub(super) struct Addresses {
    used: BTreeSet<IpAddr>,
}

impl Addresses {
    /// Taken are those asked for by name, and those that are in use now: an address that is being given up is
    /// better not given to somebody else at once.
    fn new(world: &World, old: &Records) -> Self {
        let asked = world.endpoints.values().flat_map(|e| [e.ip.map(IpAddr::V4), e.ip6.map(IpAddr::V6)]);
        let in_use = old.endpoints.values().flat_map(|r| [r.ip.map(IpAddr::V4), r.ip6.map(IpAddr::V6)]);
        Self { used: asked.chain(in_use).flatten().collect() }
    }

    /// With these taken.
    pub(super) const fn taken(used: BTreeSet<IpAddr>) -> Self {
        Self { used }
    }

    /// Gives an endpoint its addresses.
    ///
    /// # Errors
    /// When there is none left.
    pub(super) fn take(
        &mut self,
        endpoint: &Endpoint,
        network: &Network,
    ) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>)> {
        let ip = match (endpoint.ip, network.subnet) {
            (Some(ip), _) => Some(ip),
            (None, Some(subnet)) => {
                let whole = (u32::from(subnet.network()), u32::from(subnet.broadcast()));
                let asked = endpoint.ranges.iter().filter_map(|range| match (range.first, range.last) {
                    (IpAddr::V4(first), IpAddr::V4(last)) => Some((u32::from(first), u32::from(last))),
                    _ => None,
                });
                let free = or_whole(asked.collect(), whole)
                    .into_iter()
                    .flat_map(|(first, last)| first..=last)
                    .map(Ipv4Addr::from)
                    .find(|ip| network.may_assign((*ip).into()) && !self.used.contains(&(*ip).into()));
                Some(free.with_context(|| full(endpoint, network, &subnet))?)
            }
            (None, None) => None,
        };
        let ip6 = match (endpoint.ip6, network.subnet6) {
            (Some(ip6), _) => Some(ip6),
            (None, Some(subnet)) => {
                let whole = (u128::from(subnet.network()), u128::from(subnet.broadcast()));
                let asked = endpoint.ranges.iter().filter_map(|range| match (range.first, range.last) {
                    (IpAddr::V6(first), IpAddr::V6(last)) => Some((u128::from(first), u128::from(last))),
                    _ => None,
                });
                // More than this many are never used, so a free one is among them if there is one at all.
                let candidates = u128::try_from(self.used.len()).unwrap_or(u128::MAX).saturating_add(3);
                let free = or_whole(asked.collect(), whole)
                    .into_iter()
                    .flat_map(|(first, last)| first..=first.saturating_add(candidates).min(last))
                    .map(Ipv6Addr::from)
                    .find(|ip| network.may_assign((*ip).into()) && !self.used.contains(&(*ip).into()));
                Some(free.with_context(|| full(endpoint, network, &subnet))?)
            }
            (None, None) => None,
        };
        if ip.is_none() && ip6.is_none() {
            bail!("endpoint {}: network {} has no subnet", endpoint.id, network.name);
        }
        self.used.extend([ip.map(IpAddr::V4), ip6.map(IpAddr::V6)].into_iter().flatten());
        Ok((ip, ip6))
    }
}

/// The ranges asked for; where there are none, the whole subnet.
fn or_whole<T>(asked: Vec<(T, T)>, whole: (T, T)) -> Vec<(T, T)> {
    if asked.is_empty() { vec![whole] } else { asked }
}

fn full(endpoint: &Endpoint, network: &Network, subnet: &dyn std::fmt::Display) -> String {
    let part = if endpoint.ranges.is_empty() { "" } else { "the ranges of " };
    format!(
        "network {} has no free address left in {part}{subnet} (remove an endpoint, or use a larger subnet)",
        network.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_fit_and_stay_readable() {
        assert_eq!(device_name("nf-", "lab", 1), "nf-lab");
        assert_eq!(device_name("nf12-", "web", 12), "nf12-web");
        assert_eq!(device_name("nf12-", "a-very-long-name", 12), "nf12-a-very-lon");
        assert_eq!(device_name("nf-", "a-very-long-network", 7), "nf-a-very-lon-7");
        assert_eq!(device_name("nf-", "a-very-l--long-name", 7), "nf-a-very-l-7");
    }
}
