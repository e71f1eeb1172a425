//! A mapping whose keys are fields.

use super::cursor::Cursor;
use super::node::{Entry, Pos};
use super::report::{Report, show};
use super::synonyms::synonym;
use crate::model::lint::Lint;
use crate::model::suggest::suggest;

/// Says what to do with a field that is not known in its place; `None`: nothing special.
pub(in crate::manifest) type Hint = fn(&str) -> Option<&'static str>;

/// A mapping with known fields, its unknown ones complained about. What was probably meant by one of those is read as if it
/// were written so, as what is in it may be wrong too.
pub(in crate::manifest) struct Fields<'a> {
    cursor: Cursor<'a>,
    /// Fields that are there by another name.
    meant: Vec<(&'static str, &'a Entry)>,
}

impl<'a> Fields<'a> {
    /// Opens a mapping. Nothing at all is a mapping without fields.
    pub(in crate::manifest) fn open(
        cursor: &Cursor<'a>,
        known: &[&'static str],
        hint: Hint,
        report: &mut Report,
    ) -> Self {
        let mut meant: Vec<(&'static str, &'a Entry)> = Vec::new();
        for entry in cursor.entries(report) {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let path = cursor.child(entry).path;
            let path = if path.is_empty() { show(&entry.key) } else { path };
            let help = match hint(&entry.key) {
                Some(help) => help.to_owned(),
                None => match suggest(&entry.key, known).or_else(|| synonym(&entry.key, known)) {
                    Some(word) => {
                        if let Some(known) = known.iter().find(|known| **known == word)
                            && cursor.peek(known).is_none()
                            && meant.iter().all(|(other, _)| other != known)
                        {
                            meant.push((known, entry));
                        }
                        format!("did you mean {word}?")
                    }
                    None if entry.key.starts_with('-') => "put a space after the `-`".to_owned(),
                    None => format!("known here: {}", known.join(", ")),
                },
            };
            report.error_help(entry.key_at, format!("{path}: unknown field"), help);
        }
        Self { cursor: cursor.clone(), meant }
    }

    /// Opens a mapping where no field has a hint.
    pub(in crate::manifest) fn plain(
        cursor: &Cursor<'a>,
        known: &[&'static str],
        report: &mut Report,
    ) -> Self {
        Self::open(cursor, known, |_| None, report)
    }

    /// Opens a mapping to which others add fields of their own. One that looks like a slip of the pen is an error, any
    /// other a warning.
    pub(in crate::manifest) fn tolerant(
        cursor: &Cursor<'a>,
        known: &[&'static str],
        report: &mut Report,
    ) -> Self {
        for entry in cursor.entries(report).iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let message = format!("{}: unknown field", cursor.child(entry).path);
            if let Some(word) = suggest(&entry.key, known) {
                report.error_help(entry.key_at, message, format!("did you mean {word}?"));
            } else {
                let help = format!("known here: {}", known.join(", "));
                report.warning(Lint::UnknownField, entry.key_at, message, help);
            }
        }
        Self { cursor: cursor.clone(), meant: Vec::new() }
    }

    /// A field; `None` where it is absent or null, which mean the same.
    pub(in crate::manifest) fn get(&self, name: &str) -> Option<Cursor<'a>> {
        let meant = || {
            let (_, entry) =
                self.meant.iter().find(|(known, entry)| *known == name && !entry.value.is_null())?;
            Some(self.cursor.child(entry))
        };
        self.cursor.peek(name).or_else(meant)
    }

    /// Whether there is such a field, known or not.
    pub(in crate::manifest) fn is_there(&self, name: &str) -> bool {
        self.cursor.peek(name).is_some()
    }

    /// A field that must be there.
    pub(in crate::manifest) fn need(&self, name: &str, report: &mut Report) -> Option<Cursor<'a>> {
        let found = self.get(name);
        // Of what is no mapping that was said.
        if found.is_none() && self.cursor.is_mapping_or_nothing() {
            report.error(self.at(), self.cursor.message(format!("`{name}` is missing")));
        }
        found
    }

    /// Where the mapping begins.
    pub(in crate::manifest) fn at(&self) -> Pos {
        self.cursor.at()
    }
}
