//! A port range whose parts differ, as prefixes of a longest-prefix trie.

use std::collections::BTreeSet;

/// Bits of a port.
const BITS: u32 = u16::BITS;

/// What holds from one port on.
pub(super) type Step<V> = (u16, V);

/// The fewest prefixes by which a longest match finds for every port what `steps` say: the first port of each, how many
/// leading bits its ports share, and what it says. The first step is from port 0 on. `outer` is what a port without
/// a prefix has already.
pub(super) fn cover<V: Copy + Ord>(steps: &[Step<V>], outer: V) -> Vec<(u16, u32, V)> {
    let mut prefixes = Vec::new();
    Block::new(steps, 0, 0).assign(outer, &mut prefixes);
    prefixes
}

/// The ports under a prefix.
struct Block<V> {
    first: u16,
    len: u32,
    /// What the prefix may say so that the fewest are needed below it.
    choices: BTreeSet<V>,
    /// Its halves; none if all its ports are the same.
    halves: Vec<Self>,
}

impl<V: Copy + Ord> Block<V> {
    fn new(steps: &[Step<V>], first: u16, len: u32) -> Self {
        let last = first | u16::MAX.checked_shr(len).unwrap_or(0);
        let begin = steps.partition_point(|(from, _)| *from <= first).saturating_sub(1);
        let end = steps.partition_point(|(from, _)| *from <= last);
        let inside = &steps[begin..end];
        if let [(_, value)] = inside {
            return Self { first, len, choices: BTreeSet::from([*value]), halves: Vec::new() };
        }
        let len_of_half = len + 1;
        let upper = first | 1 << (BITS - len_of_half);
        let halves = vec![Self::new(inside, first, len_of_half), Self::new(inside, upper, len_of_half)];
        // What both halves may say they need not say themselves; otherwise one of them must.
        let (lower, upper) = (&halves[0].choices, &halves[1].choices);
        let common: BTreeSet<V> = lower.intersection(upper).copied().collect();
        let choices = if common.is_empty() { lower.union(upper).copied().collect() } else { common };
        Self { first, len, choices, halves }
    }

    fn assign(&self, outer: V, prefixes: &mut Vec<(u16, u32, V)>) {
        let mut says = outer;
        if !self.choices.contains(&outer)
            && let Some(choice) = self.choices.first()
        {
            says = *choice;
            prefixes.push((self.first, self.len, says));
        }
        for half in &self.halves {
            half.assign(says, prefixes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(prefixes: &[(u16, u32, u8)], outer: u8, port: u16) -> u8 {
        let holds = |first: u16, len: u32| u32::from(first ^ port) >> (BITS - len) == 0;
        let longest =
            prefixes.iter().filter(|(first, len, _)| holds(*first, *len)).max_by_key(|(_, len, _)| *len);
        longest.map_or(outer, |(_, _, value)| *value)
    }

    #[test]
    fn what_is_as_around_it_costs_nothing() {
        assert_eq!(cover(&[(0, 'a')], 'a'), []);
        assert_eq!(cover(&[(0, 'a')], 'b'), [(0, 0, 'a')]);
        // All but one port.
        assert_eq!(cover(&[(0, 'a'), (80, 'b'), (81, 'a')], 'a'), [(80, 16, 'b')]);
        assert_eq!(cover(&[(0, 'a'), (80, 'b'), (81, 'a')], 'c'), [(0, 0, 'a'), (80, 16, 'b')]);
        assert_eq!(cover(&[(0, 'a'), (65535, 'b')], 'a'), [(65535, 16, 'b')]);
    }

    proptest! {
        #[test]
        fn every_port_finds_its_step(
            steps in proptest::collection::btree_map(0_u16.., 0_u8..3, 0..8), first in 0_u8..3, outer in 0_u8..4,
            port in 0_u16..,
        ) {
            let mut steps = steps;
            steps.insert(0, first);
            let steps: Vec<_> = steps.into_iter().collect();
            let prefixes = cover(&steps, outer);
            let bounds = steps.iter().flat_map(|(from, _)| [*from, from.wrapping_sub(1)]);
            for port in bounds.chain([port, 0, u16::MAX]) {
                let expected = steps.iter().rev().find(|(from, _)| *from <= port).unwrap().1;
                prop_assert_eq!(find(&prefixes, outer, port), expected, "{}", port);
            }
            prop_assert!(prefixes.len() <= 30 * steps.len());
        }
    }
}
