//! Rewriting addresses and ports, with every checksum that covers them.

use netfast_common::addr::Addr;
use netfast_common::checksum::{address_difference, patch, sum_differences, word_difference};
use netfast_common::flow::{ECHO_PORT, Tuple};
use netfast_common::protocol;
use netfast_common::reason::DropReason;

use crate::header::V4_LEN;
use crate::packet::{Checksum, Packet};
use crate::parse::{Headers, L3};

/// Where a transport header keeps what has to change.
struct Layout {
    /// Offset of the checksum.
    checksum: u32,
    /// A checksum of zero means that there is none.
    is_optional: bool,
    /// The checksum covers the addresses too.
    has_pseudo_header: bool,
    /// Offset of the identifier, in messages that have one instead of two ports.
    identifier: Option<u32>,
}

const fn layout(protocol: u8) -> Option<Layout> {
    let (checksum, is_optional, has_pseudo_header, identifier) = match protocol {
        protocol::TCP => (16, false, true, None),
        protocol::UDP => (6, true, true, None),
        protocol::ICMP => (2, false, false, Some(4)),
        protocol::ICMPV6 => (2, false, true, Some(4)),
        _ => return None,
    };
    Some(Layout { checksum, is_optional, has_pseudo_header, identifier })
}

/// The port that stands for the identifier of an ICMP echo: the other one is [`ECHO_PORT`].
#[inline(always)]
const fn identifier(tuple: &Tuple) -> u16 {
    tuple.sport | tuple.dport
}

const _: () = assert!(ECHO_PORT == 0);

/// Gives the packet the addresses and ports of `target`, and counts its TTL down, which must be more than 1. Both ends are
/// written at once: that takes fewer helper calls than finding out which of them changed.
///
/// # Errors
/// [`DropReason::UnsupportedProtocol`] where the protocol's checksum cannot be kept right.
#[inline(always)]
pub(crate) fn rewrite<P: Packet>(
    packet: &mut P,
    headers: &Headers,
    target: &Tuple,
) -> Result<(), DropReason> {
    let difference = addresses_difference(&headers.tuple, target);
    let ports_follow = headers.l4 == L3 + V4_LEN
        && !headers.is_later_fragment
        && matches!(target.protocol, protocol::TCP | protocol::UDP);
    if target.src.is_v4() {
        store_v4(packet, headers, target, difference, ports_follow)?;
    } else {
        packet.store(L3 + 8, &[target.src, target.dst])?;
        decrement_ttl(packet, headers)?;
    }
    if headers.is_later_fragment {
        return Ok(());
    }
    match patch_transport(packet, headers, target, difference)? {
        Some(layout) if !ports_follow => store_ports(packet, headers, target, &layout),
        _ => Ok(()),
    }
}

/// Gives the transport header the ports of `target`; the addresses its checksum covers change by `difference`.
///
/// # Errors
/// [`DropReason::UnsupportedProtocol`] where the protocol's checksum cannot be kept right.
#[inline(always)]
pub(crate) fn rewrite_transport<P: Packet>(
    packet: &mut P,
    headers: &Headers,
    target: &Tuple,
    difference: u32,
) -> Result<(), DropReason> {
    match patch_transport(packet, headers, target, difference)? {
        Some(layout) => store_ports(packet, headers, target, &layout),
        None => Ok(()),
    }
}

/// Makes the transport checksum that of a header with the ports of `target`, which are still to be written if it answers with
/// where; otherwise they stand there already.
#[inline(always)]
fn patch_transport<P: Packet>(
    packet: &mut P,
    headers: &Headers,
    target: &Tuple,
    difference: u32,
) -> Result<Option<Layout>, DropReason> {
    let tuple = &headers.tuple;
    let changes_port = (tuple.sport, tuple.dport) != (target.sport, target.dport);
    let Some(layout) = layout(tuple.protocol) else {
        return if changes_port { Err(DropReason::UnsupportedProtocol) } else { Ok(None) };
    };
    let checksum = headers.l4 + layout.checksum;
    if layout.has_pseudo_header {
        packet.patch_checksum(checksum, Checksum::PseudoHeader, layout.is_optional, difference)?;
    }
    if !changes_port {
        return Ok(None);
    }
    // One of the two ports of an echo is zero on either side, and cancels out.
    let difference = sum_differences(
        word_difference(tuple.sport, target.sport),
        word_difference(tuple.dport, target.dport),
    );
    packet.patch_checksum(checksum, Checksum::Segment, layout.is_optional, difference)?;
    Ok(Some(layout))
}

/// Writes the ports of `target`, or the identifier.
#[inline(always)]
fn store_ports<P: Packet>(
    packet: &mut P,
    headers: &Headers,
    target: &Tuple,
    layout: &Layout,
) -> Result<(), DropReason> {
    match layout.identifier {
        Some(at) => packet.store(headers.l4 + at, &identifier(target).to_be()),
        None => packet.store(headers.l4, &[target.sport.to_be(), target.dport.to_be()]),
    }
}

/// What checksums over both addresses must be told when they change.
#[inline(always)]
pub(crate) fn addresses_difference(old: &Tuple, new: &Tuple) -> u32 {
    sum_differences(address_difference(&old.src, &new.src), address_difference(&old.dst, &new.dst))
}

