//! What holds for any packet.

use netfast_common::addr::Addr;
use netfast_common::protocol::{TCP, UDP};
use proptest::prelude::*;

use super::bytes::Bytes;
use super::cast::{CLIENT, Family, HOST, OUTSIDE, WEB};
use super::lab::{Lab, Program};
use super::message::{ACK, Message, SYN, What};
use crate::nat;
use crate::parse::{self, Headers, ethertype};

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        (any::<u16>(), any::<u16>(), prop_oneof![Just(SYN), Just(ACK)])
            .prop_map(|(sport, dport, flags)| What::Tcp { sport, dport, flags }),
        (any::<u16>(), any::<u16>()).prop_map(|(sport, dport)| What::Udp { sport, dport }),
        any::<u16>().prop_map(|id| What::Ask { id }),
        any::<u16>().prop_map(|id| What::Answer { id }),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..64)
}

fn program() -> impl Strategy<Value = (Program, u32)> {
    prop_oneof![
        Just((Program::FromEndpoint, CLIENT.ifindex)),
        Just((Program::ToEndpoint, CLIENT.ifindex)),
        Just((Program::FromUplink, HOST.ifindex)),
        Just((Program::FromEndpoint, 9999)),
    ]
}

/// Reads the headers of a frame.
fn parsed(packet: &Bytes, family: Family) -> Headers {
    let mut headers = Headers::default();
    let ether_type = if family == Family::V4 { ethertype::IPV4 } else { ethertype::IPV6 };
    assert_eq!(parse::ip(packet, ether_type, &mut headers).unpack(), Ok(true));
    headers
}

proptest! {
    #[test]
    fn noise_never_panics((program, ifindex) in program(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut lab = Lab::new();
        let (_verdict, _frame) = lab.frame(program, ifindex, bytes);
    }

    #[test]
    fn damaged_packets_never_panic(
        (program, ifindex) in program(),
        family in family(),
        what in what(),
        damage in proptest::collection::vec((0_usize..70, any::<u8>()), 1..5),
        length in 14_usize..90,
    ) {
        let mut lab = Lab::new();
        lab.publish(TCP, 8080, &WEB, 80);
        let mut bytes = Message::new(&CLIENT, &WEB, family, what).bytes();
        for (at, byte) in damage {
            if at >= 14 && at < bytes.len() {
                bytes[at] = byte;
            }
        }
        bytes.truncate(length);
        let (_verdict, _frame) = lab.frame(program, ifindex, bytes.clone());
        let (_verdict, _frame) = lab.frame(program, ifindex, bytes);
    }

    #[test]
    fn errors_with_damaged_quotes_never_panic(
        family in family(),
        kind in 0_usize..4,
        damage in proptest::collection::vec((0_usize..60, any::<u8>()), 0..3),
        length in 0_usize..90,
    ) {
        let mut lab = Lab::new();
        let sent = lab.sends(&CLIENT, &Message::new(&CLIENT, &OUTSIDE, family, What::Ask { id: 7 })).out();
        let mut payload = sent.bytes()[14..].to_vec();
        for (at, byte) in damage {
            if at < payload.len() {
                payload[at] = byte;
            }
        }
        payload.truncate(length);
        let kinds = if family == Family::V4 { [3, 4, 11, 12] } else { [1, 2, 3, 4] };
        let what = What::Error { kind: kinds[kind], code: 0 };
        let error = Message { what, payload, ..Message::new(&OUTSIDE, &HOST, family, what) };
        // Whatever becomes of it, its checksum is right.
        let _fate = lab.comes_in(&error);
    }

    #[test]
    fn rewriting_there_and_back_is_identity(
        family in family(),
        what in what(),
        payload in payload(),
        octets in any::<[[u8; 16]; 2]>(),
        ports in any::<(u16, u16)>(),
    ) {
        let message = Message { payload, ..Message::new(&CLIENT, &OUTSIDE, family, what) };
        let mut packet = Bytes::new(message.bytes(), CLIENT.ifindex);
        let there = parsed(&packet, family);
        let mut target = there.tuple;
        let [src, dst] = octets.map(|octets| match family {
            Family::V4 => Addr::from_v4([octets[0], octets[1], octets[2], octets[3]]),
            Family::V6 => Addr::from_v6([&[0x20], &octets[1..]].concat().try_into().unwrap()),
        });
        (target.src, target.dst) = (src, dst);
        match what {
            What::Ask { .. } => target.sport = ports.0,
            What::Answer { .. } => target.dport = ports.1,
            _ => (target.sport, target.dport) = ports,
        }
        prop_assert_eq!(nat::rewrite(&mut packet, &there, &target), Ok(()));
        let got = Message::read(&packet.frame);
        prop_assert_eq!((got.src, got.dst, got.ports()), (src, dst, (target.sport, target.dport)));
        let back = parsed(&packet, family);
        prop_assert_eq!(back.tuple, target);
        prop_assert_eq!(nat::rewrite(&mut packet, &back, &there.tuple), Ok(()));
        Message::read(&packet.frame);
        let sent = Message { ttl: message.ttl - 2, ..message };
        prop_assert_eq!(packet.frame, sent.bytes(), "but for two hops");
    }

    #[test]
    fn a_masqueraded_conversation_reads_at_both_ends_as_meant(
        family in family(),
        what in what(),
        payload in payload(),
    ) {
        // An answer cannot begin a conversation.
        let what = if let What::Answer { id } = what { What::Ask { id } } else { what };
        let mut lab = Lab::new();
        let ask = Message { payload, ..Message::new(&CLIENT, &OUTSIDE, family, what) };
        let got = lab.sends(&CLIENT, &ask).out();
        prop_assert_eq!((&got.payload, got.dst), (&ask.payload, ask.dst));
        let answer = got.reply();
        let back = lab.comes_in(&answer).at(&CLIENT);
        prop_assert_eq!((back.what, back.src, back.dst), (ask.reply().what, ask.dst, ask.src));
    }

    #[test]
    fn a_published_conversation_reads_at_both_ends_as_meant(
        family in family(),
        port in 1_u16..,
        is_tcp in any::<bool>(),
        payload in payload(),
    ) {
        let mut lab = Lab::new();
        lab.publish(TCP, 8080, &WEB, 80);
        lab.publish(UDP, 8080, &WEB, 80);
        let what = if is_tcp { super::message::tcp(port, 8080) } else { super::message::udp(port, 8080) };
        let ask = Message { payload, ..Message::new(&OUTSIDE, &HOST, family, what) };
        let got = lab.comes_in(&ask).at(&WEB);
        prop_assert_eq!((got.src, got.ports(), &got.payload), (ask.src, (port, 80), &ask.payload));
        let back = lab.sends(&WEB, &got.reply()).out();
        prop_assert_eq!((back.src, back.dst, back.what), (ask.dst, ask.src, ask.reply().what));
    }
}
