//! Says in plain words why a text is not YAML.

use granit_parser::{ErrorKind, ScanError};

use super::Stop;
use super::node::Pos;
use super::report::Report;

/// So many lines before an error are looked at for its cause.
const MAX_LINES: usize = 2_000;

/// Reports an error of the parser at a place of the file.
pub(super) fn explain(error: &ScanError, at: Pos, report: &mut Report) -> Stop {
    let stop = Stop { line: at.line };
    let lines = Lines::before(at, report);
    if let Some(template) = lines.template() {
        report.error(template, "a template: render it first");
        return stop;
    }
    if let Some(tab) = lines.tab(at, error.kind()) {
        report.error(tab, "a tab; YAML indents with spaces");
        return stop;
    }
    if let Some((open, bracket)) = lines.open_bracket(at).filter(|_| is_of_brackets(error.kind())) {
        report.error(open, format!("a `{bracket}` that is never closed"));
        return Stop { line: open.line };
    }
    if let Some((key, help)) = lines.colon(at).filter(|_| is_of_colons(error.kind())) {
        report.error_help(key, "a key without a colon and a space", help);
        return stop;
    }
    if let Some((message, help)) = lines.indentation(at).filter(|_| is_of_indentation(error.kind())) {
        report.error_help(at, message, help);
        return stop;
    }
    let (message, help) = words(error.kind());
    match help {
        Some(help) => report.error_help(at, message, help),
        None => report.error(at, message),
    }
    stop
}

const fn is_of_brackets(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ExpectedFlowMappingSeparator
            | ErrorKind::ExpectedFlowSequenceSeparator
            | ErrorKind::InvalidColonPlacement
            | ErrorKind::InvalidIndentation
            | ErrorKind::UnclosedFlowCollection { .. }
            | ErrorKind::UnexpectedEofFlowMapping
            | ErrorKind::UnexpectedEofFlowSequence
    )
}

const fn is_of_colons(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::MappingValueNotAllowed | ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey
    )
}

const fn is_of_indentation(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ExpectedBlockMappingKey
            | ErrorKind::ExpectedBlockSequenceEntry
            | ErrorKind::BlockSequenceEntryNotAllowed
            | ErrorKind::MappingValueNotAllowed
            | ErrorKind::InvalidIndentation
    )
}

const fn is_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar
    )
}

/// The lines of the document that an error is in, up to the line behind it.
struct Lines {
    /// Number of the first.
    first: u32,
    lines: Vec<String>,
}

impl Lines {
    fn before(at: Pos, report: &Report) -> Self {
        let end = usize::try_from(at.line).unwrap_or(usize::MAX).saturating_add(1);
        let start = end.saturating_sub(MAX_LINES);
        let mut lines: Vec<String> = Vec::new();
        let mut first = start;
        for (index, line) in report.lines().enumerate().take(end).skip(start) {
            // The error may stand in a `---` itself.
            if line.starts_with("---") && index + 1 < end {
                lines.clear();
                first = index;
            }
            lines.push(line.to_owned());
        }
        Self { first: u32::try_from(first + 1).unwrap_or(u32::MAX), lines }
    }

    fn get(&self, line: u32) -> Option<&str> {
        let index = usize::try_from(line.checked_sub(self.first)?).ok()?;
        self.lines.get(index).map(String::as_str)
    }

    fn pos(&self, index: usize, column: usize) -> Pos {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Pos { line: self.first.saturating_add(number(index)), column: number(column + 1) }
    }

    /// A line that only a template has. What is behind it may be anything.
    fn template(&self) -> Option<Pos> {
        let (index, line) = self.lines.iter().enumerate().find(|(_, line)| {
            let text = line.trim_start();
            text.starts_with("{{") || text.starts_with("{%")
        })?;
        Some(self.pos(index, indent(line)))
    }

    /// A tab in the indentation of the line of an error, or of the line before: the parser may notice it late. A plain
    /// text is taken to go on in the next line, so that a tab there is noticed early.
    fn tab(&self, at: Pos, kind: &ErrorKind) -> Option<Pos> {
        let next = is_tab(kind).then_some(at.line + 1);
        [Some(at.line), at.line.checked_sub(1), next].into_iter().flatten().find_map(|line| {
            let text = self.get(line)?;
            let indent: String = text.chars().take_while(|c| c.is_whitespace()).collect();
            let column = indent.chars().position(|c| c == '\t')?;
            Some(Pos { line, column: u32::try_from(column + 1).ok()? })
        })
    }