/// An IPv4 address as it stands in a packet.
#[inline(always)]
const fn word(addr: &Addr) -> u32 {
    u32::from_ne_bytes(addr.v4_octets())
}

/// Writes all that a translating hop changes in an IPv4 header, which stands in one piece: TTL, checksum and addresses, which
/// change by `difference`; and the ports, if they follow.
#[inline(always)]
fn store_v4<P: Packet>(
    packet: &mut P,
    headers: &Headers,
    target: &Tuple,
    difference: u32,
    ports_follow: bool,
) -> Result<(), DropReason> {
    let (ttl, protocol) = (headers.ttl.wrapping_sub(1), target.protocol);
    let ttl_difference = word_difference(u16::from(headers.ttl) << 8, u16::from(ttl) << 8);
    let difference = sum_differences(difference, ttl_difference);
    let [high, low] = patch(headers.checksum.to_ne_bytes(), difference);
    let first = u32::from_ne_bytes([ttl, protocol, high, low]);
    let (src, dst) = (word(&target.src), word(&target.dst));
    if !ports_follow {
        return packet.store(L3 + 8, &[first, src, dst]);
    }
    let ([a, b], [c, d]) = (target.sport.to_be_bytes(), target.dport.to_be_bytes());
    packet.store(L3 + 8, &[first, src, dst, u32::from_ne_bytes([a, b, c, d])])
}

/// Writes both addresses, and the header checksum where there is one.
#[inline(always)]
fn store_addresses<P: Packet>(packet: &mut P, target: &Tuple, difference: u32) -> Result<(), DropReason> {
    if target.src.is_v4() {
        packet.store(L3 + 12, &[word(&target.src), word(&target.dst)])?;
        packet.patch_checksum(L3 + 10, Checksum::Header, false, difference)
    } else {
        packet.store(L3 + 8, &[target.src, target.dst])
    }
}

/// Gives an ICMP error the addresses of `target`, and the packet it quotes those and the ports of `quoted_target`. All
/// that changes in the quote is under the error's own checksum, the quote's checksums included.
///
/// # Errors
/// [`DropReason::DatapathError`] when the packet cannot be written.
#[inline(always)]
pub(crate) fn rewrite_error<P: Packet>(
    packet: &mut P,
    headers: &Headers,
    target: &Tuple,
    quoted: &Headers,
    quoted_target: &Tuple,
) -> Result<(), DropReason> {
    let (old, new) = (&quoted.tuple, quoted_target);
    let l3 = headers.l4 + 8;
    let addresses = addresses_difference(old, new);
    let mut difference = addresses;
    if new.src.is_v4() {
        packet.store(l3 + 12, &[word(&new.src), word(&new.dst)])?;
        difference = sum_differences(difference, patch_quoted(packet, l3 + 10, addresses)?);
    } else {
        packet.store(l3 + 8, &[new.src, new.dst])?;
    }
    let ports = sum_differences(word_difference(old.sport, new.sport), word_difference(old.dport, new.dport));
    difference = sum_differences(difference, ports);
    // Without a layout only addresses were translated, which is under no checksum behind them.
    if let Some(layout) = layout(old.protocol) {
        match layout.identifier {
            Some(at) => packet.store(quoted.l4 + at, &identifier(new).to_be())?,
            None => packet.store(quoted.l4, &[new.sport.to_be(), new.dport.to_be()])?,
        }
        let covered = if layout.has_pseudo_header { sum_differences(addresses, ports) } else { ports };
        // The quote of a TCP packet may end before its checksum.
        let at = quoted.l4 + layout.checksum;
        if packet.load(at).is_ok_and(|field: u16| field != 0 || !layout.is_optional) {
            let patched = patch_quoted(packet, at, covered)?;
            difference = sum_differences(difference, patched);
        }
    }
    packet.patch_checksum(headers.l4 + 2, Checksum::Segment, false, difference)?;
    let addresses = addresses_difference(&headers.tuple, target);
    if !target.src.is_v4() {
        packet.patch_checksum(headers.l4 + 2, Checksum::PseudoHeader, false, addresses)?;
    }
    store_addresses(packet, target, addresses)
}

/// Adjusts a checksum in a quoted packet; returns by how much the field itself has changed.
#[inline(always)]
fn patch_quoted<P: Packet>(packet: &mut P, at: u32, difference: u32) -> Result<u32, DropReason> {
    let old: u16 = packet.load(at)?;
    let new = u16::from_ne_bytes(patch(old.to_ne_bytes(), difference));
    packet.store(at, &new)?;
    Ok(word_difference(u16::from_be(old), u16::from_be(new)))
}

/// Counts the packet's TTL or hop limit down by one.
///
/// # Errors
/// [`DropReason::TtlExpired`] when it may not travel further.
#[inline(always)]
pub(crate) fn decrement_ttl<P: Packet>(packet: &mut P, headers: &Headers) -> Result<(), DropReason> {
    if headers.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let ttl = headers.ttl - 1;
    if headers.is_v4 {
        // The TTL is the high byte of its 16-bit word.
        let difference = word_difference(u16::from(headers.ttl) << 8, u16::from(ttl) << 8);
        packet.patch_checksum(L3 + 10, Checksum::Header, false, difference)?;
        packet.store(L3 + 8, &[ttl])
    } else {
        packet.store(L3 + 7, &[ttl])
    }
}
