//! Selectors.

use std::collections::BTreeSet;

use super::hints;
use crate::manifest::labels::{labels, value};
use crate::manifest::text::label::check_key;
use crate::manifest::yaml::{Cursor, Fields, Report, Value, show, suggest};
use crate::model::{Operator, Requirement, Selector};

/// What others call `In` and `NotIn`.
const EQUAL: [&str; 5] = ["=", "==", "Equals", "Equal", "equals"];
const UNEQUAL: [&str; 4] = ["!=", "NotEquals", "NotEqual", "not in"];

/// Reads a label selector. What cannot be read is left out, and `report` says so.
pub(super) fn read(cursor: &Cursor<'_>, report: &mut Report) -> Selector {
    let fields = Fields::open(cursor, &["matchLabels", "matchExpressions"], hints::selector, report);
    let mut requirements: Vec<Requirement> = fields
        .get("matchLabels")
        .map(|cursor| labels(&cursor, report))
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| Requirement { key, operator: Operator::In(BTreeSet::from([value])) })
        .collect();
    if let Some(expressions) = fields.get("matchExpressions") {
        requirements.extend(expressions.mappings(report).iter().filter_map(|item| expression(item, report)));
    }
    Selector { requirements }
}

fn expression(cursor: &Cursor<'_>, report: &mut Report) -> Option<Requirement> {
    let fields = Fields::plain(cursor, &["key", "operator", "values"], report);
    let key = fields
        .need("key", report)
        .and_then(|field| field.parse(report, |text| check_key(text).map(|()| text.to_owned())));
    let operator = fields.need("operator", report);
    let listed = fields.get("values");
    let items = listed.as_ref().map(|values| values.items(report)).unwrap_or_default();
    let values: BTreeSet<String> = items.iter().filter_map(|item| value(item, report)).collect();
    let operator = operator?;
    let name = operator.text(report)?;
    let operator = match name {
        "In" | "NotIn" if items.is_empty() => {
            // Of what is no list that was said.
            if listed.is_some_and(|values| !matches!(values.node.value, Value::List(_))) {
                return None;
            }
            cursor.error_help(report, format!("{name} without values"), "add values: [...]");
            return None;
        }
        "Exists" | "DoesNotExist" if !items.is_empty() => {
            let at = listed.map_or(cursor.at(), |values| values.key_at);
            let message = cursor.message(format!("{name} takes no values"));
            report.error_help(at, message, "drop values, or use In or NotIn");
            return None;
        }
        "In" => Operator::In(values),
        "NotIn" => Operator::NotIn(values),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => {
            let known = ["In", "NotIn", "Exists", "DoesNotExist"];
            let help = match suggest(name, &known) {
                _ if EQUAL.contains(&name) => "use In, with values: [...]".to_owned(),
                _ if UNEQUAL.contains(&name) => "use NotIn, with values: [...]".to_owned(),
                Some(word) => format!("did you mean {word}?"),
                None => format!("use {}", known.join(", ")),
            };
            operator.error_help(report, format!("unknown operator {}", show(name)), help);
            return None;
        }
    };
    Some(Requirement { key: key?, operator })
}
