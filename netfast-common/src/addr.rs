//! Addresses as they stand in keys: 16 bytes for both families, IPv4 mapped into IPv6.

use bytemuck::{Pod, Zeroable};

/// An IPv4 or IPv6 address of 16 bytes, in network byte order; IPv4 is held as `::ffff:a.b.c.d`.
///
/// The bytes are kept in two words because the BPF target has no unaligned access: a type of alignment 1 would
/// be copied and compared byte by byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Addr {
    words: [u64; 2],
}

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
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self { words: [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])] }
    }

    /// An IPv6 address given in network byte order.
    #[inline(always)]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self {
            words: [
                u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
            ],
        }
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

    /// The 16 bytes as two words, each as it stands in memory.
    #[inline(always)]
    pub const fn words(self) -> [u64; 2] {
        self.words
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
        let [a, b, c, d, ..] = self.words[1].to_ne_bytes();
        self.words[0] == 0 && a == 0 && b == 0 && c == 0xff && d == 0xff
    }

    /// Whether this is `0.0.0.0` or `::`.
    #[inline(always)]
    pub fn is_unspecified(self) -> bool {
        self == Self::UNSPECIFIED_V6 || self == Self::UNSPECIFIED_V4
    }

    /// Whether packets to this address are meant for more than one receiver: IPv4 and IPv6 multicast and the
    /// limited broadcast.
    #[inline(always)]
    pub const fn is_multicast(self) -> bool {
        if self.is_v4() {
            let [a, b, c, d] = self.v4_octets();
            a & 0xf0 == 0xe0 || (a == 255 && b == 255 && c == 255 && d == 255)
        } else {
            self.words[0].to_ne_bytes()[0] == 0xff
        }
    }

    /// Whether the address is of the loopback range of its family.
    #[inline(always)]
    pub const fn is_loopback(self) -> bool {
        if self.is_v4() {
            self.v4_octets()[0] == 127
        } else {
            self.words[0] == 0 && self.words[1] == 1_u64.to_be()
        }
    }

    /// Whether the address is IPv6 link-local (`fe80::/10`).
    #[inline(always)]
    pub const fn is_link_local_v6(self) -> bool {
        let [a, b, ..] = self.words[0].to_ne_bytes();
        a == 0xfe && b & 0xc0 == 0x80
    }
}

/// A MAC address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);
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
    }
}
