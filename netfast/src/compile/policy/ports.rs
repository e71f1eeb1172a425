//! Port ranges as prefixes of the trie.

use crate::model::PortRange;

/// Bits of a port.
const PORT_BITS: u32 = u16::BITS;

/// The fewest aligned blocks that make up a range: the first port of each, and how many leading bits its ports
/// share. At most 30 for any range.
pub(super) fn blocks(range: PortRange) -> Vec<(u16, u32)> {
    let (mut next, last) = (range.first, range.last);
    let mut blocks = Vec::new();
    loop {
        let left = u32::from(last) - u32::from(next) + 1;
        // The largest block that may begin here and does not go beyond the end.
        let size = next.trailing_zeros().min(left.ilog2());
        blocks.push((next, PORT_BITS - size));
        let done = 1_u32 << size;
        match u16::try_from(u32::from(next) + done) {
            Ok(following) if done < left => next = following,
            _ => return blocks,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(blocks: &[(u16, u32)], port: u16) -> usize {
        let masked = |len: u32| if len == 0 { 0 } else { port & (u16::MAX << (PORT_BITS - len)) };
        blocks.iter().filter(|(first, len)| masked(*len) == *first).count()
    }

    #[test]
    fn bounds() {
        assert_eq!(blocks(PortRange::single(80)), [(80, 16)]);
        assert_eq!(blocks(PortRange { first: 65535, last: 65535 }), [(65535, 16)]);
        assert_eq!(blocks(PortRange { first: 0, last: 65535 }), [(0, 0)]);
        assert_eq!(blocks(PortRange { first: 1, last: 65535 }).len(), 16);
        assert_eq!(blocks(PortRange { first: 1, last: 65534 }).len(), 30);
        let trap = blocks(PortRange { first: 1023, last: 32768 });
        for (port, inside) in [(1022, 0), (1023, 1), (1024, 1), (32767, 1), (32768, 1), (32769, 0)] {
            assert_eq!(holds(&trap, port), inside, "{port}");
        }
    }

    proptest! {
        #[test]
        fn every_port_of_a_range_is_in_one_block(a in 0_u16.., b in 0_u16.., port in 0_u16..) {
            let range = PortRange { first: a.min(b), last: a.max(b) };
            let blocks = blocks(range);
            prop_assert!(blocks.len() <= 30);
            for port in [port, range.first, range.last, range.first.wrapping_sub(1), range.last.wrapping_add(1)] {
                let expected = usize::from((range.first..=range.last).contains(&port));
                prop_assert_eq!(holds(&blocks, port), expected);
            }
        }
    }
}
