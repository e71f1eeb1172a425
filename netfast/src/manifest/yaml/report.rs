//! Gathers the complaints about one file.

use super::cursor::Cursor;
use super::node::Pos;
use crate::manifest::diagnostic::{Code, Diagnostic, Severity, excerpt, printable};
use crate::model::lint::Lint;

/// More errors, and more warnings, are not kept: nobody reads them, and a hostile file could hold millions.
const MAX_KEPT: usize = 1000;

/// The complaints about one file so far.
pub(in crate::manifest) struct Report {
    file: String,
    text: String,
    scope: String,
    errors: usize,
    warnings: usize,
    found: Vec<Diagnostic>,
    shapes: ShapeHint,
}

/// Says what to write where a value has the wrong shape: a text for a list, and so on. `None`: nothing special.
pub(in crate::manifest) type ShapeHint = fn(&Cursor<'_>) -> Option<String>;

impl Report {
    pub(in crate::manifest) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            scope: String::new(),
            errors: 0,
            warnings: 0,
            found: Vec::new(),
            shapes: |_| None,
        }
    }

    /// Sets what to say of values of the wrong shape.
    pub(in crate::manifest) fn set_shapes(&mut self, shapes: ShapeHint) {
        self.shapes = shapes;
    }

    /// What to write in the place of a value of the wrong shape.
    pub(super) fn shape_help(&self, cursor: &Cursor<'_>) -> Option<String> {
        (self.shapes)(cursor)
    }

    pub(in crate::manifest) fn file(&self) -> &str {
        &self.file
    }

    /// Says which part of the file is being read; it stands before every message from here on.
    pub(in crate::manifest) fn set_scope(&mut self, scope: String) {
        self.scope = scope;
    }

    /// The lines of the file.
    pub(super) fn lines(&self) -> std::str::Lines<'_> {
        self.text.lines()
    }

    /// How many errors there are.
    pub(in crate::manifest) fn errors(&self) -> usize {
        self.errors
    }

    pub(in crate::manifest) fn error(&mut self, at: Pos, message: impl AsRef<str>) {
        self.add(Code::Invalid, at, message.as_ref(), None);
    }

    pub(in crate::manifest) fn error_help(
        &mut self,
        at: Pos,
        message: impl AsRef<str>,
        help: impl Into<String>,
    ) {
        self.add(Code::Invalid, at, message.as_ref(), Some(help.into()));
    }

    pub(in crate::manifest) fn warning(
        &mut self,
        lint: Lint,
        at: Pos,
        message: impl AsRef<str>,
        help: impl Into<Option<String>>,
    ) {
        self.add(Code::Lint(lint), at, message.as_ref(), help.into());
    }

    /// Complains that the file holds nothing.
    pub(in crate::manifest) fn empty(&mut self, message: &str, help: &str) {
        self.add(Code::Unreadable, Pos::START, message, Some(help.to_owned()));
    }

    fn add(&mut self, code: Code, at: Pos, message: &str, help: Option<String>) {
        let severity = code.severity();
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= MAX_KEPT {
            self.found.push(Diagnostic {
                file: self.file.clone(),
                line: at.line,
                column: at.column,
                message: printable(&format!("{}{message}", self.scope)),
                help: help.map(|help| printable(&help)),
                severity,
                code,
                excerpt: None,
            });
        }
    }

    /// All complaints, by line.
    pub(in crate::manifest) fn finish(mut self) -> Vec<Diagnostic> {
        if self.found.is_empty() {
            return self.found;
        }
        let lines: Vec<&str> = self.text.lines().collect();
        let mut templates = std::collections::BTreeSet::new();
        self.found.retain_mut(|diagnostic| {
            let line = usize::try_from(diagnostic.line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
            let Some(line) = line else { return true };
            diagnostic.excerpt = excerpt(line);
            // Whatever else is wrong in a line of a template, rendering it comes first.
            if diagnostic.severity == Severity::Error
                && let Some(column) = template(line)
            {
                diagnostic.message = String::from("a template: render it first");
                diagnostic.help = None;
                diagnostic.column = column;
                return templates.insert(diagnostic.line);
            }
            true
        });
        self.found.sort_by_key(|d| (d.line, d.column));
        if self.errors > MAX_KEPT {
            let message = format!("{} errors, of which {MAX_KEPT} are shown", self.errors);
            self.found.push(Diagnostic::of_file(&self.file, message, None));
        }
        self.found
    }
}

/// What templates are written with.
const TEMPLATES: [&str; 5] = ["{{", "{%", "<%", "${", "$("];

/// The column where a line is a template.
fn template(line: &str) -> Option<u32> {
    // A whole file in one line, as programs write JSON, is none.
    if line.len() > 200 {
        return None;
    }
    let at = TEMPLATES.iter().filter_map(|mark| line.find(mark)).min()?;
    u32::try_from(line[..at].chars().count() + 1).ok()
}

/// A value from a file, short enough for a message.
pub(in crate::manifest) fn show(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        format!("{text:?}")
    } else {
        let start: String = text.chars().take(LONGEST).collect();
        format!("{start:?}...")
    }
}
