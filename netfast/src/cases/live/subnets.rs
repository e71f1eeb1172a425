//! Which subnets a group of cases is played in.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::super::Group;
use super::super::world::Scene;
use crate::manifest::cases::{End, NETWORK};
use crate::model::Network;
use crate::model::check::special::special;
use crate::model::name::NameError;

/// Uplinks to choose from: the host is the first address, the world outside the second.
const UPLINKS4: [(IpAddr, u8); 4] = [
    (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 252)), 30),
    (IpAddr::V4(Ipv4Addr::new(198, 19, 255, 252)), 30),
    (IpAddr::V4(Ipv4Addr::new(100, 127, 255, 252)), 30),
    (IpAddr::V4(Ipv4Addr::new(192, 0, 0, 252)), 30),
];
const UPLINKS6: [(IpAddr, u8); 3] = [
    (IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xffff, 0, 0, 0, 0)), 126),
    (IpAddr::V6(Ipv6Addr::new(0xfdff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 0)), 126),
    (IpAddr::V6(Ipv6Addr::new(0x3fff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 0)), 126),
];

/// The subnets of the endpoints' network, and of the uplink.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) network: Network,
    uplinks: [IpNet; 2],
}

impl Plan {
    /// One network that holds the endpoints of all cases, as those of two would not reach each other, and as few of
    /// the addresses outside as can be.
    ///
    /// # Errors
    /// Says why there is no such network.
    pub(super) fn new(scenes: &[&Scene], group: &Group<'_>) -> Result<Self, String> {
        let addresses = || scenes.iter().flat_map(|scene| scene.addresses.values());
        let held4: BTreeSet<IpAddr> =
            addresses().filter_map(|assigned| assigned.ip.map(IpAddr::V4)).collect();
        let held6: BTreeSet<IpAddr> =
            addresses().filter_map(|assigned| assigned.ip6.map(IpAddr::V6)).collect();
        let ends = group.iter().flat_map(|case| &case.probes).flat_map(|probe| [&probe.from, &probe.to]);
        let named =
            ends.filter_map(|end| if let End::Address(address) = end { Some(*address) } else { None });
        let outside: BTreeSet<IpAddr> =
            named.filter(|address| !held4.contains(address) && !held6.contains(address)).collect();
        let members = scenes.iter().map(|scene| scene.world.endpoints.len()).max().unwrap_or(0);

        let subnets = [around(&held4, &outside, members)?, around(&held6, &outside, members)?];
        let is_free = |net: &IpNet| {
            let overlaps = |other: &IpNet| other.contains(net) || net.contains(other);
            !outside.iter().any(|address| net.contains(address)) && !subnets.iter().flatten().any(overlaps)
        };
        let free = |candidates: &[(IpAddr, u8)]| {
            let mut nets = candidates.iter().filter_map(|(first, length)| IpNet::new(*first, *length).ok());
            nets.find(is_free).ok_or_else(|| "no addresses are left for an uplink".to_owned())
        };
        let uplinks = [free(&UPLINKS4)?, free(&UPLINKS6)?];
        Ok(Self { network: network(&subnets)?, uplinks })
    }

    /// The host's addresses on the uplink, with the prefixes of that.
    pub(super) fn node(&self) -> Vec<IpNet> {
        self.uplinks.iter().filter_map(|net| nth(*net, 1)).collect()
    }

    /// The addresses of the world outside on the uplink: the host's gateways.
    pub(super) fn outside(&self) -> Vec<IpNet> {
        self.uplinks.iter().filter_map(|net| nth(*net, 2)).collect()
    }

    /// The endpoints' subnet that holds an address.
    pub(super) fn subnet_of(&self, address: IpAddr) -> Option<IpNet> {
        let subnets = [self.network.subnet.map(IpNet::V4), self.network.subnet6.map(IpNet::V6)];
        subnets.into_iter().flatten().find(|net| net.contains(&address))
    }
}

