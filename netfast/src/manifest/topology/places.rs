//! Where a file says what, for complaints that come after reading.

use std::collections::BTreeMap;

use crate::manifest::yaml::{Named, Pos, Report, Value};
use crate::model::{Problem, Subject};

/// The places of subjects, of their fields, and of the items of these. The empty field is the subject itself.
#[derive(Default)]
pub(in crate::manifest) struct Places(BTreeMap<(Subject, &'static str, Option<usize>), Pos>);

impl Places {
    /// Notes where a subject and its fields stand; whether it is the first of its name.
    pub(super) fn declare(
        &mut self,
        subject: &Subject,
        item: &Named<'_>,
        known: &[&'static str],
        report: &mut Report,
    ) -> bool {
        if let Some(first) = self.0.get(&(subject.clone(), "", None)) {
            let message = format!("{subject} is there twice: here and on line {}", first.line);
            report.error_help(item.at, message, "give one of them another name");
            return false;
        }
        self.0.insert((subject.clone(), "", None), item.at);
        for field in known {
            let Some(cursor) = item.fields.get(field) else { continue };
            self.0.insert((subject.clone(), field, None), cursor.at());
            if let Value::List(items) = &cursor.node.value {
                for (index, node) in items.iter().enumerate() {
                    self.0.insert((subject.clone(), field, Some(index)), node.at);
                }
            }
        }
        true
    }

    /// The place nearest to a problem.
    pub(in crate::manifest) fn of(&self, problem: &Problem) -> Option<Pos> {
        let find = |field, index| self.0.get(&(problem.subject.clone(), field, index)).copied();
        find(problem.field, problem.index).or_else(|| find(problem.field, None)).or_else(|| find("", None))
    }
}
