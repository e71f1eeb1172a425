//! Pairs that somebody else made.

use super::super::{Netlink, PairError};
use super::{namespace, need_root};

#[test]
fn a_pair_is_found_from_inside() {
    need_root!();
    let (host, container) = (namespace(), namespace());
    let netlink = Netlink::open(&host).unwrap();
    let wire = netlink.create_wire("v0", &container, "eth0").unwrap();
    let inside = Netlink::open(&container).unwrap();
    inside.add_address(wire.container, "10.5.0.2/24".parse().unwrap()).unwrap();
    let pair = netlink.find_pair(&container, "eth0").unwrap();
    assert_eq!((pair.host.name.as_str(), pair.host.index), ("v0", wire.host));
    assert_eq!(pair.container.index, wire.container);
    assert_eq!(pair.addresses, ["10.5.0.2/24".parse().unwrap()]);
    assert!(matches!(netlink.find_pair(&container, "eth1"), Err(PairError::NoDevice(_))));
    let error = netlink.find_pair(&container, "lo").unwrap_err();
    assert_eq!(error.to_string(), "lo is a loopback device (only one end of a veth pair can be taken on)");
}

#[test]
fn the_end_of_a_pair_elsewhere_is_not_taken_for_one_here() {
    need_root!();
    let (host, elsewhere) = (namespace(), namespace());
    let (own, other) = (namespace(), namespace());
    let netlink = Netlink::open(&host).unwrap();
    let here = netlink.create_wire("v0", &own, "eth0").unwrap();
    let there = Netlink::open(&elsewhere).unwrap().create_wire("v0", &other, "eth0").unwrap();
    let indexes = [&here, &there].map(|pair| (pair.host, pair.container));
    assert_eq!(indexes[0], indexes[1], "nothing but the namespaces tells them apart");
    netlink.find_pair(&own, "eth0").unwrap();
    assert!(matches!(netlink.find_pair(&other, "eth0"), Err(PairError::Elsewhere(_))));
    // The host has no number for a namespace it has no device in; and may have one for it.
    netlink.create_wire("v1", &other, "eth1").unwrap();
    assert!(matches!(netlink.find_pair(&other, "eth0"), Err(PairError::Elsewhere(_))));
    // Both ends in the container.
    Netlink::open(&other).unwrap().create_wire("a", &other, "b").unwrap();
    assert!(matches!(netlink.find_pair(&other, "a"), Err(PairError::Elsewhere(_))));
}
