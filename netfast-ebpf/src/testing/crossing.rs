//! Published ports that lead to an endpoint of the other family.

use netfast_common::addr::Addr;
use netfast_common::checksum::{fold, sum};
use netfast_common::conntrack::FLOW_CROSSES;
use netfast_common::counter::Path;
use netfast_common::protocol::{TCP, UDP};
use netfast_common::reason::DropReason;

use super::bytes::Bytes;
use super::cast::{ELSEWHERE, Family, HOST, Member, OUTSIDE, STRANGER, WEB};
use super::lab::{Allow, Fate, Lab, Program, Way};
use super::message::{ACK, Message, SYN, What, tcp, udp};
use crate::verdict::Verdict;

/// The port of the host that leads to the endpoint's other family.
const PORT: u16 = 8080;

fn lab() -> Lab {
    let mut lab = Lab::new();
    for protocol in [TCP, UDP] {
        lab.publish_across(protocol, PORT, &WEB, 80);
    }
    lab
}

/// What a client outside asks.
fn ask(family: Family, what: What) -> Message {
    Message::new(&OUTSIDE, &HOST, family, what)
}

/// What WEB gets of it, and what its answer is outside.
fn talk(lab: &mut Lab, ask: &Message) -> (Message, Message) {
    let got = lab.comes_in(ask).at(&WEB);
    let sent = lab.sends(&WEB, &got.reply()).out();
    (got, sent)
}

#[test]
fn there_and_back() {
    for family in Family::BOTH {
        for (what, flags) in [(tcp(25000, PORT), SYN), (udp(25000, PORT), 0)] {
            let mut lab = lab();
            let ask = ask(family, what);
            let other = family.other();
            for _ in 0..2 {
                let (got, sent) = talk(&mut lab, &ask);
                let with_ports = |sport, dport| match what {
                    What::Tcp { .. } => What::Tcp { sport, dport, flags },
                    _ => udp(sport, dport),
                };
                let expected = Message {
                    from_mac: WEB.gateway().mac,
                    to_mac: WEB.mac,
                    src: WEB.gateway().addr(other),
                    dst: WEB.addr(other),
                    ttl: 63,
                    what: with_ports(25000, 80),
                    ..ask.clone()
                };
                assert_eq!(got, expected, "a port of the range is kept");
                assert_eq!((sent.src, sent.dst), (HOST.addr(family), OUTSIDE.addr(family)));
                assert_eq!((sent.ports(), sent.ttl), ((PORT, 25000), 63));
                assert_eq!(sent.payload, got.reply().payload);
                assert_eq!(lab.path(), Some(Path::ToOutside));
                assert_eq!(lab.flows(), 2, "one flow, and its alias");
            }
        }
    }
}

#[test]
fn ports_are_chosen_and_run_out() {
    for family in Family::BOTH {
        let mut lab = lab();
        lab.masquerade_range(20000, 20001);
        let asks = [50000, 50001, 50002].map(|port| ask(family, tcp(port, PORT)));
        let mut ports = [0, 1].map(|n: usize| {
            let (got, sent) = talk(&mut lab, &asks[n]);
            assert_eq!(sent.ports().1, asks[n].ports().0);
            got.ports().0
        });
        ports.sort_unstable();
        assert_eq!(ports, [20000, 20001]);
        assert_eq!(lab.comes_in(&asks[2]), Fate::Dropped(DropReason::MasqueradeExhausted));
    }
}

#[test]
fn the_class_of_traffic_stays() {
    for family in Family::BOTH {
        let mut lab = lab();
        let frame = ask(family, udp(25000, PORT)).bytes_with(|ip| set_class(ip, 0xb9));
        let (verdict, got) = lab.frame(Program::FromUplink, HOST.ifindex, frame);
        assert_eq!(verdict, Ok(Verdict::ToEndpoint(WEB.ifindex)));
        assert_eq!(class(&got), 0xb9);
        let reply = Message::read(&got).reply().bytes_with(|ip| set_class(ip, 0x47));
        let (verdict, sent) = lab.frame(Program::FromEndpoint, WEB.ifindex, reply);
        assert_eq!(verdict, Ok(Verdict::ToUplink(HOST.ifindex)));
        assert_eq!(class(&sent), 0x47);
    }
}

