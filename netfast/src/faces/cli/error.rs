//! Failures in words: one line, `netfast: what failed: why (what to try)`.

use std::fmt::Write as _;

use anyhow::Error;

use crate::manifest::Diagnostics;
use crate::net::ExecError;

/// The lines that tell a failure: one, or one for each complaint about files. With `chain` also everything that led
/// to it, word for word.
pub(super) fn render(error: &Error, chain: bool) -> String {
    let mut lines = match find::<Diagnostics>(error) {
        Some(diagnostics) => diagnostics.to_string(),
        None => one_line(error),
    };
    if chain {
        for (number, cause) in error.chain().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(lines, "\n  {number}: {cause}");
        }
    }
    lines
}

/// A question that has no answer. Its exit code is another one than that of a "no".
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct NoAnswer(pub(super) Error);

/// The exit code for a failure.
pub(super) fn exit_code(error: &Error) -> u8 {
    if find::<NoAnswer>(error).is_some() {
        return 2;
    }
    find::<ExecError>(error).map_or(1, ExecError::exit_code)
}

fn find<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

fn one_line(error: &Error) -> String {
    let mut line = "netfast".to_owned();
    for cause in error.chain() {
        let cause = flat(&cause.to_string());
        // Many errors tell their cause themselves.
        if !line.ends_with(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

/// A text in one line, without the numbers of errors of the system.
fn flat(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    without_numbers(&lines.join("; "))
}

fn without_numbers(text: &str) -> String {
    const BEFORE: &str = " (os error ";
    let mut rest = text;
    let mut kept = String::new();
    while let Some(start) = rest.find(BEFORE) {
        let after = &rest[start + BEFORE.len()..];
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        match after[digits..].strip_prefix(')') {
            Some(remainder) if digits > 0 => {
                kept.push_str(&rest[..start]);
                rest = remainder;
            }
            _ => {
                kept.push_str(&rest[..start + BEFORE.len()]);
                rest = after;
            }
        }
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::{Context as _, anyhow};

    use super::*;
    use crate::manifest::Diagnostic;

    #[test]
    fn a_failure_is_one_line_that_says_everything_once() {
        let cause = crate::net::Error::System {
            operation: "open network namespace",
            object: "/run/netns/blue".to_owned(),
            source: io::Error::from_raw_os_error(2),
        };
        let error = Error::from(cause).context("exec web");
        assert_eq!(
            render(&error, false),
            "netfast: exec web: open network namespace /run/netns/blue: No such file or directory"
        );
        let error = anyhow!("one\n  two\n").context("load");
        assert_eq!(render(&error, false), "netfast: load: one; two");
    }

    #[test]
    fn the_chain_is_told_on_demand() {
        let error = Err::<(), _>(io::Error::from_raw_os_error(13)).context("read /x").unwrap_err();
        assert_eq!(
            render(&error, true),
            "netfast: read /x: Permission denied\n  0: read /x\n  1: Permission denied (os error 13)"
        );
    }

    #[test]
    fn complaints_about_files_have_a_line_each() {
        let of = |file: &str| Diagnostic::of_file(file, "bad", Some("be good".to_owned()));
        let error = Error::from(Diagnostics(vec![of("a.yaml"), of("b.yaml")])).context("up");
        assert_eq!(render(&error, false), "a.yaml: bad (be good)\nb.yaml: bad (be good)");
        assert_eq!(exit_code(&error), 1);
    }

    #[test]
    fn what_cannot_be_answered_is_told_from_a_no() {
        let complaints = Diagnostics(vec![Diagnostic::of_file("a.yaml", "bad", None)]);
        let error =
            Error::from(NoAnswer(Error::from(complaints).context("read files"))).context("policy explain");
        assert_eq!((render(&error, false).as_str(), exit_code(&error)), ("a.yaml: bad", 2));
        let error = Error::from(NoAnswer(anyhow!("no endpoint is called x"))).context("policy explain");
        assert_eq!(render(&error, false), "netfast: policy explain: no endpoint is called x");
    }

    #[test]
    fn the_code_of_a_command_that_cannot_be_executed_is_that_of_shells() {
        for (kind, code) in [(io::ErrorKind::NotFound, 127), (io::ErrorKind::PermissionDenied, 126)] {
            let error = ExecError::Command { command: "x".to_owned(), source: kind.into() };
            assert_eq!(exit_code(&Error::from(error).context("exec web")), code);
        }
    }

    #[test]
    fn only_numbers_of_errors_are_left_out() {
        for (text, wanted) in [
            ("a (os error 2), b (os error 13)", "a, b"),
            ("a (os error two)", "a (os error two)"),
            ("a (os error )", "a (os error )"),
            ("a (os error 2", "a (os error 2"),
        ] {
            assert_eq!(without_numbers(text), wanted);
        }
    }
}
