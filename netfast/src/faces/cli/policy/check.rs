//! `netfast policy check`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::super::options::{Format, FormatArgs};
use super::super::output;
use super::counted;
use crate::manifest::{self, Code, Diagnostic, Diagnostics, LoadedPolicies, Severity};
use crate::model::World;
use crate::model::lint::Known;

const EXAMPLES: &str = "\
Examples:
  netfast policy check web.yaml db.yaml     mistakes, and what is allowed but surely not meant
  netfast policy check policies/            every .yaml, .yml and .json file of a directory
  netfast policy check -f netfast.yaml      with the policies it names, against its endpoints
  kubectl get netpol -o yaml | netfast policy check -
  netfast policy check --deny-warnings -o json policies/    in CI";

/// Find every mistake in files of Kubernetes network policies, without applying anything.
///
/// Warnings are about what is allowed but surely not meant: rules that add nothing, an egress policy without a way to ask
/// for names. With -f they also tell policies and peers that match no endpoint, and names of ports that nobody uses.
///
/// Exits with 0 if there is no mistake (with --deny-warnings: no warning either), 1 if there is, 2 if a file cannot be read
/// or holds nothing.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::faces::cli) struct Check {
    /// The files, directories of files, or - for standard input.
    #[arg(required_unless_present = "topology", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The netfast.yaml whose endpoints the policies are for; those that it names are checked too.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Exit with 1 where there are warnings, too.
    #[arg(long)]
    deny_warnings: bool,
    #[command(flatten)]
    format: FormatArgs,
}

impl Check {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let (diagnostics, summary) = match self.read() {
            Ok((policies, warnings)) => {
                let summary = format!("{}, no errors{}", counted(policies), and_warnings(warnings.len()));
                (warnings, summary)
            }
            Err(diagnostics) => {
                let summary = diagnostics.summary();
                (diagnostics.0, summary)
            }
        };
        let format = self.format.format;
        output::show(format, &diagnostics, || text(&diagnostics))?;
        if format == Format::Table {
            output::line(&summary)?;
        }
        Ok(ExitCode::from(code(&diagnostics, self.deny_warnings)))
    }

    /// How many policies there are, and what is to be said about them.
    fn read(&self) -> Result<(usize, Vec<Diagnostic>), Diagnostics> {
        if let Some(topology) = &self.topology {
            let loaded = manifest::load(topology, &self.files)?;
            let World { policies, cluster_policies, .. } = &loaded.world;
            return Ok((policies.len() + cluster_policies.len(), loaded.warnings));
        }
        let loaded = manifest::load_policies(&self.files)?;
        let count = loaded.count();
        let LoadedPolicies { policies, cluster_policies, namespaces, mut warnings } = loaded;
        let world = World { namespaces, policies, cluster_policies, ..World::default() };
        warnings.extend(manifest::lint(&world, Known::Policies));
        warnings.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        Ok((count, warnings))
    }
}

fn and_warnings(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        count => format!(", {count} warnings"),
    }
}

/// A file that cannot be read is another matter than one with mistakes.
pub(super) fn code(diagnostics: &[Diagnostic], deny_warnings: bool) -> u8 {
    let denied = |d: &Diagnostic| deny_warnings || d.severity == Severity::Error;
    if diagnostics.iter().any(|d| d.code == Code::Unreadable) {
        2
    } else {
        u8::from(diagnostics.iter().any(denied))
    }
}

/// Complaints with the lines that they are about.
pub(super) fn text(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {diagnostic:#}", diagnostic.label());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\n";

    /// Checks a file of this content, or none.
    fn check(content: Option<&str>, deny_warnings: bool) -> (u8, Vec<Diagnostic>) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.yaml");
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let check = Check {
            files: vec![file],
            topology: None,
            deny_warnings,
            format: FormatArgs { format: Format::Table },
        };
        let found = check.read().map_or_else(|errors| errors.0, |(_, warnings)| warnings);
        (code(&found, deny_warnings), found)
    }

    #[test]
    fn the_exit_code_tells_unreadable_files_from_mistakes() {
        let with_warning = format!("{POLICY}spec: {{egress: []}}\n");
        let template = POLICY.replace("{name: a}", "{{ x }}");
        for (content, deny_warnings, wanted) in [
            (Some(POLICY), true, 0),
            (Some(with_warning.as_str()), false, 0),
            (Some(with_warning.as_str()), true, 1),
            (Some("kind: NetworkPolicy\n"), false, 1),
            (Some(template.as_str()), false, 1),
            (Some(""), false, 2),
            (Some("# nothing\n---\n"), false, 2),
            (Some("apiVersion: v1\nkind: List\nitems: []\n"), false, 2),
            (Some("a\0b"), false, 2),
            (None, false, 2),
        ] {
            assert_eq!(check(content, deny_warnings).0, wanted, "{content:?}");
        }
    }

    #[test]
    fn complaints_are_printed_with_their_line_and_warnings_with_their_name() {
        let (_, mut found) = check(Some(&format!("{POLICY}spec: {{egress: []}}\n")), false);
        found[0].file = "p.yaml".to_owned();
        assert_eq!(
            text(&found),
            "warning[default-leaves-egress]: p.yaml:4:8: spec.egress: without policyTypes this does not close egress (add \
             policyTypes: [Egress])\n    spec: {egress: []}\n           ^\n"
        );
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{
                "file": "p.yaml",
                "line": 4,
                "column": 8,
                "message": "spec.egress: without policyTypes this does not close egress",
                "help": "add policyTypes: [Egress]",
                "severity": "warning",
                "code": "default-leaves-egress",
            }])
        );
    }
}
