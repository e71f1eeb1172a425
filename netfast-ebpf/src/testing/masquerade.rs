//! Out of the uplink under the host's address, and back.

use std::collections::BTreeSet;

use netfast_common::reason::DropReason;
use netfast_common::rows::SourceKey;

use super::cast::{CLIENT, ELSEWHERE, Family, GUEST, HOST, OUTSIDE, STRANGER, WEB};
use super::lab::{Fate, Lab};
use super::message::{ACK, FIN, Message, RST, ping, tcp, udp};

#[test]
fn out_and_back() {
    for family in Family::BOTH {
        for what in [tcp(25000, 443), udp(25000, 443), ping(25000)] {
            let mut lab = Lab::new();
            let ask = Message::new(&CLIENT, &OUTSIDE, family, what);
            let got = lab.sends(&CLIENT, &ask).out();
            assert_eq!(got, Message { src: HOST.addr(family), ttl: 63, ..ask.clone() }, "the port is kept");

            let answer = Message { from_mac: OUTSIDE.mac, to_mac: HOST.mac, ..got.reply() };
            let back = lab.comes_in(&answer).at(&CLIENT);
            let expected = Message {
                from_mac: CLIENT.gateway().mac,
                to_mac: CLIENT.mac,
                dst: CLIENT.addr(family),
                ttl: 63,
                ..answer
            };
            assert_eq!(back, expected);
        }
    }
}

#[test]
fn a_port_outside_of_the_range_is_chosen_anew() {
    for family in Family::BOTH {
        for what in [tcp(50000, 443), udp(50000, 443), ping(50000)] {
            let mut lab = Lab::new();
            let ask = Message::new(&CLIENT, &OUTSIDE, family, what);
            let got = lab.sends(&CLIENT, &ask).out();
            let port = got.ports().0;
            assert!((20000..30000).contains(&port), "{port}");
            let back = lab.comes_in(&got.reply()).at(&CLIENT);
            assert_eq!((back.dst, back.ports().1), (CLIENT.addr(family), 50000), "{what:?}");
            assert_eq!(lab.sends(&CLIENT, &ask).out().ports().0, port, "and stays");
        }
    }
}

#[test]
fn flows_to_one_destination_get_ports_of_their_own() {
    let mut lab = Lab::new();
    lab.masquerade_range(20000, 20015);
    let mut seen = BTreeSet::new();
    for member in [CLIENT, WEB, STRANGER] {
        for sport in [25000, 25001, 20003] {
            let ask = Message::new(&member, &OUTSIDE, Family::V4, udp(sport, 53));
            let port = lab.sends(&member, &ask).out().ports().0;
            assert!((20000..=20015).contains(&port) && seen.insert(port), "{port} again");
        }
    }
    let other = Message::new(&CLIENT, &ELSEWHERE, Family::V4, udp(20003, 53));
    assert_eq!(lab.sends(&CLIENT, &other).out().ports().0, 20003, "another destination, another port space");
}

#[test]
fn an_exhausted_range_is_told_and_recovers() {
    let mut lab = Lab::new();
    lab.masquerade_range(20000, 20001);
    let ask = |sport| Message::new(&CLIENT, &OUTSIDE, Family::V4, tcp(sport, 443));
    let first = lab.sends(&CLIENT, &ask(1)).out();
    let second = lab.sends(&CLIENT, &ask(2)).out();
    assert_eq!(BTreeSet::from([first.ports().0, second.ports().0]), BTreeSet::from([20000, 20001]));
    assert_eq!(lab.sends(&CLIENT, &ask(3)), Fate::Dropped(DropReason::MasqueradeExhausted));
    assert_eq!(lab.flows(), 4, "nothing is left of the failure");
    assert_eq!(lab.sends(&CLIENT, &ask(1).flags(ACK)).out().ports(), first.ports());

    let reset = first.reply().flags(RST | ACK);
    assert_eq!(lab.comes_in(&reset).at(&CLIENT).ports(), (443, 1));
    let third = lab.sends(&CLIENT, &ask(3)).out();
    assert_eq!(third.ports().0, first.ports().0, "a closed flow's port is free at once");
    assert_eq!(lab.comes_in(&third.reply()).at(&CLIENT).ports(), (443, 3));
    assert_eq!(lab.flows(), 4);

    lab.wait(61);
    let fourth = lab.sends(&CLIENT, &ask(4)).out();
    assert!((20000..=20001).contains(&fourth.ports().0), "and so is that of one that is over");
}

#[test]
fn destinations_left_out_see_the_endpoint_itself() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        lab.maps.sources.insert(SourceKey::new(SourceKey::NOT_MASQUERADED, OUTSIDE.addr(family)));
        let ask = Message::new(&CLIENT, &OUTSIDE, family, udp(50000, 53));
        let got = lab.sends(&CLIENT, &ask).out();
        assert_eq!(got, Message { ttl: 63, ..ask });
        assert_eq!(lab.comes_in(&got.reply()).at(&CLIENT).ports(), (53, 50000));
        let other = Message::new(&CLIENT, &ELSEWHERE, family, udp(50000, 53));
        assert_eq!(lab.sends(&CLIENT, &other).out().src, HOST.addr(family));
    }
}

#[test]
fn without_ports_one_flow_to_a_destination() {
    let mut lab = Lab::new();
    // Protocol 47 in place of TCP: the bytes behind the IP header are of no interest.
    let frame = |member: &super::cast::Member| {
        let mut bytes = Message::new(member, &OUTSIDE, Family::V6, tcp(1, 2)).bytes();
        bytes[20] = 47;
        bytes
    };
    let sends = |lab: &mut Lab, member: &super::cast::Member| {
        lab.frame(super::lab::Program::FromEndpoint, member.ifindex, frame(member)).0
    };
    assert!(sends(&mut lab, &CLIENT).is_ok());
    assert!(sends(&mut lab, &CLIENT).is_ok());
    assert_eq!(sends(&mut lab, &WEB), Err(DropReason::MasqueradeExhausted));
}

