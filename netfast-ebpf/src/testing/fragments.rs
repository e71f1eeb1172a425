//! Packets in several fragments: only the first one has ports.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader};
use netfast_common::addr::Addr;
use netfast_common::reason::DropReason;

use super::cast::{CLIENT, Family, HOST, OUTSIDE, WEB};
use super::lab::{Lab, Program, Way, anyone};
use super::message::{Message, ping, udp, verify_checksums};
use crate::verdict::Verdict;

/// Splits a message behind 16 bytes of its IP payload.
fn split(message: &Message, id: u16) -> [Vec<u8>; 2] {
    let bytes = message.bytes();
    let (frame, packet) = bytes.split_at(14);
    let is_v4 = message.src.is_v4();
    let payload = &packet[if is_v4 { 20 } else { 40 }..];
    let part = |offset: u16, more: bool, payload: &[u8]| {
        let mut bytes = frame.to_vec();
        let fragment_offset = IpFragOffset::try_new(offset / 8).unwrap();
        if is_v4 {
            let (mut header, _) = Ipv4Header::from_slice(packet).unwrap();
            header.total_len = 20 + payload.len() as u16;
            header.identification = id;
            header.dont_fragment = false;
            (header.more_fragments, header.fragment_offset) = (more, fragment_offset);
            header.header_checksum = header.calc_header_checksum();
            bytes.extend(header.to_bytes());
        } else {
            let mut header = packet[..40].to_vec();
            header[4..6].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
            let next = IpNumber(std::mem::replace(&mut header[6], 44));
            bytes.extend(header);
            bytes.extend(Ipv6FragmentHeader::new(next, fragment_offset, more, u32::from(id)).to_bytes());
        }
        bytes.extend(payload);
        bytes
    };
    [part(0, true, &payload[..16]), part(16, false, &payload[16..])]
}

/// Puts the two parts together again.
fn join(family: Family, [first, second]: [&[u8]; 2]) -> Vec<u8> {
    if family == Family::V4 {
        let mut header = Ipv4Header::from_slice(&first[14..]).unwrap().0;
        header.more_fragments = false;
        header.total_len += second.len() as u16 - 34;
        header.header_checksum = header.calc_header_checksum();
        [&first[..14], &header.to_bytes(), &first[34..], &second[34..]].concat()
    } else {
        let mut header = first[14..54].to_vec();
        header[6] = first[54];
        let length = first.len() + second.len() - 2 * 62;
        header[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        [&first[..14], &header, &first[62..], &second[62..]].concat()
    }
}

#[test]
fn later_fragments_follow_the_first() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        lab.isolate(&WEB, Way::In, &[anyone(17, 53)]);
        lab.flip();
        for part in split(&Message::new(&CLIENT, &WEB, family, udp(4000, 53)), 77) {
            let (verdict, bytes) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, part.clone());
            assert_eq!((verdict, bytes), (Ok(Verdict::ToEndpoint(WEB.ifindex)), part));
        }
        assert_eq!(lab.flows(), 1);
    }
}

#[test]
fn pings_in_fragments_are_asked_and_answered() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let request = Message { payload: (0..99).collect(), ..Message::new(&CLIENT, &WEB, family, ping(7)) };
        let both = [(&CLIENT, &WEB, request.clone(), 77), (&WEB, &CLIENT, request.reply(), 78)];
        for (from, to, message, id) in &both {
            for part in split(message, *id) {
                let (verdict, _) = lab.frame(Program::FromEndpoint, from.ifindex, part);
                assert_eq!(verdict, Ok(Verdict::ToEndpoint(to.ifindex)));
            }
        }
        assert_eq!(lab.flows(), 1);
        // No part of an answer that nobody asked for opens a flow.
        let mut lab = Lab::new();
        for part in split(&request.reply(), 79) {
            let (verdict, _) = lab.frame(Program::FromEndpoint, WEB.ifindex, part);
            assert_eq!(verdict, Err(DropReason::InvalidState));
        }
        assert_eq!(lab.flows(), 0);
    }
}

#[test]
fn a_later_fragment_alone_is_of_nobody() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let message = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        let [first, second] = split(&message, 77);
        let sends = |lab: &mut Lab, part| lab.frame(Program::FromEndpoint, CLIENT.ifindex, part).0;
        assert_eq!(sends(&mut lab, second.clone()), Err(DropReason::FragmentUnknown));
        assert!(sends(&mut lab, first).is_ok());
        let [_, other] = split(&message, 78);
        assert_eq!(sends(&mut lab, other), Err(DropReason::FragmentUnknown), "another packet's");
        assert!(sends(&mut lab, second).is_ok());
        let (verdict, _) = lab.frame(Program::FromUplink, HOST.ifindex, split(&message, 79)[1].clone());
        assert_eq!(verdict, Ok(Verdict::Next), "at the uplink the host judges");
    }
}

#[test]
fn a_denied_first_fragment_takes_the_later_ones_along() {
    let mut lab = Lab::new();
    lab.isolate(&WEB, Way::In, &[]);
    lab.flip();
    for part in split(&Message::new(&CLIENT, &WEB, Family::V4, udp(4000, 53)), 77) {
        let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, part);
        assert_eq!(verdict, Err(DropReason::PolicyIngress));
    }
}

#[test]
fn masqueraded_fragments_are_one_packet_again_at_the_other_end() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let message =
            Message { payload: (0..99).collect(), ..Message::new(&CLIENT, &OUTSIDE, family, udp(50000, 53)) };
        let [first, second] = split(&message, 77).map(|part| {
            let (verdict, bytes) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, part);
            assert_eq!(verdict, Ok(Verdict::ToUplink(HOST.ifindex)));
            verify_checksums(&bytes);
            bytes
        });
        let got = Message::read(&join(family, [&first, &second]));
        assert_eq!((got.src, got.ttl, got.payload), (HOST.addr(family), 63, message.payload));
        assert_ne!(got.src, Addr::default());
    }
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let mut lab = Lab::new();
    let message = Message::new(&CLIENT, &WEB, Family::V6, udp(4000, 53));
    let bytes = message.bytes_with(|ip| {
        let etherparse::IpHeaders::Ipv6(_, extensions) = ip else { unreachable!() };
        let none = IpFragOffset::try_new(0).unwrap();
        extensions.fragment = Some(Ipv6FragmentHeader::new(IpNumber::UDP, none, false, 5));
    });
    let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, bytes);
    assert_eq!(verdict, Ok(Verdict::ToEndpoint(WEB.ifindex)));
    assert!(lab.maps.fragments.borrow().is_empty());
}
