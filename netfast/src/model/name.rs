//! Names given by users.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name of a network, namespace, endpoint or policy: an RFC 1123 label or subdomain, that is lower-case letters,
/// digits, `-` and `.`, starting and ending with a letter or digit, at most 253 characters. It is safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters.
    #[error("a name may not be empty")]
    Empty,
    /// It is longer than 253 characters.
    #[error("a name has at most 253 characters, this one has {0}")]
    Long(usize),
    /// It holds a character that names do not have.
    #[error(
        "{0:?} is not a name: use lower-case letters, digits, '-' and '.', starting and ending with a letter or digit"
    )]
    Characters(String),
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > 253 {
            return Err(NameError::Long(text.len()));
        }
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let label = |l: &str| {
            l.starts_with(alphanumeric)
                && l.ends_with(alphanumeric)
                && l.chars().all(|c| alphanumeric(c) || c == '-')
        };
        if text.split('.').all(label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Characters(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_file_names() {
        for good in ["web", "web-1", "a.b", "0"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a..b", "a/b", "Web", "-a", "a-", "a b", "ä"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
