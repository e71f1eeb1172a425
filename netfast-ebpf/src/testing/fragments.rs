//! Packets in several fragments: only the first one has ports.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader};
use netfast_common::addr::{Addr, DEFRAG_MAC};
use netfast_common::counter::Path;
use netfast_common::reason::DropReason;
use netfast_common::rows::ENDPOINT_ANY_SOURCE;

use super::bytes::Bytes;
use super::cast::{CLIENT, Family, HOST, Member, OUTSIDE, STRANGER, WEB};
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
        let answer = Message::new(&OUTSIDE, &HOST, family, udp(53, 4000));
        let (verdict, _) = lab.frame(Program::FromUplink, HOST.ifindex, split(&answer, 79)[1].clone());
        assert_eq!(verdict, Ok(Verdict::Next), "at the uplink the host judges");
    }
}

/// The device behind which fragments are put in order.
const DEFRAG: u32 = 66;

/// A lab that has one.
fn ordering() -> Lab {
    let mut lab = Lab::new();
    lab.maps.config.defrag = DEFRAG;
    lab
}

/// What the kernel makes of diverted pieces: the first one first, one hop farther, on another wire.
fn in_order(mut pieces: Vec<Vec<u8>>, family: Family) -> Vec<Vec<u8>> {
    pieces.sort_by_key(|piece| match family {
        Family::V4 => u16::from_be_bytes([piece[20], piece[21]]) & 0x1fff,
        Family::V6 => u16::from_be_bytes([piece[56], piece[57]]) >> 3,
    });
    for piece in &mut pieces {
        assert_eq!(piece[..6], DEFRAG_MAC.octets());
        piece[..12].copy_from_slice(&[0xee; 12]);
        if family == Family::V4 {
            let (mut header, _) = Ipv4Header::from_slice(&piece[14..]).unwrap();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            header.time_to_live -= 1;
            header.header_checksum = header.calc_header_checksum();
            piece[14..34].copy_from_slice(&header.to_bytes());
        } else {
            piece[21] -= 1;
            // It gets another identification.
            piece[58] ^= 0x80;
        }
    }
    pieces
}

/// Has the pieces of a message taken in by a program, the last one first, put in order, and taken in again. Tells what
/// became of them then.
fn round(
    lab: &mut Lab,
    program: Program,
    ifindex: u32,
    message: &Message,
    id: u16,
) -> Vec<(Result<Verdict, DropReason>, Vec<u8>)> {
    let family = if message.src.is_v4() { Family::V4 } else { Family::V6 };
    let sent = split(message, id);
    let diverted = sent.iter().rev().map(|piece| {
        let (verdict, bytes) = lab.frame(program, ifindex, piece.clone());
        assert_eq!(verdict, Ok(Verdict::ToDefrag(DEFRAG)));
        assert_eq!(lab.path(), Some(Path::ToDefrag));
        bytes
    });
    let diverted = diverted.collect();
    let mut fates = Vec::new();
    for (piece, sent) in in_order(diverted, family).into_iter().zip(sent) {
        let (verdict, bytes) = lab.frame(Program::FromDefrag, DEFRAG, piece);
        let back = if matches!(program, Program::ToEndpoint) {
            Verdict::BackOut(ifindex)
        } else {
            Verdict::BackIn(ifindex)
        };
        assert_eq!(verdict, Ok(back));
        let is_same = |(at, (was, is)): (usize, (&u8, &u8))| was == is || (family == Family::V6 && at == 58);
        assert!(sent.iter().zip(&bytes).enumerate().all(is_same), "{sent:02x?} {bytes:02x?}");
        let mut packet = Bytes { is_returned: true, ..Bytes::new(bytes, ifindex) };
        let verdict = lab.run(program, &mut packet).map_err(|dropped| dropped.reason);
        fates.push((verdict, packet.frame));
    }
    fates
}

#[test]
fn pieces_that_overtake_the_first_are_put_in_order() {
    for family in Family::BOTH {
        let mut lab = ordering();
        lab.isolate(&WEB, Way::In, &[anyone(17, 53)]);
        lab.flip();
        let message = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        for (verdict, _) in round(&mut lab, Program::FromEndpoint, CLIENT.ifindex, &message, 77) {
            assert_eq!(verdict, Ok(Verdict::ToEndpoint(WEB.ifindex)));
        }
        assert_eq!(lab.flows(), 1);
        // The next one that is in order goes as before.
        for part in split(&message, 78) {
            let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, part);
            assert_eq!(verdict, Ok(Verdict::ToEndpoint(WEB.ifindex)));
        }
    }
}

