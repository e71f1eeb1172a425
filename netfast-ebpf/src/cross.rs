//! From one address family to the other: a published port of an IPv6 address that leads to an endpoint with IPv4 only, and
//! the reverse. Headers are translated as by RFC 7915; what it does with fragments, options and extension headers is not
//! done here: such packets are dropped.

use netfast_common::protocol;
use netfast_common::reason::DropReason;

use crate::header::{self, Fields, V4_LEN, V6_LEN};
use crate::nat;
use crate::packet::Packet;
use crate::parse::{Headers, L3, ethertype};
use crate::verdict::Outcome;
use crate::work::Work;

/// Most bytes behind an IPv4 header.
const V4_PAYLOAD: u32 = 0xffff - V4_LEN;

/// By how many bytes a packet of this family grows when it gets a header of the other.
#[inline(always)]
pub(crate) const fn growth(headers: &Headers) -> i32 {
    let growth = (V6_LEN - V4_LEN).cast_signed();
    if headers.is_v4 { growth } else { -growth }
}

/// Gives a packet the addresses and ports of [`Work::target`], which is of the other family, and counts its TTL down, which must
/// be more than 1. A function of its own in BPF: few packets need it.
#[inline(never)]
pub(crate) fn packet<P: Packet>(packet: &mut P, work: &mut Work) -> Outcome {
    Outcome::pack(try_packet(packet, work).map(|()| true).map_err(Into::into))
}

#[inline(always)]
fn try_packet<P: Packet>(packet: &mut P, work: &mut Work) -> Result<(), DropReason> {
    let Work { headers, target, .. } = work;
    // Read once: the verifier takes what it reads again for another value.
    let is_v4 = headers.is_v4;
    let fields = fields(packet, headers, is_v4)?;
    // IPv6 has no datagrams without a checksum, and to make one takes all of the payload.
    if is_v4 && fields.protocol == protocol::UDP && packet.load::<u16>(headers.l4 + 6)? == 0 {
        return Err(DropReason::Untranslatable);
    }
    let difference = nat::addresses_difference(&headers.tuple, target);
    nat::rewrite_transport(packet, headers, target, difference)?;
    exchange(
        packet,
        headers,
        is_v4,
        &Fields { src: target.src, dst: target.dst, ttl: fields.ttl.wrapping_sub(1), ..fields },
    )
}

/// What the packet's IP header says, which is one of IPv4 or not.
///
/// # Errors
/// [`DropReason::Untranslatable`] when that is more than a header of the other family can say.
#[inline(always)]
pub(crate) fn fields<P: Packet>(packet: &P, headers: &Headers, is_v4: bool) -> Result<Fields, DropReason> {
    if headers.is_fragment || headers.l4 != L3 + header::len(is_v4) {
        return Err(DropReason::Untranslatable);
    }
    let [[first, second, total @ ..], [length_high, length_low, ..]] =
        packet.load::<[u32; 2]>(L3)?.map(u32::to_ne_bytes);
    let (class, payload) = if is_v4 {
        (second, u32::from(u16::from_be_bytes(total)) - V4_LEN)
    } else {
        (first << 4 | second >> 4, u32::from(u16::from_be_bytes([length_high, length_low])))
    };
    // Of longer packets than it can say, IPv6 says nothing.
    if payload == 0 || payload > V4_PAYLOAD {
        return Err(DropReason::Untranslatable);
    }
    let tuple = &headers.tuple;
    let (ttl, protocol) = (headers.ttl, tuple.protocol);
    Ok(Fields { class, payload, ttl, protocol, src: tuple.src, dst: tuple.dst })
}

/// Gives the packet a header of the other family; `is_v4`: it has one of IPv4.
///
/// # Errors
/// [`DropReason::DatapathError`] when the kernel cannot.
#[inline(always)]
pub(crate) fn exchange<P: Packet>(
    packet: &mut P,
    headers: &mut Headers,
    is_v4: bool,
    fields: &Fields,
) -> Result<(), DropReason> {
    headers.is_v4 = !is_v4;
    if is_v4 {
        packet.exchange(ethertype::IPV6, &header::v6(fields))
    } else {
        packet.exchange(ethertype::IPV4, &header::v4(fields))
    }
}
