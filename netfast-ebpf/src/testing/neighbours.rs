//! ARP and neighbour discovery, answered at the endpoint's device.

use netfast_common::addr::{Addr, Mac};
use netfast_common::reason::DropReason;

use super::cast::{CLIENT, Member, STRANGER, WEB};
use super::lab::{Lab, Program};
use super::message::verify_checksums;
use crate::verdict::Verdict;

const BROADCAST: Mac = Mac::new([0xff; 6]);

/// An ARP message on Ethernet.
pub(super) fn arp(to: Mac, operation: u8, sender: (Mac, Addr), target: (Mac, Addr)) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(to.octets());
    bytes.extend(sender.0.octets());
    bytes.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation]);
    for (mac, addr) in [sender, target] {
        bytes.extend(mac.octets());
        bytes.extend(addr.v4_octets());
    }
    bytes
}

/// A question: who has `addr`?
fn who_has(addr: Addr) -> Vec<u8> {
    arp(BROADCAST, 1, (CLIENT.mac, CLIENT.ip4), (Mac::default(), addr))
}

/// An IPv6 neighbour message, with a link-layer address option.
pub(super) fn discovery(
    from: (Mac, Addr),
    to: (Mac, Addr),
    kind: u8,
    flags: u8,
    target: Addr,
    option: (u8, Mac),
) -> Vec<u8> {
    let mut payload = target.octets().to_vec();
    payload.extend([option.0, 1]);
    payload.extend(option.1.octets());
    let mut bytes = Vec::new();
    etherparse::PacketBuilder::ethernet2(from.0.octets(), to.0.octets())
        .ipv6(from.1.octets(), to.1.octets(), 255)
        .icmpv6_raw(kind, 0, [flags, 0, 0, 0])
        .write_to_vec(&mut bytes, &payload)
        .unwrap();
    bytes
}

/// The group that listens for questions about `addr`.
pub(super) fn group(addr: Addr) -> (Mac, Addr) {
    let [.., a, b, c] = addr.octets();
    let multicast = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c];
    (Mac::new([0x33, 0x33, 0xff, a, b, c]), Addr::from_v6(multicast))
}

/// A question from `src`: who has `addr`?
fn solicit(src: Addr, addr: Addr) -> Vec<u8> {
    discovery((CLIENT.mac, src), group(addr), 135, 0, addr, (1, CLIENT.mac))
}

fn link_local(member: &Member) -> Addr {
    let mut octets = member.ip6.octets();
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    Addr::from_v6(octets)
}

/// What the client's frame is turned into on its way back.
fn answered(frame: Vec<u8>) -> Result<Vec<u8>, DropReason> {
    let (verdict, bytes) = Lab::new().frame(Program::FromEndpoint, CLIENT.ifindex, frame);
    assert!(matches!(verdict, Err(_) | Ok(Verdict::ToEndpoint(_))));
    assert!(verdict.is_err() || verdict == Ok(Verdict::ToEndpoint(CLIENT.ifindex)));
    verdict.map(|_| bytes)
}

#[test]
fn arp_is_answered_for_a_peer_and_the_gateway() {
    for (addr, mac) in [(WEB.ip4, WEB.mac), (CLIENT.gateway().ip4, CLIENT.gateway().mac)] {
        let expected = arp(CLIENT.mac, 2, (mac, addr), (CLIENT.mac, CLIENT.ip4));
        assert_eq!(answered(who_has(addr)), Ok(expected));
        let mut padded = who_has(addr);
        padded.resize(60, 0);
        assert!(answered(padded).is_ok(), "as a network card pads it");
    }
}

#[test]
fn neighbour_solicitations_are_answered_for_a_peer_and_the_gateway() {
    for (addr, mac) in [(WEB.ip6, WEB.mac), (CLIENT.gateway().ip6, CLIENT.gateway().mac)] {
        for src in [CLIENT.ip6, link_local(&CLIENT)] {
            let expected = discovery((mac, addr), (CLIENT.mac, src), 136, 0x60, addr, (2, mac));
            verify_checksums(&expected);
            assert_eq!(answered(solicit(src, addr)), Ok(expected));
        }
    }
}

