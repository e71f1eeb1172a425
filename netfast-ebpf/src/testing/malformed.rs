//! Lengths that lie, headers that are unusual but right.

use etherparse::{IpHeaders, IpNumber, Ipv6Extensions, Ipv6RawExtHeader, Ipv6RoutingExtensions};
use netfast_common::reason::DropReason;

use super::cast::{CLIENT, Family, HOST, OUTSIDE, WEB};
use super::lab::{Lab, Program};
use super::message::{Message, ping, tcp, udp};
use crate::verdict::Verdict;

fn sent(lab: &mut Lab, bytes: Vec<u8>) -> (Result<Verdict, DropReason>, Vec<u8>) {
    lab.frame(Program::FromEndpoint, CLIENT.ifindex, bytes)
}

#[test]
fn frames_cut_short_anywhere() {
    for family in Family::BOTH {
        for what in [tcp(4000, 80), udp(4000, 80), ping(1)] {
            let bytes = Message { payload: Vec::new(), ..Message::new(&CLIENT, &WEB, family, what) }.bytes();
            for length in 0..bytes.len() {
                let mut lab = Lab::new();
                let (verdict, _) = sent(&mut lab, bytes[..length].to_vec());
                assert_eq!(verdict, Err(DropReason::BadHeader), "{what:?} cut to {length}");
                let (verdict, _) = lab.frame(Program::FromUplink, HOST.ifindex, bytes[..length].to_vec());
                assert_eq!(verdict, Ok(Verdict::Next), "the host judges what comes from outside");
                assert_eq!(lab.flows(), 0);
            }
        }
    }
}

#[test]
fn lengths_that_lie() {
    let bytes = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80)).bytes();
    let lie = |at: usize, value: &[u8]| {
        let mut lying = bytes.clone();
        lying[at..at + value.len()].copy_from_slice(value);
        sent(&mut Lab::new(), lying).0
    };
    let longer = (bytes.len() as u16 - 13).to_be_bytes();
    assert_eq!(lie(16, &longer), Err(DropReason::BadHeader), "total length beyond the frame");
    assert_eq!(lie(16, &[0, 19]), Err(DropReason::BadHeader), "total length below the header's");
    assert_eq!(lie(14, &[0x44]), Err(DropReason::BadHeader), "header length below 20");
    assert_eq!(lie(14, &[0x65]), Err(DropReason::BadHeader), "version 6 in an IPv4 frame");
    let bytes = Message::new(&CLIENT, &WEB, Family::V6, tcp(4000, 80)).bytes();
    let lie = |at: usize, value: &[u8]| {
        let mut lying = bytes.clone();
        lying[at..at + value.len()].copy_from_slice(value);
        sent(&mut Lab::new(), lying).0
    };
    assert_eq!(lie(18, &[0xff, 0xff]), Err(DropReason::BadHeader), "payload beyond the frame");
    assert_eq!(lie(14, &[0x45]), Err(DropReason::BadHeader), "version 4 in an IPv6 frame");
}

#[test]
fn a_padded_frame_is_fine() {
    for family in Family::BOTH {
        let message = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        let mut bytes = message.bytes();
        bytes.extend([0; 20]);
        let (verdict, _) = sent(&mut Lab::new(), bytes);
        assert_eq!(verdict, Ok(Verdict::ToEndpoint(WEB.ifindex)));
    }
}

#[test]
fn ipv4_options_move_the_ports() {
    for size in [4, 12, 40] {
        let message = Message::new(&CLIENT, &OUTSIDE, Family::V4, tcp(50000, 80));
        let bytes = message.bytes_with(|ip| {
            let IpHeaders::Ipv4(header, _) = ip else { unreachable!() };
            header.options = [1; 40][..size].try_into().unwrap();
        });
        let (verdict, bytes) = sent(&mut Lab::new(), bytes);
        assert_eq!(verdict, Ok(Verdict::ToUplink(HOST.ifindex)));
        let got = Message::read(&bytes);
        assert_eq!((got.src, got.ttl, got.ports().1), (HOST.ip4, 63, 80));
    }
}

#[test]
fn ipv6_extension_headers_move_the_ports() {
    let options = |size: usize| Ipv6RawExtHeader::new_raw(IpNumber(0), &vec![0; size]).unwrap();
    let cases = vec![
        Ipv6Extensions { hop_by_hop_options: Some(options(6)), ..Ipv6Extensions::default() },
        Ipv6Extensions {
            hop_by_hop_options: Some(options(14)),
            destination_options: Some(options(22)),
            routing: Some(Ipv6RoutingExtensions {
                routing: options(6),
                final_destination_options: Some(options(6)),
            }),
            ..Ipv6Extensions::default()
        },
    ];
    for extensions in cases {
        for what in [tcp(50000, 80), udp(50000, 80), ping(50000)] {
            let message = Message::new(&CLIENT, &OUTSIDE, Family::V6, what);
            let bytes = message.bytes_with(|ip| {
                let IpHeaders::Ipv6(_, exts) = ip else { unreachable!() };
                *exts = extensions.clone();
            });
            let (verdict, bytes) = sent(&mut Lab::new(), bytes);
            assert_eq!(verdict, Ok(Verdict::ToUplink(HOST.ifindex)));
            let got = Message::read(&bytes);
            assert_eq!((got.src, got.ttl, got.ports().1), (HOST.ip6, 63, message.ports().1));
            assert!((20000..30000).contains(&got.ports().0));
        }
    }
}

#[test]
fn a_chain_of_extension_headers_without_end() {
    let mut bytes = Message::new(&CLIENT, &WEB, Family::V6, tcp(4000, 80)).bytes();
    bytes[20] = 60;
    bytes.truncate(54);
    for _ in 0..20 {
        bytes.extend([60, 0, 1, 4, 0, 0, 0, 0]);
    }
    bytes[18..20].copy_from_slice(&160_u16.to_be_bytes());
    assert_eq!(sent(&mut Lab::new(), bytes).0, Err(DropReason::BadHeader));
}
