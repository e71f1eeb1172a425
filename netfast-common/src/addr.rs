//! Addresses as they stand in keys: 16 bytes for both families, IPv4 mapped into IPv6.

use core::cmp::Ordering;

use bytemuck::{Pod, Zeroable};

/// An IPv4 or IPv6 address of 16 bytes, in network byte order; IPv4 is held as `::ffff:a.b.c.d`.
///
/// The bytes are kept in two words because the BPF target has no unaligned access: a type of alignment 1 would
/// be copied and compared byte by byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Pod, Zeroable)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "the manual one compares the same words")]
pub struct Addr {
    words: [u64; 2],
}

// By hand, since comparing arrays is a call of memcmp, which is a loop over bytes in BPF.
impl PartialEq for Addr {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.words[0] == other.words[0] && self.words[1] == other.words[1]
    }
}

impl Ord for Addr {
    #[inline(always)]
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |addr: &Self| (u64::from_be(addr.words[0]), u64::from_be(addr.words[1]));
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Addr {
    #[inline(always)]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The first half of the low word of a mapped IPv4 address, and the bits it occupies.
const MAPPED: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
const MAPPED_BITS: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);

#[expect(clippy::many_single_char_names, reason = "bytes of an address have no better names")]
impl Addr {
    /// `::`, the unspecified IPv6 address.
    pub const UNSPECIFIED_V6: Self = Self { words: [0, 0] };
    /// `::ffff:0.0.0.0`, the unspecified IPv4 address.
    pub const UNSPECIFIED_V4: Self = Self::from_v4([0; 4]);
    /// Bits of an address, which is also the prefix length of a whole one.
    pub const BITS: u32 = 128;
    /// Bits in front of an IPv4 address: add them to an IPv4 prefix length.
    pub const V4_PREFIX: u32 = 96;

    /// The mapped form of an IPv4 address given in network byte order.
    #[inline(always)]
    pub const fn from_v4([a, b, c, d]: [u8; 4]) -> Self {
        Self { words: [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])] }
    }

    /// An IPv6 address given in network byte order.
    #[inline(always)]
    pub const fn from_v6([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: [u8; 16]) -> Self {
        let words =
            [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])];
        Self { words }
    }

    /// The inverse of [`Self::words`].
    #[inline(always)]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self { words }
    }

    /// The 16 bytes as two words, each as it stands in memory.
    #[inline(always)]
    pub const fn words(self) -> [u64; 2] {
        self.words
    }

    /// All 16 bytes in network byte order.
    #[inline(always)]
    pub const fn octets(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.words[0].to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.words[1].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The four bytes of a mapped IPv4 address; of an IPv6 address, its last four.
    #[inline(always)]
    pub const fn v4_octets(self) -> [u8; 4] {
        let [_, _, _, _, a, b, c, d] = self.words[1].to_ne_bytes();
        [a, b, c, d]
    }

    /// The unspecified address of the same family.
    #[inline(always)]
    #[must_use]
    pub const fn unspecified(self) -> Self {
        if self.is_v4() { Self::UNSPECIFIED_V4 } else { Self::UNSPECIFIED_V6 }
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.words[0] == 0 && self.words[1] & MAPPED_BITS == MAPPED
    }

    /// Whether this is `0.0.0.0` or `::`.
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        self.words[0] == 0 && (self.words[1] == 0 || self.words[1] == MAPPED)
    }

    /// Whether packets to this address are meant for more than one receiver: IPv4 and IPv6 multicast and the
    /// limited broadcast.
    #[inline(always)]
    pub const fn is_multicast(self) -> bool {
        const CLASS_D: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0xe0, 0, 0, 0]);
        const CLASS_D_BITS: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0xf0, 0, 0, 0]);
        const BROADCAST: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        const V6: u64 = u64::from_ne_bytes([0xff, 0, 0, 0, 0, 0, 0, 0]);
        if self.is_v4() {
            self.words[1] & CLASS_D_BITS == CLASS_D || self.words[1] == BROADCAST
        } else {
            self.words[0] & V6 == V6
        }
    }

    /// Whether no packet on a wire has this source: it is unspecified, a loopback or a multicast address.
    #[inline(always)]
    pub const fn is_no_source(self) -> bool {
        self.is_unspecified() || self.is_loopback() || self.is_multicast()
    }

    /// Whether the address is of the loopback range of its family.
    #[inline(always)]
    pub const fn is_loopback(self) -> bool {
        const V4: u64 = u64::from_ne_bytes([0, 0, 0, 0, 127, 0, 0, 0]);
        const V4_BITS: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0xff, 0, 0, 0]);
        if self.is_v4() {
            self.words[1] & V4_BITS == V4
        } else {
            self.words[0] == 0 && self.words[1] == 1_u64.to_be()
        }
    }

    /// Whether the address is IPv6 link-local (`fe80::/10`).
    #[inline(always)]
    pub const fn is_link_local_v6(self) -> bool {
        const PREFIX: u64 = u64::from_ne_bytes([0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
        const BITS: u64 = u64::from_ne_bytes([0xff, 0xc0, 0, 0, 0, 0, 0, 0]);
        self.words[0] & BITS == PREFIX
    }
}

/// A MAC address, in three words for the same reason as [`Addr`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "the manual one compares the same words")]
pub struct Mac {
    words: [u16; 3],
}

impl PartialEq for Mac {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let (own, other) = (self.words, other.words);
        own[0] == other[0] && own[1] == other[1] && own[2] == other[2]
    }
}

