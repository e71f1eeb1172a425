//! Sets of small indices: endpoints, places.

use std::ops::Range;

const WORD: usize = u64::BITS as usize;

/// A set of indices below a fixed bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// No index of those below `bound`.
    pub(super) fn none(bound: usize) -> Self {
        Self { words: vec![0; bound.div_ceil(WORD)] }
    }

    /// Every index below `bound`.
    pub(super) fn all(bound: usize) -> Self {
        let mut bits = Self::none(bound);
        bits.insert_range(0..bound);
        bits
    }

    /// Adds one index.
    pub(super) fn insert(&mut self, index: usize) {
        self.words[index / WORD] |= 1 << (index % WORD);
    }

    /// Adds a range of indices.
    pub(super) fn insert_range(&mut self, range: Range<usize>) {
        for (word, mask) in masks(range) {
            self.words[word] |= mask;
        }
    }

    /// Takes a range of indices out.
    pub(super) fn remove_range(&mut self, range: Range<usize>) {
        for (word, mask) in masks(range) {
            self.words[word] &= !mask;
        }
    }

    /// Adds all that `other` holds.
    pub(super) fn unite(&mut self, other: &Self) {
        self.combine(other, |a, b| a | b);
    }

    /// Keeps only what `other` holds too.
    pub(super) fn intersect(&mut self, other: &Self) {
        self.combine(other, |a, b| a & b);
    }

    /// Takes out all that `other` holds.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.combine(other, |a, b| a & !b);
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// What it holds, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(i, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    i * WORD + bit
                })
            })
        })
    }

    fn combine(&mut self, other: &Self, f: impl Fn(u64, u64) -> u64) {
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine = f(*mine, *theirs);
        }
    }
}

/// The words a range touches, each with its bits of the range.
fn masks(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let Range { start, end } = range;
    (start / WORD..end.div_ceil(WORD)).map(move |word| {
        let base = word * WORD;
        let from = start.saturating_sub(base);
        let to = (end - base).min(WORD);
        // An empty range may still touch a word.
        let mask = if from < to { (u64::MAX >> (WORD - (to - from))) << from } else { 0 };
        (word, mask)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cross_words() {
        for range in [0..0, 0..64, 3..3, 63..65, 10..150, 64..128, 70..71, 70..70] {
            let mut bits = Bits::none(200);
            bits.insert_range(range.clone());
            assert_eq!(bits.iter().collect::<Vec<_>>(), range.clone().collect::<Vec<_>>());
            let mut rest = Bits::all(200);
            rest.remove_range(range.clone());
            assert_eq!(
                rest.iter().collect::<Vec<_>>(),
                (0..200).filter(|i| !range.contains(i)).collect::<Vec<_>>()
            );
        }
    }
}
