//! ICMP errors about flows: they find the end whose packet they quote, whatever policy says.

use netfast_common::protocol::{TCP, UDP};
use netfast_common::reason::DropReason;

use super::cast::{CLIENT, ELSEWHERE, Family, HOST, Member, OUTSIDE, STRANGER, WEB};
use super::lab::{Fate, Lab, Program, Way};
use super::message::{Message, What, ping, tcp, udp};
use crate::verdict::Verdict;

/// An error that `reporter` sends to where `about` came from.
fn error(reporter: &Member, family: Family, about: &Message) -> Message {
    let kind = if family == Family::V4 { 3 } else { 1 };
    Message {
        from_mac: reporter.mac,
        to_mac: if reporter.network == 0 { HOST.mac } else { reporter.gateway().mac },
        src: reporter.addr(family),
        dst: about.src,
        ttl: 64,
        what: What::Error { kind, code: 3 },
        payload: about.bytes()[14..].to_vec(),
    }
}

/// The packet an error quotes, right in every checksum.
fn quoted(error: &Message, ether_type: &Message) -> Message {
    let frame = [&ether_type.bytes()[..14], &error.payload].concat();
    Message::read(&frame)
}

/// What of a packet is translated.
fn ends(message: &Message) -> (netfast_common::addr::Addr, netfast_common::addr::Addr, (u16, u16)) {
    (message.src, message.dst, message.ports())
}

fn closed(lab: &mut Lab, members: &[Member]) {
    for member in members {
        lab.isolate(member, Way::In, &[]);
        lab.isolate(member, Way::Out, &[]);
    }
    lab.flip();
}

#[test]
fn between_neighbours() {
    for family in Family::BOTH {
        for what in [tcp(4000, 80), udp(4000, 53), ping(7)] {
            let mut lab = Lab::new();
            let ask = Message::new(&CLIENT, &WEB, family, what);
            lab.sends(&CLIENT, &ask).at(&WEB);
            lab.sends(&WEB, &ask.reply()).at(&CLIENT);
            closed(&mut lab, &[CLIENT, WEB]);
            let refused = error(&WEB, family, &ask);
            assert_eq!(lab.sends(&WEB, &refused).at(&CLIENT), Message { to_mac: CLIENT.mac, ..refused });
            let refused = error(&CLIENT, family, &ask.reply());
            assert_eq!(lab.sends(&CLIENT, &refused).at(&WEB), Message { to_mac: WEB.mac, ..refused });
            assert_eq!(lab.flows(), 1, "an error is no flow");
        }
    }
}

#[test]
fn about_what_was_masqueraded() {
    for family in Family::BOTH {
        for what in [tcp(50000, 443), udp(50000, 443), ping(50000)] {
            let mut lab = Lab::new();
            let ask = Message::new(&CLIENT, &OUTSIDE, family, what);
            let sent = lab.sends(&CLIENT, &ask).out();
            let answer = sent.reply();
            let got = lab.comes_in(&answer).at(&CLIENT);
            closed(&mut lab, &[CLIENT]);
            for reporter in [OUTSIDE, ELSEWHERE] {
                let arrived = lab.comes_in(&error(&reporter, family, &sent)).at(&CLIENT);
                assert_eq!((arrived.src, arrived.dst), (reporter.addr(family), CLIENT.addr(family)));
                assert_eq!((arrived.ttl, arrived.to_mac), (63, CLIENT.mac));
                assert_eq!(ends(&quoted(&arrived, &sent)), ends(&ask));
            }
            let arrived = lab.sends(&CLIENT, &error(&CLIENT, family, &got)).out();
            assert_eq!((arrived.src, arrived.dst), (HOST.addr(family), OUTSIDE.addr(family)));
            assert_eq!(ends(&quoted(&arrived, &got)), ends(&answer));
        }
    }
}

#[test]
fn about_a_published_port() {
    for family in Family::BOTH {
        for what in [tcp(50000, 8080), udp(50000, 8080)] {
            let mut lab = Lab::new();
            lab.publish(TCP, 8080, &WEB, 80);
            lab.publish(UDP, 8080, &WEB, 80);
            let ask = Message::new(&OUTSIDE, &HOST, family, what);
            let got = lab.comes_in(&ask).at(&WEB);
            let answer = got.reply();
            let sent = lab.sends(&WEB, &answer).out();
            closed(&mut lab, &[WEB]);
            let arrived = lab.sends(&WEB, &error(&WEB, family, &got)).out();
            assert_eq!((arrived.src, arrived.dst), (HOST.addr(family), OUTSIDE.addr(family)));
            assert_eq!(ends(&quoted(&arrived, &got)), ends(&ask));
            for reporter in [OUTSIDE, ELSEWHERE] {
                let arrived = lab.comes_in(&error(&reporter, family, &sent)).at(&WEB);
                assert_eq!((arrived.src, arrived.dst), (reporter.addr(family), WEB.addr(family)));
                assert_eq!(ends(&quoted(&arrived, &sent)), ends(&answer));
            }
        }
    }
}

#[test]
fn through_a_published_port_of_the_same_host_and_through_a_hairpin() {
    for family in Family::BOTH {
        for member in [STRANGER, WEB] {
            let mut lab = Lab::new();
            lab.publish(UDP, 8080, &WEB, 80);
            let ask = Message::new(&member, &HOST, family, udp(50000, 8080));
            let got = lab.sends(&member, &ask).at(&WEB);
            let arrived = lab.sends(&WEB, &error(&WEB, family, &got)).at(&member);
            assert_eq!((arrived.src, arrived.dst), (HOST.addr(family), member.addr(family)));
            assert_eq!(ends(&quoted(&arrived, &got)), ends(&ask));
        }
    }
}