/// Hardware address of the device at which the kernel puts fragments in order. It is on a wire of its own.
pub const DEFRAG_MAC: Mac = Mac::new([0x02, 0x66, 0, 0, 0, 1]);

#[expect(clippy::many_single_char_names, reason = "bytes of an address have no better names")]
impl Mac {
    /// A MAC address from its bytes in the order they are written in.
    #[inline(always)]
    pub const fn new([a, b, c, d, e, f]: [u8; 6]) -> Self {
        let words = [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]), u16::from_ne_bytes([e, f])];
        Self { words }
    }

    /// The inverse of [`Self::words`].
    #[inline(always)]
    pub const fn from_words(words: [u16; 3]) -> Self {
        Self { words }
    }

    /// The 6 bytes as three words, each as it stands in memory.
    #[inline(always)]
    pub const fn words(self) -> [u16; 3] {
        self.words
    }

    /// Its bytes in the order they are written in.
    #[inline(always)]
    pub const fn octets(self) -> [u8; 6] {
        let ([a, b], [c, d], [e, f]) =
            (self.words[0].to_ne_bytes(), self.words[1].to_ne_bytes(), self.words[2].to_ne_bytes());
        [a, b, c, d, e, f]
    }

    /// The IPv6 address a device with this one gives itself on its link (RFC 4291, appendix A).
    #[inline(always)]
    pub const fn link_local(self) -> Addr {
        let [a, b, c, d, e, f] = self.octets();
        Addr::from_v6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_do_not_mix() {
        assert!(Addr::from_v4([10, 0, 0, 1]).is_v4());
        assert!(!Addr::from_v6([0xfd; 16]).is_v4());
        assert!(!Addr::UNSPECIFIED_V6.is_v4());
        assert_ne!(Addr::UNSPECIFIED_V4, Addr::UNSPECIFIED_V6);
    }

    #[test]
    fn the_address_a_device_gives_itself() {
        let mac = Mac::new([0x02, 0x65, 0, 0x0a, 0, 0x01]);
        let expected = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x65, 0, 0xff, 0xfe, 0x0a, 0, 0x01];
        assert_eq!(mac.link_local().octets(), expected);
        assert!(mac.link_local().is_link_local_v6());
    }

    #[test]
    fn octets_round_trip() {
        let bytes: [u8; 16] = core::array::from_fn(|i| u8::try_from(i).unwrap() + 1);
        assert_eq!(Addr::from_v6(bytes).octets(), bytes);
        assert_eq!(Addr::from_v4([1, 2, 3, 4]).v4_octets(), [1, 2, 3, 4]);
        assert_eq!(Addr::from_v4([1, 2, 3, 4]).octets()[10..], [0xff, 0xff, 1, 2, 3, 4]);
    }

    #[test]
    fn special_ranges() {
        assert!(Addr::from_v4([127, 9, 0, 1]).is_loopback());
        assert!(!Addr::from_v4([128, 0, 0, 1]).is_loopback());
        assert!(Addr::from_v4([224, 0, 0, 1]).is_multicast());
        assert!(Addr::from_v4([255; 4]).is_multicast());
        let mut v6 = [0; 16];
        v6[15] = 1;
        assert!(Addr::from_v6(v6).is_loopback());
        v6[..2].copy_from_slice(&[0xff, 2]);
        assert!(Addr::from_v6(v6).is_multicast());
        v6[..2].copy_from_slice(&[0xfe, 0xbf]);
        assert!(Addr::from_v6(v6).is_link_local_v6());
        v6[1] = 0xc0;
        assert!(!Addr::from_v6(v6).is_link_local_v6());
        assert!(!Addr::from_v4([223, 255, 255, 255]).is_multicast());
        assert!(!Addr::UNSPECIFIED_V4.is_loopback());
    }
}
