//! ICMP errors of our own.

use netfast_common::addr::Addr;
use netfast_common::protocol::TCP;
use netfast_common::reason::DropReason;

use super::bytes::Bytes;
use super::cast::{CLIENT, Family, HOST, Member, OUTSIDE, WEB};
use super::lab::{Lab, Program};
use super::message::{Message, What, ping, tcp, udp, verify_checksums};
use crate::verdict::Verdict;

/// What `member` is told about a packet that it sends.
#[track_caller]
fn told(lab: &mut Lab, member: &Member, sent: &[u8], reason: DropReason) -> Message {
    let (why, told) = lab.drops(Program::FromEndpoint, Bytes::new(sent.to_vec(), member.ifindex));
    assert_eq!(why, reason);
    let (verdict, bytes) = told.expect("nothing is told");
    assert_eq!(verdict, Verdict::ToEndpoint(member.ifindex));
    verify_checksums(&bytes);
    let message = Message::read(&bytes);
    assert_eq!((message.to_mac, message.from_mac), (member.mac, member.gateway().mac));
    message
}

fn gateway(member: &Member, family: Family) -> Addr {
    member.gateway().addr(family)
}

/// Checks that an error quotes the beginning of `sent`, in whole words.
#[track_caller]
fn quotes(message: &Message, sent: &[u8]) {
    let packet = &sent[14..];
    let length = packet.len().min(128) / 4 * 4;
    assert_eq!(message.payload, &packet[..length]);
}

#[test]
fn a_traceroute_shows_the_gateway() {
    for family in Family::BOTH {
        for what in [tcp(40000, 443), udp(40000, 33434), ping(7)] {
            let mut lab = Lab::new();
            let sent = Message { ttl: 1, ..Message::new(&CLIENT, &OUTSIDE, family, what) }.bytes();
            let message = told(&mut lab, &CLIENT, &sent, DropReason::TtlExpired);
            assert_eq!((message.src, message.dst), (gateway(&CLIENT, family), CLIENT.addr(family)));
            let kind = if family == Family::V4 { 11 } else { 3 };
            assert_eq!(message.what, What::Error { kind, code: 0 });
            quotes(&message, &sent);
        }
    }
}

#[test]
fn what_is_too_big_for_the_uplink_is_told_its_mtu() {
    for family in Family::BOTH {
        for size in [1481, 3000, 9000] {
            let mut lab = Lab::new();
            lab.maps.uplinks.get_mut(&HOST.ifindex).unwrap().mtu = 1400;
            lab.maps.config.smallest_mtu = 1400;
            let mut ask = Message::new(&CLIENT, &OUTSIDE, family, udp(40000, 53));
            ask.payload = vec![5; size];
            let sent = ask.bytes();
            let (_, told_bytes) = lab.drops(Program::FromEndpoint, Bytes::new(sent.clone(), CLIENT.ifindex));
            let bytes = told_bytes.unwrap().1;
            // The MTU is the last word of the ICMP header, in IPv4 its lower half.
            let at = if family == Family::V4 { 14 + 20 + 4 } else { 14 + 40 + 4 };
            assert_eq!(bytes[at..at + 4], 1400_u32.to_be_bytes());
            let message = told(&mut lab, &CLIENT, &sent, DropReason::TooBig);
            let (kind, code) = if family == Family::V4 { (3, 4) } else { (2, 0) };
            assert_eq!(message.what, What::Error { kind, code });
            quotes(&message, &sent);
        }
    }
}

#[test]
fn what_fits_goes_out() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let mut ask = Message::new(&CLIENT, &OUTSIDE, family, udp(25000, 53));
        let headers = ask.bytes().len() - ask.payload.len();
        ask.payload = vec![5; 1514 - headers];
        lab.sends(&CLIENT, &ask).out();
        ask.payload.push(5);
        let (reason, _) = lab.drops(Program::FromEndpoint, Bytes::new(ask.bytes(), CLIENT.ifindex));
        assert_eq!(reason, DropReason::TooBig);
    }
}

#[test]
fn what_will_be_cut_counts_by_its_pieces() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let mut ask = Message::new(&CLIENT, &OUTSIDE, family, tcp(25000, 443));
        let headers = ask.bytes().len() - ask.payload.len();
        ask.payload = vec![5; 20_000];
        let most = (1514 - headers) as u32;
        let packet = |segment| Bytes { segment, ..Bytes::new(ask.bytes(), CLIENT.ifindex) };
        assert!(lab.run(Program::FromEndpoint, &mut packet(most)).is_ok());
        let (reason, told) = lab.drops(Program::FromEndpoint, packet(most + 1));
        assert_eq!(reason, DropReason::TooBig);
        assert!(told.is_some());
    }
}

#[test]
fn between_endpoints_no_mtu_counts_and_no_ttl() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let mut ask = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        ask.payload = vec![5; 8000];
        ask.ttl = 1;
        assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
    }
}

#[test]
fn a_client_outside_sees_the_host_as_a_hop() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        lab.publish(TCP, 8080, &WEB, 80);
        let sent = Message { ttl: 1, ..Message::new(&OUTSIDE, &HOST, family, tcp(50000, 8080)) }.bytes();
        let (reason, told) = lab.drops(Program::FromUplink, Bytes::new(sent.clone(), HOST.ifindex));
        assert_eq!(reason, DropReason::TtlExpired);
        let (verdict, bytes) = told.unwrap();
        assert_eq!(verdict, Verdict::ToUplink(HOST.ifindex));
        verify_checksums(&bytes);
        let message = Message::read(&bytes);
        assert_eq!((message.src, message.dst), (HOST.addr(family), OUTSIDE.addr(family)));
        quotes(&message, &sent);
    }
}

#[test]
fn errors_are_bounded_and_about_no_errors() {
    let mut lab = Lab::new();
    let sent = Message { ttl: 1, ..Message::new(&CLIENT, &OUTSIDE, Family::V4, udp(40000, 33434)) }.bytes();
    let tries = |lab: &mut Lab| {
        let told = |_: &u32| {
            let packet = Bytes::new(sent.clone(), CLIENT.ifindex);
            lab.drops(Program::FromEndpoint, packet).1.is_some()
        };
        (0..3000).filter(told).count()
    };
    assert_eq!(tries(&mut lab), 1000);
    lab.wait(1);
    assert_eq!(tries(&mut lab), 1000, "and again in the next second");
    lab.wait(1);
    let error = Message {
        ttl: 1,
        what: What::Error { kind: 3, code: 3 },
        ..Message::new(&CLIENT, &OUTSIDE, Family::V4, udp(1, 2))
    };
    assert_eq!(lab.drops(Program::FromEndpoint, Bytes::new(error.bytes(), CLIENT.ifindex)).1, None);
}
