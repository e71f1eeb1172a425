//! Endpoints that are no ports of their network's bridge.

use netfast_common::addr::{Addr, Mac};
use netfast_common::rows::{ADDRESS_GATEWAY, AddressRow, ENDPOINT_APART};

use super::bytes::Bytes;
use super::cast::{CLIENT, Family, HOST, Member, OUTSIDE, STRANGER, WEB};
use super::lab::{Lab, Program};
use super::message::{Message, udp};
use super::neighbours::arp;
use crate::to_network::{bridge_of, to_network};
use crate::verdict::Verdict;

/// Index of the bridge of the network of [`CLIENT`] and [`WEB`].
const BRIDGE: u32 = 7;

/// A network with a bridge, of which only [`CLIENT`] is a port.
fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.maps.endpoints.get_mut(&WEB.ifindex).unwrap().flags |= ENDPOINT_APART;
    for family in Family::BOTH {
        let row = AddressRow { kind: ADDRESS_GATEWAY, network: WEB.network, ifindex: BRIDGE, incarnation: 0 };
        lab.maps.addresses.insert(WEB.gateway().addr(family), row);
    }
    lab
}

/// Where the host's packet to somebody leaves, at the device with this index.
fn leaves(lab: &Lab, to: &Member, family: Family, ifindex: u32) -> Option<u32> {
    let packet = Message::new(&to.gateway(), to, family, udp(4000, 53));
    to_network(&Bytes::new(packet.bytes(), ifindex), &lab.maps)
}

#[test]
fn the_host_reaches_them_past_the_bridge_and_others_by_it() {
    let lab = lab();
    for family in Family::BOTH {
        assert_eq!(leaves(&lab, &WEB, family, BRIDGE), Some(WEB.ifindex));
        for member in [CLIENT, STRANGER, HOST, OUTSIDE] {
            assert_eq!(leaves(&lab, &member, family, BRIDGE), None, "{member:?}");
        }
    }
}

/// Somebody's route may lead there, but another network's bridge knows none of its endpoints either.
#[test]
fn by_another_bridge_they_are_not_reached() {
    let lab = lab();
    for family in Family::BOTH {
        assert_eq!(leaves(&lab, &WEB, family, BRIDGE + 1), None);
    }
}

#[test]
fn what_is_no_ip_or_is_cut_short_is_left_to_the_bridge() {
    let lab = lab();
    let question = arp(Mac::new([0xff; 6]), 1, (WEB.gateway().mac, WEB.gateway().ip4), (WEB.mac, WEB.ip4));
    assert_eq!(to_network(&Bytes::new(question, BRIDGE), &lab.maps), None);
    let whole = Message::new(&WEB.gateway(), &WEB, Family::V6, udp(4000, 53)).bytes();
    for length in 0..54 {
        assert_eq!(to_network(&Bytes::new(whole[..length].to_vec(), BRIDGE), &lab.maps), None, "{length}");
    }
}

#[test]
fn what_they_send_the_host_is_for_their_bridge() {
    let mut lab = lab();
    for (member, bits) in [(WEB, ENDPOINT_APART), (CLIENT, 0)] {
        for family in Family::BOTH {
            let packet = Message::new(&member, &member.gateway(), family, udp(4000, 53));
            let verdict = lab.run(Program::FromEndpoint, &mut Bytes::new(packet.bytes(), member.ifindex));
            assert_eq!(verdict, Ok(Verdict::Next));
            assert_eq!(lab.work.sender_flags & ENDPOINT_APART, bits);
        }
    }
    assert_eq!(bridge_of(&lab.maps, WEB.ifindex), Some(BRIDGE));
}

#[test]
fn a_network_of_one_family_has_a_bridge_too() {
    for family in Family::BOTH {
        let mut lab = lab();
        let row = lab.maps.endpoints.get_mut(&WEB.ifindex).unwrap();
        match family {
            Family::V4 => row.gateway6 = Addr::UNSPECIFIED_V6,
            Family::V6 => row.gateway4 = Addr::UNSPECIFIED_V4,
        }
        lab.maps.addresses.remove(&WEB.gateway().addr(family.other()));
        assert_eq!(bridge_of(&lab.maps, WEB.ifindex), Some(BRIDGE));
        assert_eq!(leaves(&lab, &WEB, family, BRIDGE), Some(WEB.ifindex));
    }
}

#[test]
fn without_a_bridge_there_is_no_way() {
    let mut lab = lab();
    assert_eq!(bridge_of(&lab.maps, BRIDGE), None, "no endpoint");
    for family in Family::BOTH {
        lab.maps.addresses.remove(&WEB.gateway().addr(family));
    }
    assert_eq!(bridge_of(&lab.maps, WEB.ifindex), None);
}