#[test]
fn a_udp_checksum_of_zero_stays_zero() {
    let mut lab = Lab::new();
    let mut bytes = Message::new(&CLIENT, &OUTSIDE, Family::V4, udp(50000, 53)).bytes();
    bytes[40..42].fill(0);
    let (verdict, bytes) = lab.frame(super::lab::Program::FromEndpoint, CLIENT.ifindex, bytes);
    assert!(verdict.is_ok());
    assert_eq!(bytes[40..42], [0, 0]);
    assert_eq!(Message::read(&bytes).src, HOST.ip4);
}

#[test]
fn a_checksum_left_to_the_card_covers_the_new_addresses() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &OUTSIDE, family, tcp(50000, 443));
        // What the kernel leaves in the field: the sum of the pseudo-header, not complemented.
        let partial = |message: &Message| {
            let mut bytes = message.bytes();
            let at = if family == Family::V4 { 50 } else { 70 };
            let length = (bytes.len() - at + 16) as u16;
            let mut sum = etherparse::checksum::Sum16BitWords::new();
            let sum = match family {
                Family::V4 => sum.add_4bytes(message.src.v4_octets()).add_4bytes(message.dst.v4_octets()),
                Family::V6 => sum.add_16bytes(message.src.octets()).add_16bytes(message.dst.octets()),
            };
            let sum = sum.add_2bytes([0, 6]).add_2bytes(length.to_be_bytes());
            // In memory order, as etherparse computes it.
            bytes[at..at + 2].copy_from_slice(&(!sum.ones_complement()).to_ne_bytes());
            (bytes, at)
        };
        let (bytes, at) = partial(&ask);
        let mut packet = super::bytes::Bytes::new(bytes, CLIENT.ifindex);
        packet.is_offloaded = true;
        assert!(lab.run(super::lab::Program::FromEndpoint, &mut packet).is_ok());
        let (expected, _) = partial(&Message { src: HOST.addr(family), ..ask });
        assert_eq!(packet.frame[at..at + 2], expected[at..at + 2]);
    }
}

#[test]
fn a_routed_network_keeps_its_addresses() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&GUEST, &OUTSIDE, family, tcp(50000, 443));
        assert_eq!(lab.sends(&GUEST, &ask).out(), Message { ttl: 63, ..ask.clone() });
        let answer = Message { to_mac: HOST.mac, from_mac: OUTSIDE.mac, ..ask.reply() };
        let back = lab.comes_in(&answer).at(&GUEST);
        assert_eq!((back.src, back.dst, back.ttl), (answer.src, answer.dst, 63));

        let called = Message::new(&OUTSIDE, &GUEST, family, tcp(50000, 80));
        assert_eq!(lab.comes_in(&called).at(&GUEST).dst, GUEST.addr(family));
        let unpublished = Message::new(&OUTSIDE, &WEB, family, tcp(50000, 80));
        assert_eq!(lab.comes_in(&unpublished), Fate::Dropped(DropReason::Unpublished));
    }
}

#[test]
fn no_way_out() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        lab.cut_route(OUTSIDE.addr(family));
        let ask = Message::new(&CLIENT, &OUTSIDE, family, tcp(25000, 443));
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::NoRoute));
        lab.maps.routes.insert(OUTSIDE.addr(family), Ok(77));
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::NoSuchAddress), "leads to no uplink");
        lab.maps.routes.clear();
        let uplink = lab.maps.uplinks.get_mut(&HOST.ifindex).unwrap();
        (uplink.ip4, uplink.ip6) = (uplink.ip4.unspecified(), uplink.ip6.unspecified());
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::NoUplinkAddress));
        assert_eq!(lab.flows(), 0);
    }
}

#[test]
fn a_closed_flows_port_rests_while_others_are_free() {
    let mut lab = Lab::new();
    lab.masquerade_range(20000, 20001);
    let ask = |sport| Message::new(&CLIENT, &OUTSIDE, Family::V4, tcp(sport, 443));
    let first = lab.sends(&CLIENT, &ask(20000)).out();
    assert_eq!(first.ports().0, 20000);
    lab.comes_in(&first.reply().flags(FIN | ACK)).at(&CLIENT);
    lab.sends(&CLIENT, &ask(20000).flags(FIN | ACK)).out();
    // Another one may keep that port, but the server remembers it.
    let ask = |sport| Message::new(&STRANGER, &OUTSIDE, Family::V4, tcp(sport, 443));
    assert_eq!(lab.sends(&STRANGER, &ask(20000)).out().ports().0, 20001);
    assert_eq!(lab.sends(&STRANGER, &ask(3)).out().ports().0, 20000, "better than none");
}

#[test]
fn a_flow_that_is_opened_again_keeps_its_port() {
    let mut lab = Lab::new();
    let ask = Message::new(&CLIENT, &OUTSIDE, Family::V4, tcp(50000, 443));
    let first = lab.sends(&CLIENT, &ask).out();
    lab.comes_in(&first.reply().flags(FIN | ACK)).at(&CLIENT);
    lab.sends(&CLIENT, &ask.flags(FIN | ACK)).out();
    assert_eq!(lab.sends(&CLIENT, &ask).out().ports(), first.ports());
    // Another one has another.
    let other = Message::new(&STRANGER, &OUTSIDE, Family::V4, tcp(50000, 443));
    assert_ne!(lab.sends(&STRANGER, &other).out().ports(), first.ports());
}