#[test]
fn a_quote_of_eight_bytes_is_enough() {
    for family in Family::BOTH {
        for what in [tcp(50000, 443), udp(50000, 443), ping(50000)] {
            let mut lab = Lab::new();
            let ask = Message::new(&CLIENT, &OUTSIDE, family, what);
            let sent = lab.sends(&CLIENT, &ask).out();
            let mut short = error(&OUTSIDE, family, &sent);
            let length = if family == Family::V4 { 28 } else { 48 };
            short.payload.truncate(length);
            let arrived = lab.comes_in(&short).at(&CLIENT);
            let expected = &Message { ttl: 63, ..ask.clone() }.bytes()[14..][..length];
            assert_eq!(arrived.payload, expected);
            short.payload.truncate(length - 3);
            assert!(!matches!(lab.comes_in(&short), Fate::At(..)), "less is not");
        }
    }
}

#[test]
fn a_quoted_udp_checksum_of_zero_stays_zero() {
    let mut lab = Lab::new();
    let sent = lab.sends(&CLIENT, &Message::new(&CLIENT, &OUTSIDE, Family::V4, udp(50000, 53))).out();
    let mut report = error(&OUTSIDE, Family::V4, &sent);
    report.payload[26..28].fill(0);
    let arrived = lab.comes_in(&report).at(&CLIENT);
    assert_eq!(arrived.payload[26..28], [0, 0]);
    assert_eq!(quoted(&arrived, &sent).ports(), (50000, 53));
}

#[test]
fn from_the_host_to_an_endpoint() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &CLIENT.gateway(), family, udp(4000, 53));
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::On(ask.clone()));
        closed(&mut lab, &[CLIENT]);
        let refused = error(&CLIENT.gateway(), family, &ask);
        assert_eq!(lab.host_sends(&CLIENT, &refused), Fate::On(refused.clone()));
        assert_eq!(lab.flows(), 1);
    }
}

#[test]
fn about_nothing_known_it_is_a_packet_like_any_other() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let never = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        let report = error(&WEB, family, &never);
        assert_eq!(lab.sends(&WEB, &report).at(&CLIENT).payload, report.payload);
        closed(&mut lab, &[CLIENT]);
        assert_eq!(lab.sends(&WEB, &report), Fate::Dropped(DropReason::PolicyIngress));
        let report = error(&OUTSIDE, family, &Message::new(&HOST, &OUTSIDE, family, udp(1, 2)));
        assert_eq!(lab.comes_in(&report), Fate::On(report.clone()), "the host's own");
    }
}

#[test]
fn only_the_ends_of_a_flow_and_routers_outside_may_report() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        lab.sends(&CLIENT, &ask).at(&WEB);
        let report = error(&STRANGER, family, &ask);
        assert_eq!(lab.sends(&STRANGER, &report), Fate::Dropped(DropReason::OtherNetwork));
        let report = error(&OUTSIDE, family, &ask);
        assert_eq!(lab.comes_in(&report), Fate::Dropped(DropReason::Unpublished));
        // An error to somebody else than the sender of what it quotes.
        let misled = Message { dst: STRANGER.addr(family), ..error(&WEB, family, &ask) };
        assert_eq!(lab.sends(&WEB, &misled), Fate::Dropped(DropReason::OtherNetwork));
    }
}

#[test]
fn about_nothing_known_it_does_not_go_out_in_the_hosts_name() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        // The outside would take it for what the host says of a connection of its own.
        let of_the_host = Message::new(&OUTSIDE, &HOST, family, tcp(443, 40000));
        let report = error(&CLIENT, family, &of_the_host);
        assert_eq!(lab.sends(&CLIENT, &report), Fate::Dropped(DropReason::InvalidState));
        let kind = if family == Family::V4 { 5 } else { 137 };
        let redirect = Message { what: What::Error { kind, code: 1 }, ..report };
        assert_eq!(lab.sends(&CLIENT, &redirect), Fate::Dropped(DropReason::InvalidState));
        assert_eq!(lab.flows(), 0);
    }
}

#[test]
fn about_a_masqueraded_protocol_without_ports() {
    const ESP: u8 = 50;
    for family in Family::BOTH {
        let mut lab = Lab::new();
        // Any packet with eight bytes behind the IP header will do.
        let as_esp = |message: &Message| {
            let at = if family == Family::V4 { 14 + 9 } else { 14 + 6 };
            let mut bytes = message.bytes();
            bytes[at] = ESP;
            if family == Family::V4 {
                // The protocol is under the header's checksum.
                let sum = u16::from_be_bytes([bytes[24], bytes[25]]);
                let less = sum - (u16::from(ESP) - u16::from(UDP));
                bytes[24..26].copy_from_slice(&less.to_be_bytes());
            }
            bytes
        };
        let ask = Message::new(&CLIENT, &OUTSIDE, family, udp(4000, 4500));
        let (verdict, out) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, as_esp(&ask));
        assert!(matches!(verdict, Ok(Verdict::ToUplink(_))), "{verdict:?}");
        let sent = Message { src: HOST.addr(family), ..ask.clone() };
        let report = Message { payload: out[14..].to_vec(), ..error(&ELSEWHERE, family, &sent) };
        let arrived = lab.comes_in(&report).at(&CLIENT);
        assert_eq!((arrived.src, arrived.dst), (ELSEWHERE.addr(family), CLIENT.addr(family)));
        let source = if family == Family::V4 { 12..16 } else { 8..24 };
        assert_eq!(arrived.payload[source.clone()], ask.bytes()[14..][source], "as the endpoint sent it");
    }
}
