//! IP headers of our own making, without options or extensions.

use netfast_common::addr::Addr;
use netfast_common::checksum::finish;

use crate::packet::Wire;

/// Length of an IPv4 header.
pub(crate) const V4_LEN: u32 = 20;
/// Length of an IPv6 header.
pub(crate) const V6_LEN: u32 = 40;

/// Length of the header of a family.
#[inline(always)]
pub(crate) const fn len(is_v4: bool) -> u32 {
    if is_v4 { V4_LEN } else { V6_LEN }
}

/// What both families' headers say.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    /// Type of service, or traffic class.
    pub(crate) class: u8,
    /// Bytes behind the header.
    pub(crate) payload: u32,
    /// TTL, or hop limit.
    pub(crate) ttl: u8,
    /// IP protocol number.
    pub(crate) protocol: u8,
    /// Source address.
    pub(crate) src: Addr,
    /// Destination address.
    pub(crate) dst: Addr,
}

/// An IPv4 header, of a packet that is not to be fragmented (and so needs no identification: RFC 6864).
#[inline(always)]
pub(crate) fn v4(fields: &Fields) -> [u32; 5] {
    let Fields { class, payload, ttl, protocol, src, dst } = *fields;
    let [total_high, total_low] = ((V4_LEN + payload) as u16).to_be_bytes();
    let first = u32::from_ne_bytes([0x45, class, total_high, total_low]);
    let second = u32::from_ne_bytes([0, 0, 0x40, 0]);
    let third = u32::from_ne_bytes([ttl, protocol, 0, 0]);
    let (src, dst) = (u32::from_ne_bytes(src.v4_octets()), u32::from_ne_bytes(dst.v4_octets()));
    let [a, b] = finish(sum(&[first, second, third, src, dst])).to_ne_bytes();
    [first, second, u32::from_ne_bytes([ttl, protocol, a, b]), src, dst]
}

/// An IPv6 header.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct V6 {
    /// All but the addresses.
    pub(crate) words: [u32; 2],
    /// Source and destination.
    pub(crate) addresses: [Addr; 2],
}

const _: () = assert!(size_of::<V6>() == V6_LEN as usize);

// SAFETY: plain words, without padding by the line above.
unsafe impl Wire for V6 {}

/// An IPv6 header, of a packet without a flow label.
#[inline(always)]
pub(crate) const fn v6(fields: &Fields) -> V6 {
    let Fields { class, payload, ttl, protocol, src, dst } = *fields;
    let [length_high, length_low] = (payload as u16).to_be_bytes();
    let words = [
        u32::from_ne_bytes([0x60 | class >> 4, class << 4, 0, 0]),
        u32::from_ne_bytes([length_high, length_low, protocol, ttl]),
    ];
    V6 { words, addresses: [src, dst] }
}

/// The sum of words as they lie in memory.
#[inline(always)]
pub(crate) fn sum<const N: usize>(words: &[u32; N]) -> u64 {
    words.iter().fold(0, |sum, word| sum + u64::from(*word))
}
