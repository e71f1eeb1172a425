//! Selectors, answered for all endpoints at once.

use std::collections::BTreeMap;

use super::bits::Bits;
use crate::model::{Labels, Operator, Selector};

/// Who has which label: a selector costs a few set operations, however many it is asked of.
#[derive(Debug)]
pub(super) struct LabelIndex {
    bound: usize,
    keys: BTreeMap<String, BTreeMap<String, Bits>>,
}

impl LabelIndex {
    /// The index of things numbered from 0 in the order of `labels`.
    pub(super) fn new(labels: &[&Labels]) -> Self {
        let bound = labels.len();
        let mut keys: BTreeMap<String, BTreeMap<String, Bits>> = BTreeMap::new();
        for (index, labels) in labels.iter().enumerate() {
            for (key, value) in *labels {
                let values = keys.entry(key.clone()).or_default();
                values.entry(value.clone()).or_insert_with(|| Bits::none(bound)).insert(index);
            }
        }
        Self { bound, keys }
    }

    /// All that `selector` matches: exactly those for whose labels [`Selector::matches`] holds.
    pub(super) fn select(&self, selector: &Selector) -> Bits {
        let mut selected = Bits::all(self.bound);
        for requirement in &selector.requirements {
            let key = &requirement.key;
            match &requirement.operator {
                Operator::In(values) => selected.intersect(&self.having(key, |v| values.contains(v))),
                Operator::NotIn(values) => selected.subtract(&self.having(key, |v| values.contains(v))),
                Operator::Exists => selected.intersect(&self.having(key, |_| true)),
                Operator::DoesNotExist => selected.subtract(&self.having(key, |_| true)),
            }
        }
        selected
    }

    /// All that have the label `key` with a value that will do.
    fn having(&self, key: &str, will_do: impl Fn(&str) -> bool) -> Bits {
        let mut found = Bits::none(self.bound);
        for (value, bits) in self.keys.get(key).into_iter().flatten() {
            if will_do(value) {
                found.unite(bits);
            }
        }
        found
    }
}