#[test]
fn out_of_order_through_a_published_port_and_masqueraded() {
    for family in Family::BOTH {
        let mut lab = ordering();
        lab.publish(17, 5353, &WEB, 53);
        let ask = Message::new(&OUTSIDE, &HOST, family, udp(4000, 5353));
        for (verdict, _) in round(&mut lab, Program::FromUplink, HOST.ifindex, &ask, 77) {
            assert_eq!(verdict, Ok(Verdict::ToEndpoint(WEB.ifindex)));
        }
        let ask = Message::new(&CLIENT, &OUTSIDE, family, udp(20000, 53));
        for (verdict, bytes) in round(&mut lab, Program::FromEndpoint, CLIENT.ifindex, &ask, 78) {
            assert_eq!(verdict, Ok(Verdict::ToUplink(HOST.ifindex)));
            verify_checksums(&bytes);
        }
        let answer = Message::new(&OUTSIDE, &HOST, family, udp(53, 20000));
        for (verdict, _) in round(&mut lab, Program::FromUplink, HOST.ifindex, &answer, 79) {
            assert_eq!(verdict, Ok(Verdict::ToEndpoint(CLIENT.ifindex)));
        }
        // What is nobody's goes on to the host in order.
        let other = Message::new(&OUTSIDE, &HOST, family, udp(53, 9));
        for (verdict, _) in round(&mut lab, Program::FromUplink, HOST.ifindex, &other, 80) {
            assert_eq!(verdict, Ok(Verdict::Next));
        }
    }
}

#[test]
fn out_of_order_from_the_host() {
    for family in Family::BOTH {
        let mut lab = ordering();
        let message = Message::new(&WEB.gateway(), &WEB, family, udp(4000, 53));
        for (verdict, _) in round(&mut lab, Program::ToEndpoint, WEB.ifindex, &message, 77) {
            assert_eq!(verdict, Ok(Verdict::Next));
        }
    }
}

#[test]
fn what_comes_back_is_judged_like_all_else() {
    for family in Family::BOTH {
        let mut lab = ordering();
        lab.isolate(&WEB, Way::In, &[anyone(17, 80)]);
        lab.flip();
        let message = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        for (verdict, _) in round(&mut lab, Program::FromEndpoint, CLIENT.ifindex, &message, 77) {
            assert_eq!(verdict, Err(DropReason::PolicyIngress));
        }
        assert_eq!(lab.flows(), 0);
    }
}

#[test]
fn an_endpoint_that_is_gone_gets_nothing_back() {
    for family in Family::BOTH {
        let mut lab = ordering();
        let [_, second] = split(&Message::new(&CLIENT, &WEB, family, udp(4000, 53)), 77);
        let (_, diverted) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, second);
        lab.leave(&CLIENT);
        let back = |lab: &mut Lab| lab.frame(Program::FromDefrag, DEFRAG, diverted.clone()).0;
        assert_eq!(back(&mut lab), Err(DropReason::NotReady));
        // Nor does another one that has its place.
        lab.join(&Member { incarnation: 4711, ..CLIENT });
        assert_eq!(back(&mut lab), Err(DropReason::NotReady));
        // What nobody diverted leads nowhere.
        let [_, other] = split(&Message::new(&WEB, &CLIENT, family, udp(4000, 53)), 77);
        let (verdict, _) = lab.frame(Program::FromDefrag, DEFRAG, other);
        assert_eq!(verdict, Err(DropReason::FragmentUnknown));
    }
}

#[test]
fn what_comes_back_is_not_diverted_again() {
    for family in Family::BOTH {
        let mut lab = ordering();
        let [first, second] = split(&Message::new(&CLIENT, &WEB, family, udp(4000, 53)), 77);
        for part in [&second, &first] {
            let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, part.clone());
            assert_eq!(verdict, Ok(Verdict::ToDefrag(DEFRAG)));
        }
        let mut again = |frame: &Vec<u8>| {
            let mut packet = Bytes { is_returned: true, ..Bytes::new(frame.clone(), CLIENT.ifindex) };
            lab.run(Program::FromEndpoint, &mut packet).map_err(|dropped| dropped.reason)
        };
        assert_eq!(again(&second), Err(DropReason::FragmentUnknown), "the first one has not come back");
        assert!(again(&first).is_ok());
        assert!(again(&second).is_ok());
        // A piece that comes late, or twice, needs no detour any more.
        let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, second);
        assert_eq!(verdict, Ok(Verdict::ToEndpoint(WEB.ifindex)));
    }
}

