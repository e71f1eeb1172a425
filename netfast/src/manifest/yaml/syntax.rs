//! Says in plain words why a text is not YAML.

use granit_parser::{ErrorKind, ScanError};

use super::node::Pos;
use super::report::Report;
use super::{Stop, pos};

/// Reports an error of the parser.
pub(super) fn explain(error: &ScanError, report: &mut Report) -> Stop {
    let at = pos(*error.marker());
    if let Some(tab) = tab_near(at, error.kind(), report) {
        report.error(tab, "a tab; YAML indents with spaces");
        return Stop;
    }
    if matches!(error.kind(), ErrorKind::MappingValueNotAllowed)
        && let Some(key) = key_without_colon(at, report)
    {
        report.error_help(key, "a key without a colon", "write `key: value`");
        return Stop;
    }
    let (message, help) = words(error.kind());
    match help {
        Some(help) => report.error_help(at, message, help),
        None => report.error(at, message),
    }
    Stop
}

/// A tab in the indentation of the line of an error, or of the line before: the parser may notice it late. A plain
/// text is taken to go on in the next line, so that a tab there is noticed early.
fn tab_near(at: Pos, kind: &ErrorKind, report: &Report) -> Option<Pos> {
    let next = is_tab(kind).then_some(at.line + 1);
    [Some(at.line), at.line.checked_sub(1), next].into_iter().flatten().find_map(|line| {
        let text = report.line(line)?;
        let indent: String = text.chars().take_while(|c| c.is_whitespace()).collect();
        let column = indent.chars().position(|c| c == '\t')?;
        Some(Pos { line, column: u32::try_from(column + 1).ok()? })
    })
}

fn is_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar
    )
}

/// The line before an error, where that has no colon: YAML takes it for the beginning of a text of several lines, and
/// stumbles over the next colon.
fn key_without_colon(at: Pos, report: &Report) -> Option<Pos> {
    let line = at.line.checked_sub(1)?;
    let (text, next) = (report.line(line)?, report.line(at.line)?);
    let indent = |text: &str| text.len() - text.trim_start().len();
    let word = text.trim_start();
    let key = word.starts_with(char::is_alphabetic) && !word.contains(':');
    let column = u32::try_from(indent(text) + 1).ok()?;
    (key && indent(text) == indent(next)).then_some(Pos { line, column })
}

fn words(kind: &ErrorKind) -> (String, Option<&'static str>) {
    let (message, help) = match kind {
        kind if is_tab(kind) => ("a tab; YAML indents with spaces", None),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            ("a key without a colon", Some("write `key: value`"))
        }
        ErrorKind::ExpectedBlockMappingKey => {
            ("no key where one was expected", Some("check the indentation and the colons above"))
        }
        ErrorKind::ExpectedBlockSequenceEntry => {
            ("a list item without its `-`", Some("check the indentation"))
        }
        ErrorKind::BlockSequenceEntryNotAllowed => ("a `-` where no list is", Some("check the indentation")),
        ErrorKind::MappingValueNotAllowed | ErrorKind::MappingKeyNotAllowed => (
            "a second `: ` where one value is",
            Some("quote a text that holds `: `, or check the indentation"),
        ),
        ErrorKind::InvalidIndentation => ("the indentation fits nothing above", None),
        ErrorKind::UnknownAnchor => ("an alias to nothing", Some("quote a text that begins with `*`")),
        ErrorKind::UnexpectedEofFlowSequence => ("a `[` that is never closed", None),
        ErrorKind::UnexpectedEofFlowMapping => ("a `{` that is never closed", None),
        ErrorKind::UnclosedFlowCollection { open } => {
            return (format!("a `{open}` that is never closed"), None);
        }
        ErrorKind::UnclosedQuotedScalar => ("a quote that is never closed", None),
        ErrorKind::ExpectedFlowMappingSeparator => (
            "no `,` or `}` where one was expected",
            Some("quote a text that holds `{`, `}`, `[`, `]` or `,`"),
        ),
        ErrorKind::ExpectedFlowSequenceSeparator => (
            "no `,` or `]` where one was expected",
            Some("quote a text that holds `{`, `}`, `[`, `]` or `,`"),
        ),
        ErrorKind::RecursionLimitExceeded => ("nested too deep", None),
        ErrorKind::UnexpectedCharacter { character } => {
            return (
                format!("{character:?} begins no value in YAML"),
                Some("quote a text that begins with it"),
            );
        }
        other => return (other.to_string(), None),
    };
    (message.to_owned(), help)
}
