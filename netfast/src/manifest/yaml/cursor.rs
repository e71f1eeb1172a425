//! A node, the path that leads to it, and reading it as what it should be.

use super::node::{Entry, Node, Plain, Pos, Value};
use super::report::{Report, show};
use crate::manifest::text::TextError;

/// A node and the path that leads to it, like `spec.ingress[0].from`.
#[derive(Clone, Debug)]
pub(in crate::manifest) struct Cursor<'a> {
    pub(in crate::manifest) node: &'a Node,
    pub(in crate::manifest) path: String,
    /// Where its key stands; the node itself where it has none.
    pub(in crate::manifest) key_at: Pos,
}

impl<'a> Cursor<'a> {
    pub(in crate::manifest) fn root(node: &'a Node) -> Self {
        Self { node, path: String::new(), key_at: node.at }
    }

    pub(in crate::manifest) fn at(&self) -> Pos {
        self.node.at
    }

    /// The value of one key of this mapping.
    pub(in crate::manifest) fn child(&self, entry: &'a Entry) -> Self {
        Self { node: &entry.value, path: join(&self.path, &entry.key), key_at: entry.key_at }
    }

    /// The value of a field of this mapping, whatever else is in it.
    pub(in crate::manifest) fn peek(&self, field: &str) -> Option<Self> {
        let Value::Map(entries) = &self.node.value else { return None };
        entries
            .iter()
            .find(|entry| entry.key == field && !entry.value.is_null())
            .map(|entry| self.child(entry))
    }

    /// Complains about this node.
    pub(in crate::manifest) fn error(&self, report: &mut Report, message: impl AsRef<str>) {
        report.error(self.at(), self.message(message));
    }

    /// Complains about this node and says what to do.
    pub(in crate::manifest) fn error_help(
        &self,
        report: &mut Report,
        message: impl AsRef<str>,
        help: impl Into<String>,
    ) {
        report.error_help(self.at(), self.message(message), help);
    }

    /// Complains about the text of this node.
    pub(in crate::manifest) fn complain(&self, report: &mut Report, error: TextError) {
        match error.help {
            Some(help) => self.error_help(report, error.message, help),
            None => self.error(report, error.message),
        }
    }

    /// Reads a text in a form of its own.
    pub(in crate::manifest) fn parse<T>(
        &self,
        report: &mut Report,
        form: impl FnOnce(&str) -> Result<T, TextError>,
    ) -> Option<T> {
        let text = self.text(report)?;
        form(text).map_err(|error| self.complain(report, error)).ok()
    }

    /// A message that begins with the path.
    pub(in crate::manifest) fn message(&self, message: impl AsRef<str>) -> String {
        let message = message.as_ref();
        if self.path.is_empty() { message.to_owned() } else { format!("{}: {message}", self.path) }
    }

    /// Whether fields may be looked for in it.
    pub(in crate::manifest) fn is_mapping_or_nothing(&self) -> bool {
        self.node.is_null() || matches!(self.node.value, Value::Map(_))
    }

    /// Whether it is a text of no length.
    pub(in crate::manifest) fn is_empty_text(&self) -> bool {
        matches!(&self.node.value, Value::Scalar { text, plain: false } if text.is_empty())
    }