/// Pieces of two senders must never meet, or one could change what the other sends.
#[test]
fn nobody_slips_pieces_into_anothers_packets() {
    for family in Family::BOTH {
        let mut lab = ordering();
        let [first, second] = split(&Message::new(&CLIENT, &WEB, family, udp(4000, 53)), 77);
        let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, second.clone());
        assert_eq!(verdict, Ok(Verdict::ToDefrag(DEFRAG)));
        let mut forged = second.clone();
        forged[6..12].copy_from_slice(&STRANGER.mac.octets());
        let meets =
            |lab: &mut Lab, program, ifindex, frame: &Vec<u8>| lab.frame(program, ifindex, frame.clone()).0;
        let spoofed = Err(DropReason::SpoofedAddress);
        assert_eq!(meets(&mut lab, Program::FromEndpoint, STRANGER.ifindex, &forged), spoofed);
        assert_eq!(meets(&mut lab, Program::FromUplink, HOST.ifindex, &second), Ok(Verdict::Next));
        let unknown = Err(DropReason::FragmentUnknown);
        assert_eq!(meets(&mut lab, Program::ToEndpoint, WEB.ifindex, &second), unknown);
        // Not even where any source may be sent from.
        lab.maps.endpoints.get_mut(&STRANGER.ifindex).unwrap().flags |= ENDPOINT_ANY_SOURCE;
        assert_eq!(meets(&mut lab, Program::FromEndpoint, STRANGER.ifindex, &forged), unknown);
        // And whose source was not checked has not marked anything either.
        let diverted = lab.maps.diverted.borrow().values().copied().collect::<Vec<_>>();
        assert!(diverted.iter().all(|row| row.ifindex == CLIENT.ifindex && row.is_egress == 0));
        assert_eq!(
            meets(&mut lab, Program::FromEndpoint, CLIENT.ifindex, &first),
            Ok(Verdict::ToDefrag(DEFRAG))
        );
    }
}

#[test]
fn a_spoofed_first_fragment_is_not_remembered() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let [mut first, second] = split(&Message::new(&CLIENT, &WEB, family, udp(4000, 53)), 77);
        first[6..12].copy_from_slice(&STRANGER.mac.octets());
        let (verdict, _) = lab.frame(Program::FromEndpoint, STRANGER.ifindex, first);
        assert_eq!(verdict, Err(DropReason::SpoofedAddress));
        let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, second);
        assert_eq!(verdict, Err(DropReason::FragmentUnknown));
    }
}

#[test]
fn fragments_to_many_are_not_remembered() {
    let mut lab = Lab::new();
    let message = Message::new(&CLIENT, &WEB, Family::V4, udp(4000, 53));
    for (dst, reason) in [([224, 0, 0, 251], DropReason::Multicast), ([127, 0, 0, 1], DropReason::Martian)] {
        for piece in split(&Message { dst: Addr::from_v4(dst), ..message.clone() }, 77) {
            let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, piece);
            assert_eq!(verdict, Err(reason));
        }
    }
    assert_eq!(lab.maps.fragments.borrow().len(), 0);
}

#[test]
fn what_is_remembered_of_fragments_grows_old() {
    for family in Family::BOTH {
        let mut lab = ordering();
        let [first, second] = split(&Message::new(&CLIENT, &WEB, family, udp(4000, 53)), 77);
        let sends =
            |lab: &mut Lab, part: &Vec<u8>| lab.frame(Program::FromEndpoint, CLIENT.ifindex, part.clone()).0;
        let (direct, diverted) = (Ok(Verdict::ToEndpoint(WEB.ifindex)), Ok(Verdict::ToDefrag(DEFRAG)));
        assert_eq!(sends(&mut lab, &first), direct);
        lab.wait(29);
        assert_eq!(sends(&mut lab, &second), direct);
        lab.wait(1);
        assert_eq!(sends(&mut lab, &second), diverted, "the identification may be another packet's by now");
        lab.wait(29);
        assert_eq!(sends(&mut lab, &first), diverted);
        lab.wait(1);
        assert_eq!(sends(&mut lab, &first), direct);
    }
}

#[test]
fn a_flood_of_lone_fragments_is_bounded() {
    let mut lab = ordering();
    let message = Message::new(&CLIENT, &WEB, Family::V4, udp(4000, 53));
    let flood = |lab: &mut Lab, ids: std::ops::Range<u16>| {
        let verdicts =
            ids.map(|id| lab.frame(Program::FromEndpoint, CLIENT.ifindex, split(&message, id)[1].clone()).0);
        verdicts.filter(|verdict| *verdict == Ok(Verdict::ToDefrag(DEFRAG))).count()
    };
    assert_eq!(flood(&mut lab, 0..3000), 1000);
    assert_eq!(lab.maps.fragments.borrow().len(), 1000);
    // Packets that were begun go on, and so does what is in order.
    let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, split(&message, 999)[0].clone());
    assert_eq!(verdict, Ok(Verdict::ToDefrag(DEFRAG)));
    for part in split(&message, 2999) {
        let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, part);
        assert_eq!(verdict, Ok(Verdict::ToEndpoint(WEB.ifindex)));
    }
    lab.wait(1);
    assert_eq!(flood(&mut lab, 3000..6000), 1000);
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
