//! What an ICMP error says.

use netfast_common::addr::Addr;
use netfast_common::checksum::{address_sum, finish};
use netfast_common::protocol;
use netfast_common::reason::DropReason;

use crate::packet::Packet;

/// Length of an ICMP header.
pub(crate) const ICMP_LEN: u32 = 8;

/// What an ICMP header holds.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    /// Type and code.
    pub(crate) kind: [u8; 2],
    /// The word behind the checksum.
    pub(crate) detail: u32,
}

/// Writes the ICMP header; `sum` is that of all else its checksum covers.
#[inline(always)]
pub(crate) fn store<P: Packet>(
    packet: &mut P,
    at: u32,
    message: &Message,
    sum: u64,
) -> Result<(), DropReason> {
    let [kind, code] = message.kind;
    let detail = message.detail.to_be();
    let sum = sum + u64::from(u32::from_ne_bytes([kind, code, 0, 0])) + u64::from(detail);
    let [a, b] = finish(sum).to_ne_bytes();
    packet.store(at, &[u32::from_ne_bytes([kind, code, a, b]), detail])
}

/// What the pseudo-header of an ICMPv6 message of `length` bytes adds to its sum.
#[inline(always)]
pub(crate) fn pseudo_header((from, to): (&Addr, &Addr), length: u32) -> u64 {
    address_sum(from)
        + address_sum(to)
        + u64::from(length.to_be())
        + u64::from(u32::from(protocol::ICMPV6).to_be())
}
