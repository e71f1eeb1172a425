//! Labels, in `labels` and in `matchLabels`.

use super::text::label::{check_key, check_value};
use super::yaml::{Cursor, Plain, Report, Value};
use crate::model::Labels;
use crate::model::lint::Lint;

/// Reads a mapping of labels.
pub(super) fn labels(cursor: &Cursor<'_>, report: &mut Report) -> Labels {
    let mut labels = Labels::new();
    for entry in cursor.entries(report) {
        let child = cursor.child(entry);
        if let Err(error) = check_key(&entry.key) {
            let message = cursor.message(error.message);
            match error.help {
                Some(help) => report.error_help(entry.key_at, message, help),
                None => report.error(entry.key_at, message),
            }
        }
        if let Some(value) = value(&child, report) {
            labels.insert(entry.key.clone(), value);
        }
    }
    labels
}

/// Reads the value of a label.
pub(super) fn value(cursor: &Cursor<'_>, report: &mut Report) -> Option<String> {
    let Value::Scalar { text, plain } = &cursor.node.value else {
        return cursor.text(report).map(str::to_owned);
    };
    if *plain && Plain::of(text) == Plain::Null {
        let message = cursor.message("no value is read as the empty text");
        report.warning(Lint::EmptyValue, cursor.key_at, message, "write \"\"".to_owned());
        return Some(String::new());
    }
    if *plain && is_boolean_once(text) {
        let message = cursor.message(format!("{text} is a truth value to Kubernetes"));
        report.warning(Lint::YamlBoolean, cursor.at(), message, format!("quote it: \"{text}\""));
    }
    let text = cursor.text(report)?;
    match check_value(text) {
        Ok(()) => Some(text.to_owned()),
        Err(error) => {
            cursor.complain(report, error);
            None
        }
    }
}

/// Whether YAML 1.1, which Kubernetes reads, takes an unquoted text for a truth value and YAML 1.2 does not.
pub(super) fn is_boolean_once(text: &str) -> bool {
    ["y", "n", "yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word))
}