    /// The innermost bracket that is open before an error, if it stands in an earlier line.
    fn open_bracket(&self, at: Pos) -> Option<(Pos, char)> {
        let mut open: Vec<(Pos, char)> = Vec::new();
        let mut quote = None;
        for (index, line) in self.lines.iter().enumerate() {
            if self.pos(index, 0).line >= at.line {
                break;
            }
            let mut before = ' ';
            for (column, c) in line.chars().enumerate() {
                match (quote, c) {
                    (Some(q), c) if q == c && before != '\\' => quote = None,
                    (None, '#') if before.is_whitespace() => break,
                    (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(c),
                    (None, '[' | '{') if !open.is_empty() || !before.is_alphanumeric() => {
                        open.push((self.pos(index, column), c));
                    }
                    (None, ']' | '}') => {
                        open.pop();
                    }
                    _ => {}
                }
                before = c;
            }
        }
        open.pop()
    }

    /// A key without a colon, in the line of an error or in the last line before it: YAML takes it for the beginning of a
    /// text of several lines, and stumbles over the next colon. What to write comes with it.
    fn colon(&self, at: Pos) -> Option<(Pos, String)> {
        let here = self.index(at)?;
        let before = (0..here).rev().find(|index| !is_idle(&self.lines[*index]));
        [before, Some(here)].into_iter().flatten().find_map(|index| {
            let line = &self.lines[index];
            let word = line.trim_start().trim_start_matches("- ").trim();
            let column = line.chars().count() - line.trim_start().trim_start_matches("- ").chars().count();
            if !word.starts_with(char::is_alphabetic) || word.contains(": ") || word.ends_with(':') {
                return None;
            }
            let help = match word.split_once(':') {
                Some((key, value)) => format!("write {key}: {value}"),
                None => match word.split_once(' ') {
                    Some((key, value)) => format!("write {key}: {value}"),
                    None => format!("write {word}:"),
                },
            };
            (word.len() < 80).then(|| (self.pos(index, column), help))
        })
    }

    /// What is wrong with the indentation of the line of an error, if it is of no use.
    fn indentation(&self, at: Pos) -> Option<(String, String)> {
        let here = self.index(at)?;
        let line = &self.lines[here];
        let own = indent(line);
        let before: String = line.chars().take(usize::try_from(at.column).ok()?.saturating_sub(1)).collect();
        if before.contains(|c| c != ' ' && c != '-') {
            return None;
        }
        let columns = self.columns(here);
        let help = "what belongs together stands below each other".to_owned();
        if !columns.contains(&own) {
            let spaces = if own == 1 { "1 space".to_owned() } else { format!("{own} spaces") };
            let fitting: Vec<String> = columns.iter().map(ToString::to_string).collect();
            let fitting = match fitting.split_last() {
                Some((last, [])) => last.clone(),
                Some((last, others)) => format!("{} or {last}", others.join(", ")),
                None => return None,
            };
            return Some((
                format!("the indentation fits nothing above: {spaces}, where {fitting} would"),
                help,
            ));
        }
        line[own..].starts_with("- ").then(|| {
            let message = "a `-` between the fields of a mapping".to_owned();
            (message, "drop it, or check the indentation".to_owned())
        })
    }

    /// The columns, from 0, where a line may begin that comes at `index`, if it begins no deeper than the line before.
    fn columns(&self, index: usize) -> Vec<usize> {
        let mut columns = Vec::new();
        let mut least = usize::MAX;
        for line in self.lines[..index].iter().rev().filter(|line| !is_idle(line)) {
            let own = indent(line);
            if own >= least {
                continue;
            }
            least = own;
            columns.push(own);
            let text = &line[own..];
            let inner = text.trim_start_matches(['-', ' ']);
            if text.starts_with("- ") && inner.contains(':') {
                columns.push(own + text.len() - inner.len());
            }
            if own == 0 {
                break;
            }
        }
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    fn index(&self, at: Pos) -> Option<usize> {
        let index = usize::try_from(at.line.checked_sub(self.first)?).ok()?;
        (index < self.lines.len()).then_some(index)
    }
}

/// How many spaces a line begins with.
fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Whether a line says nothing.
fn is_idle(line: &str) -> bool {
    let text = line.trim();
    text.is_empty() || text.starts_with('#') || text == "---"
}

fn words(kind: &ErrorKind) -> (String, Option<&'static str>) {
    let (message, help) = match kind {
        kind if is_tab(kind) => ("a tab; YAML indents with spaces", None),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            ("a key without a colon and a space", Some("write `key: value`"))
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
        ErrorKind::MisplacedFlowCollectionEnd => ("a bracket that closes nothing", Some("drop it")),
        ErrorKind::InvalidColonPlacement => {
            ("a `:` where none can be", Some("quote a text that holds it, or check the brackets above"))
        }
        ErrorKind::MissingAnchorOrAliasName => {
            ("a `*` or `&` without a name", Some("quote a text that begins with it"))
        }
        ErrorKind::UnknownAnchor => ("an alias to nothing", Some("quote a text that begins with `*`")),
        ErrorKind::UnexpectedEofFlowSequence => ("a `[` that is never closed", None),
        ErrorKind::UnexpectedEofFlowMapping => ("a `{` that is never closed", None),
        ErrorKind::UnclosedFlowCollection { open } => {
            return (format!("a `{open}` that is never closed"), None);
        }
        ErrorKind::UnclosedQuotedScalar => ("a quote that is never closed", None),
        ErrorKind::ExpectedFlowMappingSeparator => (
            "no `,` or `}` where one was expected",
            Some("quote a text that holds `{`, `}`, `[`, `]` or `,`, or ends with `:`"),
        ),
        ErrorKind::ExpectedFlowSequenceSeparator => (
            "no `,` or `]` where one was expected",
            Some("quote a text that holds `{`, `}`, `[`, `]` or `,`, or ends with `:`"),
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
