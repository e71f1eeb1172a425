//! Numbers, names and addresses for what a world asks for. What has them keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use netfast_common::addr::Mac;

use super::owner::Owner;
use super::ports::{self, PortFacts};
use crate::compile::policy::Assigned;
use crate::model::{AddressRange, Attachment, Endpoint, EndpointId, FurtherAddress, Name, Network, World};
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
    owner: Owner,
    netns_dir: &Path,
    ports: &PortFacts,
) -> Result<Records> {
    let mut new = Records::default();
    for network in world.networks.values() {
        let record = match old.networks.get(&network.name) {
            Some(record) if suits_network(record, network) => record.clone(),
            _ => network_record(network, instance.take_network()?, owner),
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
            let taken = addresses.take(endpoint, network)?;
            endpoint_record(endpoint, network, netns, instance.take_incarnation()?, slot, taken)
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
    for record in oldest_first {
        let EndpointRecord { id, mac, .. } = record;
        for address in record.addresses().map(|ip| ip.to_string()).chain([Mac::new(*mac).to_string()]) {
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
            let taken = addresses.take(endpoint, world.networks.get(&endpoint.network)?).ok()?;
            Some((endpoint.id.clone(), taken))
        })
        .collect()
}

fn suits_network(record: &NetworkRecord, network: &Network) -> bool {
    record.subnet == network.subnet
        && record.subnet6 == network.subnet6
        && record.fixed_gateway == network.fixed_gateway
        && record.fixed_gateway6 == network.fixed_gateway6
        && record.more == network.more
        && record.mtu == network.mtu
        && record.internal == network.internal
        && record.adopted == network.adopted
}

fn suits_endpoint(record: &EndpointRecord, endpoint: &Endpoint, network: &Network, netns: &Path) -> bool {
    fn suits<T: PartialEq + Copy>(asked: Option<T>, has: Option<T>) -> bool {
        asked.is_none_or(|asked| has == Some(asked))
    }
    let more = || record.more.iter().copied().map(Some).zip(endpoint.more.iter().map(|further| further.ip));
    let is_as_many = record.more.len() == endpoint.more.len();
    if network.adopted {
        // Whatever else there is of it is as it is found.
        return record.network == network.name
            && (record.ip, record.ip6) == (endpoint.ip, endpoint.ip6)
            && is_as_many
            && more().all(|(has, asked)| has == asked)
            && record.container_ifname == endpoint.ifname()
            && record.netns == netns;
    }
    record.network == network.name
        && record.ip.is_some() == network.subnet.is_some()
        && record.ip6.is_some() == network.subnet6.is_some()
        && suits(endpoint.ip, record.ip)
        && suits(endpoint.ip6, record.ip6)
        && is_as_many
        && more().all(|(has, asked)| suits(asked, has))
        && suits(endpoint.mac, Some(record.mac))
        && record.mtu == endpoint.mtu.unwrap_or(network.mtu)
        && record.netns == netns
        && record.container_ifname == endpoint.ifname()
}

/// The record of a new network.
pub(super) fn network_record(network: &Network, id: u32, owner: Owner) -> NetworkRecord {
    NetworkRecord {
        name: network.name.clone(),
        id,
        subnet: network.subnet,
        subnet6: network.subnet6,
        fixed_gateway: network.fixed_gateway,
        fixed_gateway6: network.fixed_gateway6,
        more: network.more.clone(),
        mtu: network.mtu,
        internal: network.internal,
        adopted: network.adopted,
        bridge: device_name("nf-", network.name.as_str(), id),
        mac: owner.bridge_mac(id),
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
    Assigned { ip, ip6, more }: Assigned,
) -> EndpointRecord {
    let [a, b, c, d] = incarnation.to_be_bytes();
    EndpointRecord {
        id: endpoint.id.clone(),
        incarnation,
        slot,
        network: network.name.clone(),
        ip,
        ip6,
        more,
        // Locally administered; the second byte keeps it apart from what is at the host.
        mac: endpoint.mac.unwrap_or([0x02, 0x65, a, b, c, d]),
        // The incarnation makes it unique, the name makes it readable.
        host_ifname: device_name(&format!("nf{incarnation}-"), endpoint.id.name.as_str(), incarnation),
        host_ifindex: None,
        container_ifname: endpoint.ifname().to_owned(),
        aliases: endpoint.aliases.clone(),
        apart: false,
        mtu: endpoint.mtu.unwrap_or(network.mtu),
        netns,
        owns_netns: endpoint.attachment == Attachment::Create,
        netns_inode: None,
        adopted: None,
        publish: Vec::new(),
        command: None,
    }
}

/// The name of a network's bridge where another instance has one of the usual name.
pub(super) fn other_bridge_name(record: &NetworkRecord, owner: Owner) -> String {
    device_name(&format!("nf-{owner}-"), record.name.as_str(), record.id)
}

/// The name of the host's end of an endpoint's pair where another instance has one of the usual name.
pub(super) fn other_port_name(record: &EndpointRecord, owner: Owner) -> String {
    let incarnation = record.incarnation;
    device_name(&format!("nf{incarnation}-{owner}-"), record.id.name.as_str(), incarnation)
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
    let suffix =
        if prefix.starts_with(&format!("nf{number}-")) { String::new() } else { format!("-{number}") };
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
    let taken = used.iter().zip(0..).take_while(|(used, number)| *used == number);
    taken.last().map_or(0, |(_, number)| number + 1)
}

/// The addresses that are taken.
pub(super) struct Addresses {
    used: BTreeSet<IpAddr>,
}

impl Addresses {
    /// Taken are those asked for by name, and those that are in use now: an address that is being given up is
    /// better not given to somebody else at once.
    fn new(world: &World, old: &Records) -> Self {
        let asked = world.endpoints.values().flat_map(Endpoint::asked);
        let in_use = old.endpoints.values().flat_map(EndpointRecord::addresses);
        Self { used: asked.chain(in_use).collect() }
    }

    /// With these taken.
    pub(super) const fn taken(used: BTreeSet<IpAddr>) -> Self {
        Self { used }
    }

    /// Gives an endpoint its addresses.
    ///
    /// # Errors
    /// When there is none left.
    pub(super) fn take(&mut self, endpoint: &Endpoint, network: &Network) -> Result<Assigned> {
        let first = |asked: Option<IpAddr>, net: Option<IpNet>| match (asked, net) {
            (Some(ip), _) => Ok(Some(ip)),
            (None, None) => Ok(None),
            (None, Some(net)) => {
                let of_family = |range: &&AddressRange| range.first.is_ipv4() == net.addr().is_ipv4();
                let own: Vec<_> = endpoint.ranges.iter().filter(of_family).copied().collect();
                self.choose(network, &own, net).map(Some)
            }
        };
        let ip = first(endpoint.ip.map(IpAddr::V4), network.subnet.map(IpNet::V4))?;
        let ip6 = first(endpoint.ip6.map(IpAddr::V6), network.subnet6.map(IpNet::V6))?;
        self.used.extend(ip.into_iter().chain(ip6));
        let mut more = Vec::new();
        for FurtherAddress { ip, ranges } in &endpoint.more {
            let subnet = ranges.first().and_then(|range| network.subnet_of(range.first));
            let further = match (ip, subnet) {
                (Some(ip), _) => *ip,
                (None, Some(subnet)) => self.choose(network, ranges, subnet.net)?,
                (None, None) => {
                    bail!("endpoint {}: network {} has no such subnet", endpoint.id, network.name)
                }
            };
            self.used.insert(further);
            more.push(further);
        }
        if ip.is_none() && ip6.is_none() {
            bail!("endpoint {}: network {} has no subnet", endpoint.id, network.name);
        }
        Ok(Assigned {
            ip: ip.and_then(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }),
            ip6: ip6.and_then(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None }),
            more,
        })
    }

    /// The first address of these ranges that is free; of `net` where there are none.
    fn choose(&self, network: &Network, ranges: &[AddressRange], net: IpNet) -> Result<IpAddr> {
        // What is taken, and network, gateway and broadcast: a free one is among one more than those if there is one at all.
        let most = u128::try_from(self.used.len()).unwrap_or(u128::MAX).saturating_add(3);
        let whole = [AddressRange::whole(net)];
        let tried = if ranges.is_empty() { whole.as_slice() } else { ranges };
        let mut candidates = tried.iter().flat_map(|range| beginning(range, most));
        candidates
            .find(|ip| network.may_assign(*ip) && !self.used.contains(ip))
            .with_context(|| full(network, ranges, net))
    }
}

/// The first of a range, and so many behind it.
fn beginning(range: &AddressRange, most: u128) -> impl Iterator<Item = IpAddr> + use<> {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    let is_v4 = range.first.is_ipv4();
    let (first, last) = (bits(range.first), bits(range.last));
    (first..=first.saturating_add(most).min(last)).filter_map(move |bits| {
        if is_v4 {
            Some(Ipv4Addr::from(u32::try_from(bits).ok()?).into())
        } else {
            Some(Ipv6Addr::from(bits).into())
        }
    })
}

fn full(network: &Network, ranges: &[AddressRange], net: IpNet) -> String {
    let subnets = network.subnets().map(|subnet| subnet.net);
    let held = subnets.filter(|net| ranges.iter().any(|range| net.contains(&range.first)));
    let (part, of) = if ranges.is_empty() {
        ("", net.to_string())
    } else {
        ("the ranges of ", held.map(|net| net.to_string()).collect::<Vec<_>>().join(" and "))
    };
    format!(
        "network {} has no free address left in {part}{of} (remove an endpoint, or use a larger subnet)",
        network.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_that_is_free() {
        for (used, free) in [(vec![], 0), (vec![0, 1, 2], 3), (vec![1, 2], 0), (vec![0, 1, 3, 7], 2)] {
            assert_eq!(lowest_free(&used.into_iter().collect()), free);
        }
    }

    #[test]
    fn device_names_fit_and_stay_readable() {
        assert_eq!(device_name("nf-", "lab", 1), "nf-lab");
        assert_eq!(device_name("nf12-", "web", 12), "nf12-web");
        assert_eq!(device_name("nf12-", "a-very-long-name", 12), "nf12-a-very-lon");
        assert_eq!(device_name("nf-", "a-very-long-network", 7), "nf-a-very-lon-7");
        assert_eq!(device_name("nf-", "a-very-l--long-name", 7), "nf-a-very-l-7");
        assert_eq!(device_name("nf-07a2-", "a-very-long-name", 7), "nf-07a2-a-ver-7");
        assert_eq!(device_name("nf12-07a2-", "web-server", 12), "nf12-07a2-web-s");
    }
}
