//! Labels that were probably meant.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::suggest::suggest;
use crate::model::{Labels, Operator, Requirement, Selector};

/// The labels that some endpoints or namespaces have: keys, with all their values.
pub(super) struct Population<'w>(BTreeMap<&'w str, BTreeSet<&'w str>>);

impl<'w> Population<'w> {
    pub(super) fn new(all: impl Iterator<Item = &'w Labels>) -> Self {
        let mut population: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (key, value) in all.flatten() {
            population.entry(key).or_default().insert(value);
        }
        Self(population)
    }

    fn has(&self, requirement: &Requirement) -> bool {
        let values = self.0.get(requirement.key.as_str());
        match &requirement.operator {
            Operator::In(wanted) => {
                values.is_some_and(|values| wanted.iter().any(|value| values.contains(value.as_str())))
            }
            Operator::Exists => values.is_some(),
            Operator::NotIn(_) | Operator::DoesNotExist => true,
        }
    }

    /// What was probably meant by a key that nobody has.
    fn key(&self, requirement: &Requirement) -> Option<String> {
        if self.has(requirement) || self.0.contains_key(requirement.key.as_str()) {
            return None;
        }
        let keys: Vec<&str> = self.0.keys().copied().collect();
        let key = suggest(&requirement.key, &keys)?;
        Some(format!("no label is called {}, did you mean {key}?", requirement.key))
    }

    /// What was probably meant by a value that nobody has.
    fn value(&self, requirement: &Requirement) -> Option<String> {
        let (Operator::In(wanted), values) = (&requirement.operator, self.0.get(requirement.key.as_str())?)
        else {
            return None;
        };
        if self.has(requirement) {
            return None;
        }
        let known: Vec<&str> = values.iter().copied().collect();
        let text = |value: &str| if value.is_empty() { "\"\"".to_owned() } else { value.to_owned() };
        let near = wanted.iter().find_map(|value| Some((value, suggest(value, &known)?)));
        match near {
            Some((value, near)) => {
                Some(format!("no {} is {}, did you mean {near}?", requirement.key, text(value)))
            }
            None if known.len() <= 8 => {
                let known: Vec<String> = known.into_iter().map(text).collect();
                Some(format!("{} is {} there", requirement.key, known.join(", ")))
            }
            None => None,
        }
    }
}

/// What may have been meant by a selector that none of a population matches.
pub(super) fn resembling(selector: &Selector, population: &Population<'_>) -> Option<String> {
    slip(selector, population)
        .or_else(|| selector.requirements.iter().find_map(|requirement| population.value(requirement)))
}

/// A key that is almost one that is there.
pub(super) fn slip(selector: &Selector, population: &Population<'_>) -> Option<String> {
    selector.requirements.iter().find_map(|requirement| population.key(requirement))
}
