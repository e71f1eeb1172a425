//! Labels and selectors, with the meaning Kubernetes gives them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Labels of an endpoint or a namespace.
pub type Labels = BTreeMap<String, String>;

/// A label selector: all requirements must hold; without any, it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Selector {
    /// The requirements, from `matchLabels` (as [`Operator::In`] with one value) and `matchExpressions`.
    pub requirements: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What is asked of it.
    pub operator: Operator,
}

/// What a requirement asks of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// The label is there, with one of these values.
    In(BTreeSet<String>),
    /// The label is not there, or has none of these values.
    NotIn(BTreeSet<String>),
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl Selector {
    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|v| values.contains(v)),
            Operator::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(operator: Operator, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Selector { requirements: vec![Requirement { key: "app".to_owned(), operator }] }.matches(&labels)
    }

    fn values(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|v| (*v).to_owned()).collect()
    }

    #[test]
    fn not_in_holds_where_the_key_is_absent() {
        assert!(selects(Operator::NotIn(values(&["web"])), &[]));
        assert!(!selects(Operator::NotIn(values(&["web"])), &[("app", "web")]));
        assert!(selects(Operator::NotIn(values(&["web"])), &[("app", "db")]));
    }

    #[test]
    fn the_empty_string_is_a_value() {
        assert!(!selects(Operator::In(values(&[""])), &[]));
        assert!(selects(Operator::In(values(&[""])), &[("app", "")]));
    }

    #[test]
    fn an_empty_selector_selects_everything() {
        assert!(Selector::default().matches(&Labels::new()));
    }
}
