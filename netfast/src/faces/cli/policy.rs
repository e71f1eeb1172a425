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
        Ok(ExitCode::from(code(&diagnostics, files)))
    }

    pub(super) fn what(&self) -> String {
        let Self::Check { .. } = self;
        "policy check".to_owned()
    }
}

/// A file that is not there or not text is another matter than one with mistakes.
fn code(diagnostics: &[Diagnostic], files: &[PathBuf]) -> u8 {
    let has_errors = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    match has_errors {
        false => 0,
        true if files.iter().any(|file| std::fs::read_to_string(file).is_err()) => 2,
        true => 1,
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