fn set_class(ip: &mut etherparse::IpHeaders, class: u8) {
    match ip {
        etherparse::IpHeaders::Ipv4(header, _) => {
            header.dscp = (class >> 2).try_into().unwrap();
            header.ecn = (class & 3).try_into().unwrap();
        }
        etherparse::IpHeaders::Ipv6(header, _) => header.traffic_class = class,
    }
}

/// The class of traffic of a frame, read where it stands.
fn class(frame: &[u8]) -> u8 {
    if frame[12] == 8 { frame[15] } else { frame[14] << 4 | frame[15] >> 4 }
}

#[test]
fn what_the_network_card_sums_up_is_left_to_it() {
    for family in Family::BOTH {
        for what in [tcp(50000, PORT), udp(50000, PORT)] {
            let mut lab = lab();
            let mut packet = Bytes::new(ask(family, what).bytes(), HOST.ifindex);
            packet.is_offloaded = true;
            store_pseudo_sum(&mut packet.frame);
            assert_eq!(lab.run(Program::FromUplink, &mut packet), Ok(Verdict::ToEndpoint(WEB.ifindex)));
            let mut expected = packet.frame.clone();
            store_pseudo_sum(&mut expected);
            assert_eq!(packet.frame, expected);
        }
    }
}

/// Stores the sum of the pseudo-header where the checksum of a TCP or UDP packet stands.
fn store_pseudo_sum(frame: &mut [u8]) {
    let is_v4 = frame[12] == 8;
    let (addresses, l4, protocol) = if is_v4 { (26..34, 34, frame[23]) } else { (22..54, 54, frame[20]) };
    let length = u32::try_from(frame.len() - l4).unwrap();
    let pseudo = fold(sum(&frame[addresses]) + u32::from(protocol) + length);
    let at = l4 + if protocol == TCP { 16 } else { 6 };
    frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
}

#[test]
fn what_is_not_translated_is_dropped_as_such() {
    for family in Family::BOTH {
        let mut lab = lab();
        let whole = ask(family, udp(25000, PORT));
        let first = whole.bytes_with(|ip| match ip {
            etherparse::IpHeaders::Ipv4(header, _) => header.more_fragments = true,
            etherparse::IpHeaders::Ipv6(header, extensions) => {
                let offset = etherparse::IpFragOffset::ZERO;
                let next = etherparse::IpNumber::UDP;
                extensions.fragment = Some(etherparse::Ipv6FragmentHeader::new(next, offset, true, 7));
                header.next_header = etherparse::IpNumber::IPV6_FRAGMENTATION_HEADER;
            }
        });
        let fate = lab.frame(Program::FromUplink, HOST.ifindex, first).0;
        assert_eq!(fate, Err(DropReason::Untranslatable), "a fragment");
    }
    let mut lab = lab();
    let with_options = ask(Family::V4, udp(25000, PORT)).bytes_with(|ip| {
        let etherparse::IpHeaders::Ipv4(header, _) = ip else { panic!("not IPv4") };
        header.options = [1; 4].into();
    });
    let fate = lab.frame(Program::FromUplink, HOST.ifindex, with_options).0;
    assert_eq!(fate, Err(DropReason::Untranslatable), "options");
    // IPv6 has no datagrams without a checksum.
    let mut unsummed = ask(Family::V4, udp(25000, PORT)).bytes();
    unsummed[40..42].fill(0);
    let fate = lab.frame(Program::FromUplink, HOST.ifindex, unsummed).0;
    assert_eq!(fate, Err(DropReason::Untranslatable), "no checksum");
}

#[test]
fn what_grows_beyond_the_uplinks_mtu_is_told_what_fits() {
    let mut lab = lab();
    let (got, _) = talk(&mut lab, &ask(Family::V6, tcp(25000, PORT)));
    let mut answer = got.reply();
    answer.payload = vec![5; 1480 - 40];
    lab.sends(&WEB, &answer).out();
    answer.payload.push(5);
    let (reason, told) = lab.drops(Program::FromEndpoint, Bytes::new(answer.bytes(), WEB.ifindex));
    assert_eq!(reason, DropReason::TooBig);
    let (verdict, bytes) = told.unwrap();
    assert_eq!(verdict, Verdict::ToEndpoint(WEB.ifindex));
    assert_eq!(Message::read(&bytes).what, What::Error { kind: 3, code: 4 });
    assert_eq!(bytes[38..42], 1480_u32.to_be_bytes());
    // In pieces, each counts with its header.
    answer.payload = vec![5; 20_000];
    let packet = |segment| Bytes { segment, ..Bytes::new(answer.bytes(), WEB.ifindex) };
    assert!(lab.run(Program::FromEndpoint, &mut packet(1440)).is_ok());
    assert_eq!(lab.drops(Program::FromEndpoint, packet(1441)).0, DropReason::TooBig);
}

