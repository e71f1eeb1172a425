//! `netfast policy`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::options::{Format, FormatArgs};
use super::output;
use crate::manifest::{self, Diagnostic, Severity};

/// Look at policies.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Find every mistake in files of Kubernetes network policies, without applying anything.
    ///
    /// Exits with 0 if there is none (warnings are none), 1 if there are, 2 if a file cannot be read.
    Check {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        format: FormatArgs,
    },
}

impl Policy {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let Self::Check { files, format } = self;
        let (diagnostics, summary) = match manifest::load_policies(files) {
            Ok((policies, _, warnings)) => {
                let count = policies.len();
                (warnings, format!("{count} {}, no errors", if count == 1 { "policy" } else { "policies" }))
            }
            Err(diagnostics) => {
                let summary = diagnostics.summary();
                (diagnostics.0, summary)
            }
        };
        output::show(format.format, &diagnostics, || text(&diagnostics))?;
        if format.format == Format::Table {
            output::line(&summary)?;
        }
        Ok(ExitCode::from(code(&diagnostics)))
    }

    pub(super) fn what(&self) -> String {
        let Self::Check { .. } = self;
        "policy check".to_owned()
    }
}

/// A file that cannot be read, which is complained of as a whole, is another matter than one with mistakes.
fn code(diagnostics: &[Diagnostic]) -> u8 {
    let is_unreadable = |d: &&Diagnostic| d.line == 0 && d.message.starts_with("cannot read");
    let errors: Vec<_> = diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
    match errors.as_slice() {
        [] => 0,
        errors if errors.iter().copied().any(|d| is_unreadable(&d)) => 2,
        _ => 1,
    }
}

fn text(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{severity}: {diagnostic:#}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_unreadable_files_from_mistakes() {
        let directory = tempfile::tempdir().unwrap();
        let check = |name: &str, content: Option<&str>| {
            let file = directory.path().join(name);
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            match manifest::load_policies(&[file]) {
                Ok((_, _, warnings)) => code(&warnings),
                Err(diagnostics) => code(&diagnostics.0),
            }
        };
        let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\n";
        assert_eq!(check("good.yaml", Some(policy)), 0);
        assert_eq!(check("bad.yaml", Some("kind: NetworkPolicy\n")), 1);
        assert_eq!(check("absent.yaml", None), 2);
    }
}
