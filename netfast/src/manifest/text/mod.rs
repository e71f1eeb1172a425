//! Forms that are one text, in files and on the command line alike.

pub mod cidr;
pub(super) mod label;
pub(super) mod mac;
pub mod name;
pub mod netns;
pub mod port;
pub mod publish;
pub mod words;

use std::fmt;

/// Why a text is not what it should be, and what to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub help: Option<String>,
}

impl TextError {
    /// An error without advice.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// An error with advice.
    pub fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TextError {}
