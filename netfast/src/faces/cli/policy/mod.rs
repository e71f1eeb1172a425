//! `netfast policy`.

mod asked;
mod explain;
mod ls;
mod matrix;
#[cfg(test)]
mod testing;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Subcommand;

use super::options::{Format, FormatArgs};
use super::{output, root};
use crate::manifest::{self, Diagnostic, Severity};
use crate::reconcile::instance::{Instance, Options};

const APPLY_EXAMPLES: &str = "\
Examples:
  netfast policy apply web.yaml db.yaml   these are the policies now, all others are gone
  netfast policy check web.yaml           look first

The next `netfast up` reads netfast.yaml and the policies it names again, and puts those in force.";

/// Check policies, put them in force, and ask what they mean.
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
    /// Put the policies of files in force, in the place of all that are: all of them, or nothing changes.
    ///
    /// The first packet after this follows them. Labels of the namespaces in the files are put in force too; other
    /// namespaces keep theirs. Exits as `policy check` does where the files have mistakes.
    #[command(after_help = APPLY_EXAMPLES)]
    Apply {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    Ls(ls::Ls),
    Explain(explain::Explain),
    Matrix(matrix::Matrix),
}

impl Policy {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        match self {
            Self::Check { files, format } => check(files, *format),
            Self::Apply { files } => apply(files, options),
            Self::Ls(command) => command.run(options),
            Self::Explain(command) => command.run(options),
            Self::Matrix(command) => command.run(options),
        }
    }

    pub(super) fn what(&self) -> String {
        match self {
            Self::Check { .. } => "policy check",
            Self::Apply { .. } => "policy apply",
            Self::Ls(_) => "policy ls",
            Self::Explain(_) => "policy explain",
            Self::Matrix(_) => "policy matrix",
        }
        .to_owned()
    }
}

fn check(files: &[PathBuf], format: FormatArgs) -> Result<ExitCode> {
    let (diagnostics, summary) = match manifest::load_policies(files) {
        Ok((policies, _, warnings)) => (warnings, format!("{}, no errors", counted(policies.len()))),
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

fn apply(files: &[PathBuf], options: &Options) -> Result<ExitCode> {
    root::need()?;
    let (policies, namespaces, mut warnings) = match manifest::load_policies(files) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            let summary = diagnostics.summary();
            output::complain(&format!("{}{summary}, nothing was changed", text(&diagnostics.0)));
            return Ok(ExitCode::from(code(&diagnostics.0)));
        }
    };
    let count = policies.len();
    Instance::open(options)?.change(|definitions| {
        ensure!(!definitions.world.networks.is_empty(), "nothing is up (netfast up -f FILE brings it up)");
        definitions.world.namespaces.extend(namespaces);
        definitions.world.policies = policies;
        warnings.extend(manifest::unused_policies(&definitions.world));
        Ok(())
    })?;
    if !warnings.is_empty() {
        output::complain(text(&warnings).trim_end());
    }
    output::line(&format!("{} in force", counted(count)))?;
    Ok(ExitCode::SUCCESS)
}

fn counted(policies: usize) -> String {
    if policies == 1 { "1 policy".to_owned() } else { format!("{policies} policies") }
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
