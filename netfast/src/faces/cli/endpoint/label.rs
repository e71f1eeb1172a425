//! `netfast endpoint label`.

use std::collections::BTreeSet;
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::Args;

use super::super::{cells, output};
use crate::manifest::{self, TextError};
use crate::model::Labels;
use crate::reconcile::instance::{Instance, Options};

const EXAMPLES: &str = "\
Examples:
  netfast endpoint label web role=canary        set a label, or give it another value
  netfast endpoint label shop/web role- app=web take one away, set another

The next `netfast up` gives endpoints that its file names the labels of the file again.";

/// Change the labels of an endpoint.
///
/// Policies are asked anew: the first packet after this follows them, also of flows that were established before.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in super::super) struct Label {
    /// Its name, with NAMESPACE/ before it where several namespaces have the name.
    name: String,
    /// Labels to set, as KEY=VALUE, and to take away, as KEY-.
    #[arg(required = true, value_name = "LABEL")]
    changes: Vec<Change>,
}

/// What becomes of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    key: String,
    /// `None`: it is taken away.
    value: Option<String>,
}

impl FromStr for Change {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        // A label without a value says what a key may be.
        let (text, is_set) = match text.strip_suffix('-') {
            Some(key) if !text.contains('=') => (format!("{key}="), false),
            _ => (text.to_owned(), true),
        };
        let (key, value) = manifest::parse_label(&text)?;
        Ok(Self { key, value: is_set.then_some(value) })
    }
}

impl Label {
    pub(super) fn run(&self, options: &Options) -> Result<()> {
        let mut keys = BTreeSet::new();
        if let Some(twice) = self.changes.iter().find(|change| !keys.insert(&change.key)) {
            bail!("the label {} is named twice", twice.key);
        }
        let (id, labels) =
            Instance::open(options)?.label_endpoint(&self.name, |labels| self.apply(labels))?;
        let labels = if labels.is_empty() { "no labels".to_owned() } else { cells::labels(&labels) };
        output::line(&format!("endpoint {id}: {labels}"))
    }

    pub(super) fn what(&self) -> String {
        format!("endpoint label {}", self.name)
    }

    fn apply(&self, labels: &mut Labels) {
        for Change { key, value } in &self.changes {
            match value {
                Some(value) => labels.insert(key.clone(), value.clone()),
                None => labels.remove(key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::super::{Cli, Command};
    use super::super::Endpoint as Noun;
    use super::*;

    fn label(args: &[&str]) -> Label {
        match Cli::try_parse_from([&["netfast", "endpoint", "label"], args].concat()).unwrap().command {
            Command::Endpoint(Noun::Label(label)) => label,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn labels_are_set_and_taken_away() {
        let mut labels =
            Labels::from([("app".to_owned(), "web".to_owned()), ("a".to_owned(), String::new())]);
        label(&["web", "role=db", "app-", "gone-", "example.org/x="]).apply(&mut labels);
        let expected = [("a", ""), ("example.org/x", ""), ("role", "db")];
        assert_eq!(labels, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn what_is_no_label_is_refused() {
        for wrong in ["role", "-", "=db", "role=a b", "a/b/c-", "app=web-"] {
            let error = Cli::try_parse_from(["netfast", "endpoint", "label", "web", wrong]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong}");
        }
        assert_eq!(
            label(&["web", "app=x", "app-"]).run(&Options::default()).unwrap_err().to_string(),
            "the label app is named twice"
        );
    }
}
