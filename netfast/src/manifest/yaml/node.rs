//! YAML values that know where they stand.

/// A place in a file, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::manifest) struct Pos {
    pub(in crate::manifest) line: u32,
    pub(in crate::manifest) column: u32,
}

impl Pos {
    /// The first character of a file.
    pub(in crate::manifest) const START: Self = Self { line: 1, column: 1 };
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(in crate::manifest) struct Node {
    pub(in crate::manifest) at: Pos,
    pub(in crate::manifest) value: Value,
}

/// A value.
#[derive(Clone, Debug)]
pub(in crate::manifest) enum Value {
    /// `plain`: written without quotes, so that `80` and `true` are not text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping, which holds no key twice.
#[derive(Clone, Debug)]
pub(in crate::manifest) struct Entry {
    pub(in crate::manifest) key: String,
    pub(in crate::manifest) key_at: Pos,
    pub(in crate::manifest) value: Node,
}

/// What YAML takes an unquoted scalar for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manifest) enum Plain {
    Null,
    Bool,
    Number,
    Text,
}

impl Node {
    pub(in crate::manifest) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if Plain::of(text) == Plain::Null)
    }

    /// What it is, with an article.
    pub(in crate::manifest) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { text, plain: true } => match Plain::of(text) {
                Plain::Null => "nothing",
                Plain::Bool => "a truth value",
                Plain::Number => "a number",
                Plain::Text => "a text",
            },
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

impl Plain {
    pub(in crate::manifest) fn of(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Self::Bool,
            _ if is_number(text) => Self::Number,
            _ => Self::Text,
        }
    }
}

/// Whether YAML 1.1 or 1.2 reads a number here.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let based = |prefix: &str, radix: u32| {
        digits
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix) || c == '_'))
    };
    if based("0x", 16) || based("0o", 8) || based("0b", 2) {
        return true;
    }
    // The characters first: Rust also reads "inf" and "nan" as floats, YAML does not.
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-' | '_'))
        && digits.replace('_', "").parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unquoted_scalars_are_told_apart() {
        for (text, wanted) in [
            ("", Plain::Null),
            ("null", Plain::Null),
            ("True", Plain::Bool),
            ("yes", Plain::Text),
            ("80", Plain::Number),
            ("-1", Plain::Number),
            ("0x50", Plain::Number),
            ("1.5", Plain::Number),
            ("1e3", Plain::Number),
            ("1_000", Plain::Number),
            (".inf", Plain::Number),
            ("inf", Plain::Text),
            ("1.2.3", Plain::Text),
            ("8080:80", Plain::Text),
            ("8000-8010", Plain::Text),
            ("10.0.0.0/8", Plain::Text),
            ("-", Plain::Text),
            (".", Plain::Text),
        ] {
            assert_eq!(Plain::of(text), wanted, "{text}");
        }
    }
}