/// An address of a subnet, with its prefix.
fn nth(net: IpNet, n: usize) -> Option<IpNet> {
    // That of IPv4 leaves out the first, which is the subnet's own.
    let skipped = if net.addr().is_ipv4() { n - 1 } else { n };
    IpNet::new(net.hosts().nth(skipped)?, net.prefix_len()).ok()
}

/// The network of the endpoints. Who is outside reaches them by their own addresses.
fn network(subnets: &[Option<IpNet>]) -> Result<Network, String> {
    let name = NETWORK.parse().map_err(|error: NameError| error.to_string())?;
    let mut network = Network { routed: true, ..Network::new(name) };
    for subnet in subnets.iter().flatten() {
        match subnet {
            IpNet::V4(net) => network.subnet = Some(*net),
            IpNet::V6(net) => network.subnet6 = Some(*net),
        }
    }
    Ok(network)
}

/// The subnet that holds all of `inside` and the fewest of `outside`; of several, the smallest. `None` where there is
/// nothing to hold.
fn around(
    inside: &BTreeSet<IpAddr>,
    outside: &BTreeSet<IpAddr>,
    members: usize,
) -> Result<Option<IpNet>, String> {
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else { return Ok(None) };
    let longest: u8 = if first.is_ipv4() { 30 } else { 126 };
    let nets = (1..=longest).rev().filter_map(|length| Some(IpNet::new(*first, length).ok()?.trunc()));
    let fits = |net: &IpNet| {
        let network = network(&[Some(*net)]).ok()?;
        // Its own address, the gateway's and the last one are not for endpoints.
        let host_bits = u32::from(longest) + 2 - u32::from(net.prefix_len());
        let room = 1_usize.checked_shl(host_bits).unwrap_or(usize::MAX) - 3;
        let fits =
            inside.iter().all(|ip| network.may_assign(*ip)) && room >= members && special(*net).is_none();
        fits.then_some(*net)
    };
    let hit = |net: &IpNet| outside.iter().filter(|ip| net.contains(*ip)).count();
    match nets.filter_map(|net| fits(&net)).min_by_key(hit) {
        Some(net) => Ok(Some(net)),
        None => Err(format!("there is no network that holds {first} and {last}, and no special addresses")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_subnet_holds_all_endpoints_and_leaves_out_what_it_can() {
        for (inside, outside, wanted) in [
            (&["10.78.0.10"][..], &[][..], Some("10.78.0.8/30")),
            (&["10.78.0.10", "10.78.2.12"], &["10.78.4.1"], Some("10.78.0.0/22")),
            // The gateway would be an endpoint.
            (&["10.0.0.1", "10.0.0.2"], &[], Some("8.0.0.0/6")),
            // One outside lies between them.
            (&["10.78.0.10", "10.78.0.20"], &["10.78.0.15"], Some("10.78.0.0/27")),
            (&["10.0.0.9", "192.168.0.9"], &[], None),
            (&["fd00::10", "fd00::1:10"], &[], Some("fd00::/111")),
        ] {
            let found = around(&set(inside), &set(outside), inside.len());
            let found = found.ok().flatten().map(|net| net.to_string());
            assert_eq!(found.as_deref(), wanted, "{inside:?}");
        }
        assert_eq!(around(&set(&[]), &set(&[]), 0), Ok(None));
        let many = around(&set(&["10.0.0.9"]), &set(&[]), 100).unwrap().unwrap();
        assert_eq!(many.to_string(), "10.0.0.0/25");
    }

    #[test]
    fn both_ends_of_an_uplink_have_addresses() {
        for (net, wanted) in [
            ("203.0.113.252/30", ["203.0.113.253/30", "203.0.113.254/30"]),
            ("fd00::/126", ["fd00::1/126", "fd00::2/126"]),
        ] {
            let net = net.parse().unwrap();
            assert_eq!([1, 2].map(|n| nth(net, n).unwrap().to_string()), wanted);
        }
    }
}