#[test]
fn what_shrinks_may_be_larger_than_the_uplinks_mtu() {
    let mut lab = lab();
    let (got, _) = talk(&mut lab, &ask(Family::V4, tcp(25000, PORT)));
    let mut answer = got.reply();
    answer.payload = vec![5; 1520 - 60];
    lab.sends(&WEB, &answer).out();
    answer.payload.push(5);
    let (reason, told) = lab.drops(Program::FromEndpoint, Bytes::new(answer.bytes(), WEB.ifindex));
    assert_eq!(reason, DropReason::TooBig);
    assert_eq!(told.unwrap().1[58..62], 1520_u32.to_be_bytes());
}

#[test]
fn policies_and_lists_of_sources_know_the_true_client() {
    for family in Family::BOTH {
        let mut lab = lab();
        let identity = Lab::outer_identity(&OUTSIDE, family);
        lab.isolate(&WEB, Way::In, &[Allow { identity, protocol: TCP, port: Some(80) }]);
        lab.flip();
        let from = |member: &Member, sport| Message::new(member, &HOST, family, tcp(sport, PORT));
        lab.comes_in(&from(&OUTSIDE, 25000)).at(&WEB);
        assert_eq!(lab.comes_in(&from(&ELSEWHERE, 25000)), Fate::Dropped(DropReason::PolicyIngress));
        lab.open(&WEB);
        lab.limit_sources(9, &[ELSEWHERE.addr(family)]);
        lab.flip();
        lab.comes_in(&from(&ELSEWHERE, 25001)).at(&WEB);
        let living = from(&OUTSIDE, 25000).flags(ACK);
        assert_eq!(lab.comes_in(&living), Fate::Dropped(DropReason::SourceNotAllowed));
    }
}

#[test]
fn from_another_network_of_the_host() {
    for family in Family::BOTH {
        let mut lab = lab();
        let ask = Message::new(&STRANGER, &HOST, family, tcp(50000, PORT));
        let got = lab.sends(&STRANGER, &ask).at(&WEB);
        assert_eq!((got.src, got.dst), (WEB.gateway().addr(family.other()), WEB.addr(family.other())));
        let back = lab.sends(&WEB, &got.reply()).at(&STRANGER);
        assert_eq!((back.src, back.dst), (HOST.addr(family), STRANGER.addr(family)));
        assert_eq!((back.ports(), back.ttl), ((PORT, 50000), 63));
    }
}

#[test]
fn a_flow_knows_that_it_crosses() {
    let mut lab = lab();
    let ask = ask(Family::V6, tcp(25000, PORT));
    talk(&mut lab, &ask);
    lab.comes_in(&ask.flags(ACK)).at(&WEB);
    assert_eq!(lab.settled(), 2);
    let (key, _) = ask.tuple().key();
    let entry = lab.maps.flows.borrow()[&key];
    // SAFETY: entries stay where they are as long as the maps are there.
    assert_ne!(unsafe { entry.as_ref() }.flags & FLOW_CROSSES, 0);
}

/// An error of this type and code, with this word behind its checksum, about a packet.
fn error(from: (&Member, Addr), to: &Member, kind: (u8, u8, u32), about: &Message) -> Vec<u8> {
    let (kind, code, detail) = kind;
    let mut frame = Message {
        from_mac: from.0.mac,
        to_mac: to.mac,
        src: from.1,
        dst: about.src,
        ttl: 64,
        what: What::Error { kind, code },
        payload: about.bytes()[14..].to_vec(),
    }
    .bytes();
    let at = if about.src.is_v4() { 34 } else { 54 };
    frame[at + 4..at + 8].copy_from_slice(&detail.to_be_bytes());
    let old = u16::from_be_bytes([frame[at + 2], frame[at + 3]]);
    let new = netfast_common::checksum::update(old, &[0; 4], &detail.to_be_bytes());
    frame[at + 2..at + 4].copy_from_slice(&new.to_be_bytes());
    frame
}

