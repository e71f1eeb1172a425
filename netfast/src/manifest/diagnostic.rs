//! What is wrong with a file, and where.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::model::lint::{Finding, Lint};

/// Whether a complaint keeps the file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used.
    Warning,
}

/// What kind of complaint it is, by a name that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The file is not there, is no text, or holds nothing: another matter than one with mistakes.
    Unreadable,
    /// What it says is wrong.
    Invalid,
    /// What it says is allowed, but surely not meant.
    Lint(Lint),
}

impl Code {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Invalid => "invalid",
            Self::Lint(lint) => lint.name(),
        }
    }

    /// Whether the file can be used all the same.
    pub const fn severity(self) -> Severity {
        match self {
            Self::Unreadable | Self::Invalid => Severity::Error,
            Self::Lint(_) => Severity::Warning,
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One complaint about a file. It prints as `file:line:column: message (help)`; with `{:#}` the line itself and a
/// caret follow where they are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1; 0: the whole file is meant.
    pub line: u32,
    /// Column in characters, from 1; 0: the whole file is meant.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub help: Option<String>,
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// What kind of complaint it is.
    pub code: Code,
    /// The line of the file, unless it is too long to show.
    #[serde(skip)]
    pub excerpt: Option<String>,
}

impl Diagnostic {
    /// An error about a file as a whole.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>, help: Option<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            message: message.into(),
            help,
            severity: Severity::Error,
            code: Code::Invalid,
            excerpt: None,
        }
    }

    /// An error about a file that cannot be read.
    pub fn unreadable(file: impl Into<String>, message: impl Into<String>, help: Option<String>) -> Self {
        Self { code: Code::Unreadable, ..Self::of_file(file, message, help) }
    }

    /// What it begins with in print: `error`, or `warning[...]` with its name.
    pub fn label(&self) -> String {
        match self.code {
            Code::Unreadable | Code::Invalid => "error".to_owned(),
            Code::Lint(lint) => format!("warning[{lint}]"),
        }
    }
}

impl From<Finding> for Diagnostic {
    fn from(finding: Finding) -> Self {
        let Finding { lint, at, message, help } = finding;
        let code = Code::Lint(lint);
        Self {
            file: at.file,
            line: at.line,
            column: 1,
            message,
            help,
            severity: code.severity(),
            code,
            excerpt: None,
        }
    }
}

/// Lines longer than this are not repeated in complaints.
const MAX_EXCERPT: usize = 200;

/// A line as it is repeated below a complaint; `None`: it is too long for that.
pub(super) fn excerpt(line: &str) -> Option<String> {
    (line.len() <= MAX_EXCERPT).then(|| printable(line))
}

/// A text without characters that would do something to a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        write!(f, " {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        if let (true, Some(excerpt)) = (f.alternate(), &self.excerpt) {
            let before = usize::try_from(self.column).unwrap_or(0).saturating_sub(1);
            // Tabs are kept, so that the caret stands under its character whatever a tab's width is.
            let indent: String =
                excerpt.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n    {excerpt}\n    {indent}^")?;
        }
        Ok(())
    }
}

/// Everything that keeps some files from being used, in the order of the files and their lines. It prints one
/// complaint per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl Diagnostics {
    /// How many there are, like `3 errors in 2 files`.
    pub fn summary(&self) -> String {
        let files: BTreeSet<&str> = self.0.iter().map(|d| d.file.as_str()).collect();
        let count = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
        format!("{} in {}", count(self.0.len(), "error"), count(files.len(), "file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_files_once() {
        let of = |file: &str| Diagnostic::of_file(file, "bad", None);
        assert_eq!(Diagnostics(vec![of("a")]).summary(), "1 error in 1 file");
        assert_eq!(Diagnostics(vec![of("a"), of("b"), of("a")]).summary(), "3 errors in 2 files");
    }

    #[test]
    fn a_caret_stands_under_the_column() {
        let mut diagnostic = Diagnostic::of_file("a.yaml", "bad", Some("be good".to_owned()));
        assert_eq!(diagnostic.to_string(), "a.yaml: bad (be good)");
        diagnostic.line = 2;
        diagnostic.column = 4;
        diagnostic.excerpt = Some("\tab: c".to_owned());
        assert_eq!(diagnostic.to_string(), "a.yaml:2:4: bad (be good)");
        assert_eq!(format!("{diagnostic:#}"), "a.yaml:2:4: bad (be good)\n    \tab: c\n    \t  ^");
    }
}
