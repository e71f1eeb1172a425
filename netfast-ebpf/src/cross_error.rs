//! ICMP errors about flows whose ends speak different families (RFC 7915, 4.2 to 5.3). An error is made anew in the
//! receiver's family, and quotes as much as everybody looks at: the IP header, and 8 bytes behind it.

use netfast_common::checksum::{address_sum, patch, sum_differences, word_difference};
use netfast_common::flow::Tuple;
use netfast_common::protocol;
use netfast_common::reason::DropReason;

use crate::cross;
use crate::error_message::{self, ICMP_LEN, Message};
use crate::header::{self, Fields, V4_LEN, V6_LEN};
use crate::nat;
use crate::packet::Packet;
use crate::parse::{Headers, L3, icmp};
use crate::verdict::Outcome;
use crate::work::Work;

/// Bytes that are quoted behind the IP header.
const QUOTED: u32 = 8;
/// Smallest MTU of an IPv6 path.
const SMALLEST: u32 = 1280;

/// Makes an error for [`Work::target`] of one that quotes [`Work::quoted`], which is [`Work::quoted_target`] there. A
/// function of its own in BPF: few packets need it.
#[inline(never)]
pub(crate) fn error<P: Packet>(packet: &mut P, work: &mut Work) -> Outcome {
    Outcome::pack(try_error(packet, work).map(|()| true).map_err(Into::into))
}

#[inline(always)]
fn try_error<P: Packet>(packet: &mut P, work: &mut Work) -> Result<(), DropReason> {
    let Work { headers, target, quoted, quoted_target, .. } = work;
    // Read once, as in `cross`.
    let is_v4 = headers.is_v4;
    let fields = cross::fields(packet, headers, is_v4)?;
    let [kind_and_checksum, detail] = packet.load::<[u32; 2]>(headers.l4)?;
    let [kind, code, ..] = kind_and_checksum.to_ne_bytes();
    let message =
        if is_v4 { in_v6(kind, code, u32::from_be(detail)) } else { in_v4(kind, code, u32::from_be(detail)) };
    let message = message.ok_or(DropReason::Untranslatable)?;
    let quoted_fields = quoted_fields(packet, headers.l4 + ICMP_LEN, quoted, is_v4)?;
    let quote = quote(packet.load(quoted.l4)?, &quoted.tuple, quoted_target);

    let (icmp, quoted_header) = (L3 + header::len(!is_v4), header::len(!is_v4));
    let length = ICMP_LEN + quoted_header + QUOTED;
    let protocol = if is_v4 { protocol::ICMPV6 } else { protocol::ICMP };
    let (src, dst) = (target.src, target.dst);
    cross::exchange(packet, headers, is_v4, &Fields { payload: length, protocol, src, dst, ..fields })?;
    packet.resize(icmp + length)?;
    let about = Fields { src: quoted_target.src, dst: quoted_target.dst, ..quoted_fields };
    let mut sum = header::sum(&quote);
    if is_v4 {
        let header = header::v6(&about);
        packet.store(icmp + ICMP_LEN, &header)?;
        sum += header::sum(&header.words) + address_sum(&about.src) + address_sum(&about.dst);
        sum += error_message::pseudo_header((&src, &dst), length);
    } else {
        let header = header::v4(&about);
        packet.store(icmp + ICMP_LEN, &header)?;
        sum += header::sum(&header);
    }
    packet.store(icmp + ICMP_LEN + quoted_header, &quote)?;
    error_message::store(packet, icmp, &message, sum)
}

/// What the IP header of the quoted packet says, which stands at `l3`.
#[inline(always)]
fn quoted_fields<P: Packet>(
    packet: &P,
    l3: u32,
    quoted: &Headers,
    is_v4: bool,
) -> Result<Fields, DropReason> {
    let [[first, second, total @ ..], [length_high, length_low, _, hops], [ttl, ..]] =
        packet.load::<[u32; 3]>(l3)?.map(u32::to_ne_bytes);
    let (class, total, ttl) = if is_v4 {
        (second, u32::from(u16::from_be_bytes(total)), ttl)
    } else {
        (first << 4 | second >> 4, u32::from(u16::from_be_bytes([length_high, length_low])) + V6_LEN, hops)
    };
    let payload = total.saturating_sub(quoted.l4 - l3);
    let tuple = &quoted.tuple;
    Ok(Fields { class, payload, ttl, protocol: tuple.protocol, src: tuple.src, dst: tuple.dst })
}

/// The first words of the quoted transport header: the ports, and of a datagram length and checksum.
#[inline(always)]
fn quote([_, second]: [u32; 2], old: &Tuple, new: &Tuple) -> [u32; 2] {
    let ports = sum_differences(word_difference(old.sport, new.sport), word_difference(old.dport, new.dport));
    let [length_high, length_low, field @ ..] = second.to_ne_bytes();
    let [high, low] = if new.protocol == protocol::UDP {
        patch(field, sum_differences(nat::addresses_difference(old, new), ports))
    } else {
        field
    };
    let first = u32::from(new.sport) << 16 | u32::from(new.dport);
    [first.to_be(), u32::from_ne_bytes([length_high, length_low, high, low])]
}

/// An ICMP error in ICMPv6; `None`: there is none like it.
const fn in_v6(kind: u8, code: u8, detail: u32) -> Option<Message> {
    let (kind, detail) = match (kind, code) {
        // "Fragmentation needed".
        (icmp::UNREACHABLE, 4) => {
            let mtu = (detail & 0xffff) + (V6_LEN - V4_LEN);
            ([icmp::TOO_BIG_V6, 0], if mtu < SMALLEST { SMALLEST } else { mtu })
        }
        (icmp::UNREACHABLE, 0 | 1 | 5..=8 | 11 | 12) => ([icmp::UNREACHABLE_V6, 0], 0),
        (icmp::UNREACHABLE, 3) => ([icmp::UNREACHABLE_V6, 4], 0),
        (icmp::UNREACHABLE, 9 | 10 | 13 | 15) => ([icmp::UNREACHABLE_V6, 1], 0),
        (icmp::TIME_EXCEEDED, code) => ([icmp::TIME_EXCEEDED_V6, code], 0),
        _ => return None,
    };
    Some(Message { kind, detail })
}

/// An ICMPv6 error in ICMP; `None`: there is none like it.
const fn in_v4(kind: u8, code: u8, detail: u32) -> Option<Message> {
    let (kind, detail) = match (kind, code) {
        (icmp::TOO_BIG_V6, _) => {
            let mtu = detail.saturating_sub(V6_LEN - V4_LEN);
            ([icmp::UNREACHABLE, 4], if mtu > 0xffff { 0xffff } else { mtu })
        }
        (icmp::UNREACHABLE_V6, 0 | 2 | 3) => ([icmp::UNREACHABLE, 1], 0),
        (icmp::UNREACHABLE_V6, 1) => ([icmp::UNREACHABLE, 10], 0),
        (icmp::UNREACHABLE_V6, 4) => ([icmp::UNREACHABLE, 3], 0),
        (icmp::TIME_EXCEEDED_V6, code) => ([icmp::TIME_EXCEEDED, code], 0),
        _ => return None,
    };
    Some(Message { kind, detail })
}
