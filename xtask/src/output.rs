//! The only place that prints.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};

/// A plain line on standard output. A reader that has gone away is not an error: there is still to tidy up.
pub(crate) fn line(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
    drop(io::stdout().flush());
}

/// A line that begins something.
pub(crate) fn heading(text: &str) {
    line(&paint(text, "1"));
}

/// A line that matters less.
pub(crate) fn dim(text: &str) {
    line(&paint(text, "2"));
}

/// What went wrong.
pub(crate) fn error(text: &str) {
    drop(writeln!(io::stderr(), "xtask: {text}"));
}

/// `text` in green.
pub(crate) fn good(text: &str) -> String {
    paint(text, "32")
}

/// `text` in red.
pub(crate) fn bad(text: &str) -> String {
    paint(text, "31")
}

/// Whether somebody is watching.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

fn paint(text: &str, code: &str) -> String {
    if is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
