//! Which subnets a group of cases is played in.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::Group;
use super::super::world::Scene;
use crate::manifest::cases::End;
use crate::model::Network;
use crate::model::check::special::special;
use crate::model::network::DEFAULT_MTU;

/// Uplinks to choose from: the host is the first address, the world outside the second.
const UPLINKS4: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(203, 0, 113, 252), 30),
    (Ipv4Addr::new(198, 19, 255, 252), 30),
    (Ipv4Addr::new(100, 127, 255, 252), 30),
    (Ipv4Addr::new(192, 0, 0, 252), 30),
];
const UPLINKS6: [(Ipv6Addr, u8); 3] = [
    (Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xffff, 0, 0, 0, 0), 126),
    (Ipv6Addr::new(0xfdff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 0), 126),
    (Ipv6Addr::new(0x3fff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 0), 126),
];

/// The subnets of the endpoints' network, and of the uplink.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) network: Network,
    pub(super) uplink4: Ipv4Net,
    pub(super) uplink6: Ipv6Net,
}

impl Plan {
    /// One network that holds the endpoints of all cases, as those of two would not reach each other, and as few of
    /// the addresses outside as can be.
    ///
    /// # Errors
    /// Says why there is no such network.
    pub(super) fn new(scenes: &[&Scene], group: &Group<'_>) -> Result<Self, String> {
        let addresses = || scenes.iter().flat_map(|scene| scene.addresses.values());
        let ips: BTreeSet<IpAddr> = addresses().filter_map(|assigned| assigned.ip.map(IpAddr::V4)).collect();
        let ip6s: BTreeSet<IpAddr> =
            addresses().filter_map(|assigned| assigned.ip6.map(IpAddr::V6)).collect();
        let ends = group.iter().flat_map(|case| &case.probes).flat_map(|probe| [&probe.from, &probe.to]);
        let named =
            ends.filter_map(|end| if let End::Address(address) = end { Some(*address) } else { None });
        let named: BTreeSet<IpAddr> = named.collect();
        let outside: BTreeSet<IpAddr> =
            named.iter().filter(|ip| !ips.contains(ip) && !ip6s.contains(ip)).copied().collect();
        let members = scenes.iter().map(|scene| scene.world.endpoints.len()).max().unwrap_or(0);

        let mut network = Network {
            name: "case".parse().map_err(|error| format!("{error}"))?,
            subnet: None,
            subnet6: None,
            internal: false,
            // Who is outside reaches endpoints by their own addresses.
            routed: true,
            mtu: DEFAULT_MTU,
        };
        if let Some(IpNet::V4(net)) = around(&ips, &outside, members)? {
            network.subnet = Some(net);
        }
        if let Some(IpNet::V6(net)) = around(&ip6s, &outside, members)? {
            network.subnet6 = Some(net);
        }
        let is_free = |net: IpNet| {
            let overlaps = |other: IpNet| other.contains(&net) || net.contains(&other);
            !outside.iter().any(|ip| net.contains(ip))
                && !network.subnet.is_some_and(|subnet| overlaps(subnet.into()))
                && !network.subnet6.is_some_and(|subnet| overlaps(subnet.into()))
        };
        let nothing_left = || "no addresses are left for an uplink".to_owned();
        let mut uplinks4 = UPLINKS4.iter().filter_map(|(ip, length)| Ipv4Net::new(*ip, *length).ok());
        let mut uplinks6 = UPLINKS6.iter().filter_map(|(ip, length)| Ipv6Net::new(*ip, *length).ok());
        let uplink4 = uplinks4.find(|net| is_free((*net).into())).ok_or_else(nothing_left)?;
        let uplink6 = uplinks6.find(|net| is_free((*net).into())).ok_or_else(nothing_left)?;
        Ok(Self { network, uplink4, uplink6 })
    }

    /// The host's addresses on the uplink.
    pub(super) fn node(&self) -> (Ipv4Addr, Ipv6Addr) {
        (nth(self.uplink4, 1), nth6(self.uplink6, 1))
    }

    /// The addresses of the world outside on the uplink: the host's gateways.
    pub(super) fn outside(&self) -> (Ipv4Addr, Ipv6Addr) {
        (nth(self.uplink4, 2), nth6(self.uplink6, 2))
    }

    /// The endpoints' subnet that holds an address.
    pub(super) fn subnet_of(&self, address: IpAddr) -> Option<IpNet> {
        let subnets = [self.network.subnet.map(IpNet::V4), self.network.subnet6.map(IpNet::V6)];
        subnets.into_iter().flatten().find(|net| net.contains(&address))
    }
}

fn nth(net: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()).wrapping_add(n))
}

fn nth6(net: Ipv6Net, n: u128) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(net.network()).wrapping_add(n))
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
        let mut network = Network {
            subnet: None,
            subnet6: None,
            internal: false,
            routed: true,
            mtu: DEFAULT_MTU,
            name: "case".parse().ok()?,
        };
        match net {
            IpNet::V4(net) => network.subnet = Some(*net),
            IpNet::V6(net) => network.subnet6 = Some(*net),
        }
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
            (&["10.78.0.10"][..], &[][..], Some("10.78.0.8/29")),
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
}
