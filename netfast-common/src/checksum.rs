//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use crate::addr::Addr;

/// Folds a 32-bit sum of 16-bit words into 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    // At most 0xffff after two rounds.
    #[expect(clippy::cast_possible_truncation, reason = "two rounds of folding leave 16 bits")]
    let folded = sum as u16;
    folded
}

/// The ones' complement sum of `bytes`, read as big-endian words; an odd last byte is padded with zero.
pub fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(2);
    let tail = words.remainder().first().map_or(0, |byte| u32::from(*byte) << 8);
    words.fold(tail, |sum, word| {
        let sum = sum + u32::from(u16::from_be_bytes([word[0], word[1]]));
        // Kept small, so that any length fits.
        (sum & 0xffff) + (sum >> 16)
    })
}

/// The checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The checksum after some bytes under it changed from `old` to `new`, which stand at an even offset and are of
/// even length (RFC 1624, equation 3).
pub fn update(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    !fold(u32::from(!checksum) + u32::from(!fold(sum(old))) + u32::from(fold(sum(new))))
}

/// What a checksum over them must be told when an address changes: the ones' complement difference of the two, in
/// the byte order of the packet, as the kernel's checksum helpers take it. The mapped prefix of IPv4 addresses
/// cancels out, so both families have one code path.
#[inline(always)]
pub fn address_difference(old: &Addr, new: &Addr) -> u32 {
    let [old_hi, old_lo] = old.words();
    let [new_hi, new_lo] = new.words();
    let halves = |word: u64| (word & 0xffff_ffff) + (word >> 32);
    let sum = halves(!old_hi) + halves(!old_lo) + halves(new_hi) + halves(new_lo);
    fold_32(sum)
}

/// The same for a 16-bit field such as a port, given in host byte order.
#[inline(always)]
pub fn word_difference(old: u16, new: u16) -> u32 {
    u32::from(!old.to_be()) + u32::from(new.to_be())
}

/// What an address adds to the sum of a pseudo-header, as it lies in memory. A ones' complement sum is the same in
/// either byte order, so words may be added as they stand in a packet.
#[inline(always)]
pub fn address_sum(addr: &Addr) -> u64 {
    let [high, low] = addr.words();
    (high & 0xffff_ffff) + (high >> 32) + (low & 0xffff_ffff) + (low >> 32)
}

/// The checksum of words that add up to `sum`, in their byte order.
#[inline(always)]
pub const fn finish(sum: u64) -> u16 {
    !fold(fold_32(sum))
}

/// Two differences as one.
#[inline(always)]
pub const fn sum_differences(one: u32, other: u32) -> u32 {
    fold_32(one as u64 + other as u64)
}

/// Folds a sum of 32-bit words into 32 bits.
#[inline(always)]
const fn fold_32(sum: u64) -> u32 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    #[expect(clippy::cast_possible_truncation, reason = "two rounds of folding leave 32 bits")]
    let folded = sum as u32;
    folded
}

/// A checksum field, as it stands in the packet, after what is under it changed by `difference`.
#[inline(always)]
pub const fn patch(field: [u8; 2], difference: u32) -> [u8; 2] {
    let sum = !u16::from_ne_bytes(field) as u64 + difference as u64;
    (!fold(fold_32(sum))).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_header() {
        // The example header of RFC 1071's descendants: an IPv4 header whose checksum is 0xb861.
        let header: [u8; 20] =
            [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(checksum(&header), 0xb861);
    }

    proptest! {
        #[test]
        fn incremental_equals_full(
            mut bytes in proptest::collection::vec(any::<u8>(), 40..120),
            new in any::<[u8; 4]>(),
            word in 0_usize..18,
        ) {
            // A header is never all zero, where the two zeroes of ones' complement would differ.
            bytes[0] = 0x45;
            let before = checksum(&bytes);
            let at = 2 + 2 * word;
            let old: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
            bytes[at..at + 4].copy_from_slice(&new);
            prop_assert_eq!(update(before, &old, &new), checksum(&bytes));
        }

        #[test]
        fn patching_equals_full(
            old in any::<[u8; 16]>(),
            new in any::<[u8; 16]>(),
            ports in any::<(u16, u16)>(),
            rest in any::<[u8; 10]>(),
        ) {
            let bytes = |addr: [u8; 16], port: u16| {
                let mut bytes = vec![0x45, 0];
                bytes.extend_from_slice(&addr);
                bytes.extend_from_slice(&port.to_be_bytes());
                bytes.extend_from_slice(&rest);
                bytes
            };
            let field = checksum(&bytes(old, ports.0)).to_be_bytes();
            let address = address_difference(&Addr::from_v6(old), &Addr::from_v6(new));
            let port = word_difference(ports.0, ports.1);
            prop_assert_eq!(patch(patch(field, address), port), patch(field, sum_differences(address, port)));
            let field = patch(field, sum_differences(address, port));
            prop_assert_eq!(u16::from_be_bytes(field), checksum(&bytes(new, ports.1)));
        }
    }
}