#[test]
fn nobody_answers_for_oneself_for_other_networks_and_for_nobody() {
    for addr in [CLIENT.ip4, STRANGER.ip4, STRANGER.gateway().ip4, Addr::from_v4([10, 1, 0, 77])] {
        assert_eq!(answered(who_has(addr)), Err(DropReason::UnknownNeighbour));
    }
    for addr in [CLIENT.ip6, STRANGER.ip6, STRANGER.gateway().ip6, link_local(&WEB)] {
        assert_eq!(answered(solicit(CLIENT.ip6, addr)), Err(DropReason::UnknownNeighbour));
    }
}

#[test]
fn probes_for_a_free_address_are_not_answered() {
    for addr in [CLIENT.ip4, WEB.ip4, Addr::from_v4([10, 1, 0, 77])] {
        let probe = arp(BROADCAST, 1, (CLIENT.mac, Addr::UNSPECIFIED_V4), (Mac::default(), addr));
        assert_eq!(answered(probe), Err(DropReason::UnknownNeighbour));
    }
    for addr in [CLIENT.ip6, WEB.ip6, link_local(&CLIENT)] {
        let probe = solicit(Addr::UNSPECIFIED_V6, addr);
        assert_eq!(answered(probe), Err(DropReason::UnknownNeighbour));
    }
}

#[test]
fn announcements_of_ones_own_address_are_needed_by_nobody() {
    let own = (CLIENT.mac, CLIENT.ip4);
    for operation in [1, 2] {
        let announcement = arp(BROADCAST, operation, own, (Mac::default(), CLIENT.ip4));
        assert_eq!(answered(announcement), Err(DropReason::UnknownNeighbour));
    }
    let own = (CLIENT.mac, CLIENT.ip6);
    let advertisement = discovery(own, (WEB.mac, WEB.ip6), 136, 0x20, CLIENT.ip6, (2, CLIENT.mac));
    assert_eq!(answered(advertisement), Err(DropReason::UnknownNeighbour));
}

#[test]
fn claims_to_anothers_address_are_lies() {
    for sender in [(CLIENT.mac, WEB.ip4), (CLIENT.mac, CLIENT.gateway().ip4), (WEB.mac, CLIENT.ip4)] {
        for operation in [1, 2] {
            let mut claim = arp(BROADCAST, operation, sender, (Mac::default(), WEB.ip4));
            claim[6..12].copy_from_slice(&CLIENT.mac.octets());
            assert_eq!(answered(claim), Err(DropReason::SpoofedArp));
        }
    }
    let to = (STRANGER.mac, STRANGER.ip6);
    let claim = discovery((CLIENT.mac, CLIENT.ip6), to, 136, 0x20, WEB.ip6, (2, CLIENT.mac));
    assert_eq!(answered(claim), Err(DropReason::SpoofedArp));
    assert_eq!(answered(solicit(WEB.ip6, STRANGER.ip6)), Err(DropReason::SpoofedAddress));
}

#[test]
fn what_is_no_proper_question() {
    let mut token_ring = who_has(WEB.ip4);
    token_ring[15] = 6;
    assert_eq!(answered(token_ring), Err(DropReason::BadHeader));
    assert_eq!(answered(who_has(WEB.ip4)[..40].to_vec()), Err(DropReason::BadHeader));
    let mut routed = solicit(CLIENT.ip6, WEB.ip6);
    routed[21] = 254;
    assert_eq!(answered(routed), Err(DropReason::BadHeader));
    let asks_for_routers =
        discovery((CLIENT.mac, CLIENT.ip6), group(WEB.ip6), 133, 0, WEB.ip6, (1, CLIENT.mac));
    assert_eq!(answered(asks_for_routers), Err(DropReason::Multicast));
}
