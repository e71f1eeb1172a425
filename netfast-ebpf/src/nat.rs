//! Rewriting addresses and ports, with every checksum that covers them.

use netfast_common::addr::Addr;
use netfast_common::checksum::{address_difference, word_difference};
use netfast_common::protocol;
use netfast_common::reason::DropReason;

use crate::packet::{Checksum, Packet};
use crate::parse::{Headers, L3};

/// Which end of a packet is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// Offset of the checksum in the transport header, and whether a zero there means "none".
const fn checksum_field(protocol: u8) -> Option<(u32, bool)> {
    match protocol {
        protocol::TCP => Some((16, false)),
        protocol::UDP => Some((6, true)),
        protocol::ICMP | protocol::ICMPV6 => Some((2, false)),
        _ => None,
    }
}

/// Gives one end of the packet another address and port. In an ICMP echo, the port of the asking side is the
/// identifier; the answering side has none.
///
/// # Errors
/// [`DropReason::UnsupportedProtocol`] where the protocol's checksum cannot be kept right.
#[inline(always)]
pub(crate) fn rewrite<P: Packet>(
    packet: &mut P,
    headers: &Headers,
    end: End,
    (addr, port): (Addr, u16),
) -> Result<(), DropReason> {
    let tuple = &headers.tuple;
    let (old_addr, old_port) = match end {
        End::Source => (tuple.src, tuple.sport),
        End::Destination => (tuple.dst, tuple.dport),
    };
    let field = checksum_field(tuple.protocol);
    if addr != old_addr {
        let difference = address_difference(&old_addr, &addr);
        store_address(packet, end, &addr)?;
        if addr.is_v4() {
            packet.patch_checksum(L3 + 10, Checksum::Header, false, difference)?;
        }
        // ICMP for IPv4 is the one whose checksum has no pseudo-header.
        if let Some((at, optional)) = field
            && !headers.is_later_fragment
            && tuple.protocol != protocol::ICMP
        {
            packet.patch_checksum(headers.l4 + at, Checksum::PseudoHeader, optional, difference)?;
        }
    }
    if port != old_port && !headers.is_later_fragment {
        let (at, optional) = field.ok_or(DropReason::UnsupportedProtocol)?;
        let port_at = match (tuple.protocol, end) {
            (protocol::ICMP | protocol::ICMPV6, _) => 4,
            (_, End::Source) => 0,
            (_, End::Destination) => 2,
        };
        packet.patch_checksum(
            headers.l4 + at,
            Checksum::Segment,
            optional,
            word_difference(old_port, port),
        )?;
        packet.store(headers.l4 + port_at, &port.to_be())?;
    }
    Ok(())
}

#[inline(always)]
fn store_address<P: Packet>(packet: &mut P, end: End, addr: &Addr) -> Result<(), DropReason> {
    match (addr.is_v4(), end) {
        (true, End::Source) => packet.store(L3 + 12, &addr.v4_octets()),
        (true, End::Destination) => packet.store(L3 + 16, &addr.v4_octets()),
        (false, End::Source) => packet.store(L3 + 8, addr),
        (false, End::Destination) => packet.store(L3 + 24, addr),
    }
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
    if headers.tuple.dst.is_v4() {
        // The TTL is the high byte of its 16-bit word.
        let difference = word_difference(u16::from(headers.ttl) << 8, u16::from(ttl) << 8);
        packet.patch_checksum(L3 + 10, Checksum::Header, false, difference)?;
        packet.store(L3 + 8, &[ttl])
    } else {
        packet.store(L3 + 7, &[ttl])
    }
}
