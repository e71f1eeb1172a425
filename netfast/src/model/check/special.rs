//! Addresses that no network may hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What is special about a block that shares an address with one that is not for networks.
pub(crate) fn special(net: IpNet) -> Option<&'static str> {
    const V4: [(Ipv4Addr, u8, &str); 5] = [
        (Ipv4Addr::UNSPECIFIED, 8, "\"this host\""),
        (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
        (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
        (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
        (Ipv4Addr::BROADCAST, 32, "broadcast"),
    ];
    const V6: [(Ipv6Addr, u8, &str); 4] = [
        (Ipv6Addr::UNSPECIFIED, 127, "loopback"),
        (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "IPv4-mapped"),
        (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
        (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
    ];
    let v4 = V4.iter().map(|(address, length, what)| (IpAddr::V4(*address), *length, *what));
    let v6 = V6.iter().map(|(address, length, what)| (IpAddr::V6(*address), *length, *what));
    v4.chain(v6)
        .filter_map(|(address, length, what)| Some((IpNet::new(address, length).ok()?, what)))
        .find(|(special, _)| special.contains(&net) || net.contains(special))
        .map(|(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_blocks_are_known_from_inside_and_outside() {
        for (text, wanted) in [
            ("127.1.0.0/16", Some("loopback")),
            ("224.0.0.0/24", Some("multicast")),
            ("169.254.0.0/24", Some("link-local")),
            ("0.0.0.0/0", Some("\"this host\"")),
            ("::/0", Some("loopback")),
            ("fe80::/64", Some("link-local")),
            ("ff02::/64", Some("multicast")),
            ("255.255.255.255/32", Some("broadcast")),
            ("10.0.0.0/8", None),
            ("fd77::/64", None),
        ] {
            assert_eq!(special(text.parse().unwrap()), wanted, "{text}");
        }
    }
}
