//! Numbers that outlive a compile: what has not changed keeps its number.

use std::collections::{BTreeMap, BTreeSet};

use netfast_common::policy::RuleRow;
use serde::{Deserialize, Serialize};

use super::classes::Signature;
use super::peers::Mark;
use super::rulebook::RuleName;
use super::sets::Recipe;

/// The numbers given by a compile, to be handed to the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    pub(super) marks: Register<Mark>,
    pub(super) rules: Register<RuleName>,
    pub(super) identities: Register<Signature>,
    pub(super) sets: Register<Recipe>,
}

impl Numbers {
    /// Passes over the numbers that may have been given to classes and rule sets since, and were not written down here.
    pub fn skip(&mut self) {
        self.identities.skip();
        self.sets.skip();
    }
}

/// The highest number there is: the bit above it says in a rule's row what the rule does.
const MAX: u32 = RuleRow::MAX_NUMBER;

/// Numbers of one kind of thing. 0 is never given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "K: Serialize", deserialize = "K: Deserialize<'de> + Ord"))]
pub(super) struct Register<K> {
    /// The number given last. The next fresh one is the one after, so that a freed number stays unused until
    /// two thousand million others were given.
    last: u32,
    #[serde(with = "as_pairs")]
    numbers: BTreeMap<K, u32>,
}

impl<K> Default for Register<K> {
    fn default() -> Self {
        Self { last: 0, numbers: BTreeMap::new() }
    }
}

impl<K: Ord> Register<K> {
    /// A register that gave the number `last` last.
    pub(super) const fn of(last: u32, numbers: BTreeMap<K, u32>) -> Self {
        Self { last, numbers }
    }

    pub(super) const fn last(&self) -> u32 {
        self.last
    }

    /// Passes over more numbers than anybody has given between two compiles.
    fn skip(&mut self) {
        const MANY: u32 = 1 << 24;
        self.last = if self.last > MAX - MANY { MANY } else { self.last + MANY };
    }

    pub(super) fn get(&self, key: &K) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, u32)> {
        self.numbers.iter().map(|(key, number)| (key, *number))
    }

    /// The things by their numbers.
    pub(super) fn by_number(&self) -> BTreeMap<u32, &K> {
        self.numbers.iter().map(|(key, number)| (*number, key)).collect()
    }

    /// Begins the register that follows this one.
    pub(super) fn successor(&self) -> Draft<'_, K> {
        Draft {
            previous: self,
            taken: self.numbers.values().copied().collect(),
            next: Self { last: self.last, numbers: BTreeMap::new() },
        }
    }
}

/// A register being made from the one before. What is not asked for is forgotten.
#[derive(Debug)]
pub(super) struct Draft<'p, K> {
    previous: &'p Register<K>,
    taken: BTreeSet<u32>,
    next: Register<K>,
}

impl<K: Ord> Draft<'_, K> {
    /// The number `key` has, or had, or a fresh one.
    pub(super) fn number(&mut self, key: K) -> u32 {
        match self.next.get(&key).or_else(|| self.previous.get(&key)) {
            Some(number) => self.keep(key, number),
            None => self.fresh(key),
        }
    }

    /// A number for `key` that nothing has or had.
    pub(super) fn fresh(&mut self, key: K) -> u32 {
        let mut number = self.next.last;
        loop {
            number = if number >= MAX { 0 } else { number + 1 };
            if number != 0 && !self.taken.contains(&number) {
                break;
            }
        }
        self.next.last = number;
        self.keep(key, number)
    }

    /// Gives `key` a number that its predecessor had.
    pub(super) fn keep(&mut self, key: K, number: u32) -> u32 {
        self.next.numbers.insert(key, number);
        number
    }

    pub(super) fn finish(self) -> Register<K> {
        self.next
    }
}

/// JSON has no map with structured keys.
mod as_pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, S: Serializer>(
        numbers: &BTreeMap<K, u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers)
    }

    pub(super) fn deserialize<'de, K: Deserialize<'de> + Ord, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<K, u32>, D::Error> {
        Ok(Vec::<(K, u32)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_number_rests() {
        let nothing = Register::default();
        let mut draft = nothing.successor();
        assert_eq!([draft.number('a'), draft.number('b'), draft.number('a')], [1, 2, 1]);
        let first = draft.finish();
        let mut draft = first.successor();
        assert_eq!([draft.number('a'), draft.fresh('c')], [1, 3]);
        let second = draft.finish();
        assert_eq!(second.get(&'b'), None);
        assert_eq!(second.successor().number('b'), 4);
    }

    #[test]
    fn numbers_that_may_be_given_are_passed_over() {
        let mut register = Register { last: 1, numbers: BTreeMap::from([('a', 1)]) };
        register.skip();
        let mut draft = register.successor();
        assert_eq!([draft.number('a'), draft.number('b')], [1, (1 << 24) + 2]);
        let mut last = Register { last: MAX, numbers: BTreeMap::from([('a', MAX)]) };
        last.skip();
        assert_eq!(last.successor().number('b'), (1 << 24) + 1);
    }

    #[test]
    fn numbers_wrap_past_zero_and_those_in_use() {
        let full = Register { last: MAX - 1, numbers: BTreeMap::from([('a', MAX), ('b', 1)]) };
        let mut draft = full.successor();
        assert_eq!([draft.fresh('c'), draft.fresh('d'), draft.number('b')], [2, 3, 1]);
    }
}