/// Type, code and the word behind the checksum of an error, which must be right in every checksum; and the addresses and
/// ports of the packet it quotes, whose own checksum and length must be those of `whole`.
fn read_error(frame: &[u8], whole: &Message) -> (Message, (u8, u8, u32)) {
    let message = Message::read(frame);
    let What::Error { kind, code } = message.what else { panic!("no error: {message:?}") };
    let at = if message.src.is_v4() { 34 } else { 54 };
    let detail = u32::from_be_bytes(frame[at + 4..at + 8].try_into().unwrap());
    let mut about = whole.bytes();
    let quoted = &frame[at + 8..];
    assert_eq!(quoted.len(), if whole.src.is_v4() { 28 } else { 48 });
    about.truncate(14 + quoted.len());
    assert_eq!(quoted, &about[14..], "the quote");
    (message, (kind, code, detail))
}

#[test]
fn errors_about_what_the_client_sent() {
    let about = [
        (Family::V6, (3, 3, 0), Some((1, 4, 0))),
        (Family::V6, (3, 13, 0), Some((1, 1, 0))),
        (Family::V6, (3, 0, 0), Some((1, 0, 0))),
        (Family::V6, (12, 0, 0), None),
        (Family::V4, (1, 4, 0), Some((3, 3, 0))),
        (Family::V4, (1, 1, 0), Some((3, 10, 0))),
        (Family::V4, (1, 3, 0), Some((3, 1, 0))),
        (Family::V4, (4, 0, 40), None),
    ];
    for (family, reported, expected) in about {
        for what in [tcp(50000, PORT), udp(50000, PORT)] {
            let mut lab = lab();
            let asked = ask(family, what);
            let (got, _) = talk(&mut lab, &asked);
            let frame = error((&WEB, got.dst), &WEB.gateway(), reported, &got);
            let (verdict, frame) = lab.frame(Program::FromEndpoint, WEB.ifindex, frame);
            let Some(expected) = expected else {
                assert_eq!(verdict, Err(DropReason::Untranslatable));
                continue;
            };
            assert_eq!(verdict, Ok(Verdict::ToUplink(HOST.ifindex)));
            // The hop that the client's packet had gone before the endpoint got it is not given back.
            let (message, said) = read_error(&frame, &Message { ttl: 63, ..asked.clone() });
            assert_eq!(said, expected);
            assert_eq!(
                (message.src, message.dst, message.ttl),
                (HOST.addr(family), OUTSIDE.addr(family), 63)
            );
        }
    }
}

#[test]
fn errors_about_what_the_endpoint_sent() {
    let about = [
        (Family::V6, (2, 0, 1400), (3, 4, 1380)),
        (Family::V6, (3, 0, 0), (11, 0, 0)),
        (Family::V4, (3, 4, 1400), (2, 0, 1420)),
        (Family::V4, (3, 4, 600), (2, 0, 1280)),
        (Family::V4, (11, 0, 0), (3, 0, 0)),
    ];
    for (family, reported, expected) in about {
        for what in [tcp(50000, PORT), udp(50000, PORT)] {
            let mut lab = lab();
            let (got, sent) = talk(&mut lab, &ask(family, what));
            for reporter in [OUTSIDE, ELSEWHERE] {
                let frame = error((&reporter, reporter.addr(family)), &HOST, reported, &sent);
                let (verdict, frame) = lab.frame(Program::FromUplink, HOST.ifindex, frame);
                assert_eq!(verdict, Ok(Verdict::ToEndpoint(WEB.ifindex)));
                let (message, said) = read_error(&frame, &Message { ttl: 63, ..got.reply() });
                assert_eq!(said, expected);
                assert_eq!((message.src, message.dst), (got.src, got.dst), "a router has no such address");
                assert_eq!((message.from_mac, message.to_mac), (WEB.gateway().mac, WEB.mac));
            }
        }
    }
}