    /// The items of a list; none where there is nothing.
    pub(in crate::manifest) fn items(&self, report: &mut Report) -> Vec<Self> {
        match &self.node.value {
            Value::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, node)| Cursor {
                    node,
                    path: format!("{}[{index}]", self.path),
                    key_at: node.at,
                })
                .collect(),
            _ if self.node.is_null() => Vec::new(),
            value => {
                let help = report.shape_help(self).unwrap_or_else(|| match value {
                    Value::Map(entries) => match entries.first() {
                        Some(entry) => format!("put a `-` before {}", entry.key),
                        None => "write []".to_owned(),
                    },
                    Value::Scalar { text, plain: true } if text.len() < 60 => format!("write [{text}]"),
                    Value::Scalar { text, .. } => format!("write [{}]", show(text)),
                    Value::List(_) => String::new(),
                });
                self.error_help(report, format!("`{}` is a list", self.field()), help);
                Vec::new()
            }
        }
    }

    /// The items of a list of mappings. One that stands there without its `-` is complained about, and read all the same:
    /// what is in it may be wrong too.
    pub(in crate::manifest) fn mappings(&self, report: &mut Report) -> Vec<Self> {
        let items = self.items(report);
        let is_item = matches!(&self.node.value, Value::Map(entries) if !entries.is_empty());
        if is_item { vec![self.clone()] } else { items }
    }

    /// The entries of a mapping; none where there is nothing.
    pub(in crate::manifest) fn entries(&self, report: &mut Report) -> &'a [Entry] {
        match &self.node.value {
            Value::Map(entries) => entries,
            _ if self.node.is_null() => &[],
            _ => {
                let message = format!("{} is a mapping, not {}", self.what(), self.node.kind());
                let help = report.shape_help(self).or_else(|| match &self.node.value {
                    Value::List(items) if matches!(items.first()?.value, Value::Map(_)) => {
                        Some("drop the `-`".to_owned())
                    }
                    Value::Scalar { text, plain: true } => without_space(text),
                    _ => None,
                });
                match help {
                    Some(help) => self.error_help(report, message, help),
                    None => self.error(report, message),
                }
                &[]
            }
        }
    }

    /// A text.
    pub(in crate::manifest) fn text(&self, report: &mut Report) -> Option<&'a str> {
        let Value::Scalar { text, plain } = &self.node.value else {
            // Unquoted braces are a mapping to YAML.
            self.wrong_shape(report, "a text");
            return None;
        };
        match if *plain { Plain::of(text) } else { Plain::Text } {
            Plain::Text => return Some(text),
            Plain::Null => self.error(report, format!("{} needs a text", self.what())),
            Plain::Bool | Plain::Number => {
                let message = format!("{text} is {}, not a text", self.node.kind());
                self.error_help(report, message, format!("quote it: {}", show(text)));
            }
        }
        None
    }

    /// A text or an unquoted number, as it is written.
    pub(in crate::manifest) fn text_or_number(&self, report: &mut Report) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if Plain::of(text) == Plain::Number => Some(text),
            _ => self.text(report),
        }
    }

    /// An unquoted whole number.
    pub(in crate::manifest) fn integer(&self, report: &mut Report) -> Option<i64> {
        let Value::Scalar { text, plain } = &self.node.value else {
            self.wrong_shape(report, "a number");
            return None;
        };
        if !plain {
            let message = format!("{} is a text, not a number", show(text));
            self.error_help(report, message, "drop the quotes");
            return None;
        }
        if !is_decimal(text) {
            self.error(report, format!("{} is not a whole number", show(text)));
            return None;
        }
        // Too many digits for an i64 are out of every range.
        Some(text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX }))
    }

    /// An unquoted `true` or `false`.
    pub(in crate::manifest) fn boolean(&self, report: &mut Report) -> Option<bool> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if text.eq_ignore_ascii_case("true") => return Some(true),
            Value::Scalar { text, plain: true } if text.eq_ignore_ascii_case("false") => return Some(false),
            Value::Scalar { text, plain: false } => {
                self.error_help(report, format!("{} is a text", show(text)), "write true or false, unquoted");
            }
            _ => self.error(report, format!("`{}` is true or false", self.field())),
        }
        None
    }

    /// Complains that it is a list or a mapping.
    fn wrong_shape(&self, report: &mut Report, wanted: &str) {
        let message = format!("{} is {wanted}, not {}", self.what(), self.node.kind());
        match report.shape_help(self) {
            Some(help) => self.error_help(report, message, help),
            None => self.error(report, message),
        }
    }

    /// What it is to a reader of the file.
    fn what(&self) -> String {
        let field = self.field();
        if self.is_item() { format!("an item of `{field}`") } else { format!("`{field}`") }
    }

    /// Whether it is an item of a list.
    pub(in crate::manifest) fn is_item(&self) -> bool {
        self.path.ends_with(']')
            && self
                .path
                .rsplit('[')
                .next()
                .is_some_and(|index| index.starts_with(|c: char| c.is_ascii_digit()))
    }

    /// The last field of the path, without an index.
    pub(in crate::manifest) fn field(&self) -> &str {
        let last = self.path.rsplit('.').next().unwrap_or_default();
        let last = last.split('[').next().unwrap_or_default();
        if last.is_empty() { "file" } else { last }
    }
}

/// Whether a scalar is written as a decimal whole number. Leading zeros are not: YAML 1.1 reads those as octal.
pub(in crate::manifest) fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty()
        && digits.chars().all(|c| c.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'))
}

/// `key:value` is one text to YAML.
fn without_space(text: &str) -> Option<String> {
    let (key, value) = text.split_once(':')?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    (is_key && text.len() < 60 && !text.contains(char::is_whitespace))
        .then(|| format!("put a space after the colon: {key}: {value}"))
}

/// The path of a key under a path. Label keys hold dots and slashes.
fn join(path: &str, key: &str) -> String {
    let key = if key.chars().count() > 64 { key.chars().take(64).collect() } else { key.to_owned() };
    if key.contains(['.', '/', '[', ' ']) {
        format!("{path}[{key}]")
    } else if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}
