//! Networks: their subnets, and what fits into them.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::special::special;
use super::{Problem, Subject};
use crate::model::{Name, Network, Subnet, World};

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
    if network.subnets().next().is_none() {
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
    for subnet in network.subnets() {
        let (field, net) = (field(subnet), subnet.net);
        if let Some(what) = special(net) {
            problems.push(Problem::new(&subject, field, format!("{net} holds {what} addresses")));
        } else if usable(subnet) == 0 {
            let message = format!("{net} leaves no address for an endpoint");
            problems.push(Problem::new(&subject, field, message).help("use a shorter prefix"));
        }
    }
    for is_v4 in [true, false] {
        problems.extend(too_full(network, members, is_v4, &subject));
    }
}

/// Says that the subnets of a family have not as many addresses as there are endpoints. Each may have one of any of them.
fn too_full(network: &Network, members: usize, is_v4: bool, subject: &Subject) -> Option<Problem> {
    let subnets: Vec<_> = network.subnets().filter(|subnet| subnet.net.addr().is_ipv4() == is_v4).collect();
    let first = subnets.first()?;
    let room = subnets.iter().map(|subnet| usable(*subnet)).fold(0, u128::saturating_add);
    if room == 0 || !usize::try_from(room).is_ok_and(|room| room < members) {
        return None;
    }
    let nets: Vec<_> = subnets.iter().map(|subnet| subnet.net.to_string()).collect();
    let have = if nets.len() == 1 { "has" } else { "have" };
    let plural = if room == 1 { "" } else { "s" };
    let message =
        format!("{} {have} addresses for {room} endpoint{plural}, not for {members}", nets.join(" and "));
    Some(Problem::new(subject, field(*first), message).help("use a shorter prefix"))
}

/// A gateway that was asked for is a host of its subnet.
fn gateways(network: &Network, subject: &Subject, problems: &mut Vec<Problem>) {
    for Subnet { net, fixed_gateway } in network.subnets() {
        let is_host = |gateway| Subnet { net, fixed_gateway: Some(net.network()) }.may_assign(gateway);
        if let Some(gateway) = fixed_gateway.filter(|gateway| !is_host(*gateway)) {
            let message = format!("{gateway} is no address of a host in the network's subnet");
            problems.push(Problem::new(subject, "gateway", message));
        }
    }
}

/// The name of a subnet's field.
fn field(subnet: Subnet) -> &'static str {
    if subnet.net.addr().is_ipv4() { "subnet" } else { "subnet6" }
}

/// How many addresses a subnet has for endpoints.
fn usable(subnet: Subnet) -> u128 {
    match subnet.net {
        // Network, gateway and broadcast are taken.
        IpNet::V4(net) => (1_u128 << (32 - net.prefix_len())).saturating_sub(3),
        // The anycast address and the gateway are taken.
        IpNet::V6(net) => {
            let all = 1_u128.checked_shl(128 - u32::from(net.prefix_len())).unwrap_or(u128::MAX);
            all.saturating_sub(2)
        }
    }
}

/// What is wrong with an MTU in a network.
pub(super) fn mtu(mtu: u16, network: &Network) -> Option<String> {
    let (least, why) = if network.subnets().any(|subnet| subnet.net.addr().is_ipv6()) {
        (1280, "IPv6")
    } else {
        (576, "IPv4")
    };
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
        .flat_map(|network| network.subnets().map(move |subnet| (subnet.net, network, field(subnet))))
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
