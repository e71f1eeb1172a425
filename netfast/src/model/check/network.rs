//! Networks: their subnets, and what fits into them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::special::special;
use super::{Problem, Subject};
use crate::model::{Name, Network, World};

/// Most endpoints of a network of ours. A bridge takes 1,023 ports; some are left for what comes between.
pub const MAX_ENDPOINTS: usize = 1000;

/// The largest MTU of a veth pair, whose frames end at 65,535 bytes with their header.
const MAX_MTU: u16 = 65521;

pub(super) fn check(world: &World) -> Vec<Problem> {
    let mut members: BTreeMap<&Name, usize> = BTreeMap::new();
    for endpoint in world.endpoints.values() {
        *members.entry(&endpoint.network).or_default() += 1;
    }
    let mut problems = Vec::new();
    for network in world.networks.values() {
        alone(network, members.get(&network.name).copied().unwrap_or(0), &mut problems);
    }
    overlaps(world, &mut problems);
    problems
}

/// What a network must be by itself.
fn alone(network: &Network, members: usize, problems: &mut Vec<Problem>) {
    if network.adopted {
        return;
    }
    let subject = Subject::Network(network.name.clone());
    if network.subnet.is_none() && network.subnet6.is_none() {
        problems.push(Problem::new(&subject, "", "it has neither a subnet nor a subnet6"));
    }
    if network.internal && network.routed {
        let message = "an internal network has no outside to be routed to";
        problems.push(Problem::new(&subject, "routed", message).help("drop one of internal and routed"));
    }
    if let Some(message) = mtu(network.mtu, network) {
        problems.push(Problem::new(&subject, "mtu", message));
    }
    if members > MAX_ENDPOINTS {
        let message = format!("{members} endpoints; a network takes {MAX_ENDPOINTS}");
        problems.push(Problem::new(&subject, "", message).help("spread them over several networks"));
    }
    gateways(network, &subject, problems);
    for (field, net, usable) in subnets(network) {
        if let Some(what) = special(net) {
            problems.push(Problem::new(&subject, field, format!("{net} holds {what} addresses")));
        } else if usable == 0 {
            let message = format!("{net} leaves no address for an endpoint");
            problems.push(Problem::new(&subject, field, message).help("use a shorter prefix"));
        } else if usize::try_from(usable).is_ok_and(|usable| usable < members) {
            let plural = if usable == 1 { "" } else { "s" };
            let message = format!("{net} has addresses for {usable} endpoint{plural}, not for {members}");
            problems.push(Problem::new(&subject, field, message).help("use a shorter prefix"));
        }
    }
}

/// A gateway that was asked for is a host of its subnet.
fn gateways(network: &Network, subject: &Subject, problems: &mut Vec<Problem>) {
    let v4 = network.fixed_gateway.map(|gateway| {
        let is_host =
            |net: Ipv4Net| net.contains(&gateway) && gateway != net.network() && gateway != net.broadcast();
        (IpAddr::V4(gateway), network.subnet.is_some_and(is_host))
    });
    let v6 = network.fixed_gateway6.map(|gateway| {
        let is_host = |net: Ipv6Net| net.contains(&gateway) && gateway != net.network();
        (IpAddr::V6(gateway), network.subnet6.is_some_and(is_host))
    });
    for (gateway, _) in v4.into_iter().chain(v6).filter(|(_, is_host)| !is_host) {
        let message = format!("{gateway} is no address of a host in the network's subnet");
        problems.push(Problem::new(subject, "gateway", message));
    }
}

/// The subnets with the names of their fields and the number of addresses they have for endpoints.
fn subnets(network: &Network) -> impl Iterator<Item = (&'static str, IpNet, u128)> {
    let v4 = network.subnet.map(|net| {
        // Network, gateway and broadcast are taken.
        let all = 1_u128 << (32 - net.prefix_len());
        ("subnet", IpNet::V4(net), all.saturating_sub(3))
    });
    let v6 = network.subnet6.map(|net| {
        // The anycast address and the gateway are taken.
        let all = 1_u128.checked_shl(128 - u32::from(net.prefix_len())).unwrap_or(u128::MAX);
        ("subnet6", IpNet::V6(net), all.saturating_sub(2))
    });
    v4.into_iter().chain(v6)
}

/// What is wrong with an MTU in a network.
pub(super) fn mtu(mtu: u16, network: &Network) -> Option<String> {
    let (least, why) = if network.subnet6.is_some() { (1280, "IPv6") } else { (576, "IPv4") };
    if mtu < least {
        Some(format!("{mtu} is too small: {why} needs {least}"))
    } else if mtu > MAX_MTU {
        Some(format!("{mtu} is too large: a veth pair takes {MAX_MTU}"))
    } else {
        None
    }
}

/// No two networks share an address. Sorted by first address, a block can only overlap with one that is still open.
fn overlaps(world: &World, problems: &mut Vec<Problem>) {
    let mut blocks: Vec<(IpNet, &Network, &'static str)> = world
        .networks
        .values()
        .flat_map(|network| subnets(network).map(move |(field, net, _)| (net, network, field)))
        .collect();
    blocks.sort_by_key(|(net, network, _)| (net.network(), net.prefix_len(), &network.name));
    let mut open: Option<(IpNet, &Network)> = None;
    for (net, network, field) in blocks {
        match open {
            Some((outer, other)) if outer.contains(&net) => {
                let subject = Subject::Network(network.name.clone());
                let message = format!("{net} overlaps with {outer} of network {}", other.name);
                problems.push(Problem::new(&subject, field, message));
            }
            _ => open = Some((net, network)),
        }
    }
}
