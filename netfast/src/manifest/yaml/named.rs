//! Things with names: a mapping from their names, or a list of items that say theirs.

use super::cursor::Cursor;
use super::fields::Fields;
use super::node::{Pos, Value};
use super::report::Report;

/// One of several things with names.
pub(in crate::manifest) struct Named<'a> {
    pub(in crate::manifest) name: &'a str,
    /// Where its name stands.
    pub(in crate::manifest) at: Pos,
    pub(in crate::manifest) fields: Fields<'a>,
}

/// Reads things with names in either form. In a mapping `known` fields may stand in each, in a list `name` too.
pub(in crate::manifest) fn named<'a>(
    cursor: &Cursor<'a>,
    known: &[&'static str],
    report: &mut Report,
) -> Vec<Named<'a>> {
    if !matches!(cursor.node.value, Value::List(_)) {
        let hint = |field: &str| (field == "name").then_some("the key is the name");
        return cursor
            .entries(report)
            .iter()
            .map(|entry| Named {
                name: &entry.key,
                at: entry.key_at,
                fields: Fields::open(&cursor.child(entry), known, hint, report),
            })
            .collect();
    }
    let mut known = known.to_vec();
    known.push("name");
    let mut found = Vec::new();
    for item in cursor.items(report) {
        let fields = Fields::plain(&item, &known, report);
        if let Some(name) = fields.need("name", report)
            && let Some(text) = name.text(report)
        {
            found.push(Named { name: text, at: name.at(), fields });
        }
    }
    found
}
