//! `netfast doctor`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::options::FormatArgs;
use super::output;
use super::table::Table;
use crate::reconcile::doctor::{Report, State, examine};
use crate::reconcile::instance::Options;

/// Check what this host offers: what is there, what is missing, and what netfast does without it.
///
/// Features are tried, not guessed from the kernel's version, in namespaces that are gone afterwards: nothing of the
/// host is changed, except that the kernel may load modules for bridges, veths and filters. Exits with 0 if netfast can run here, with 1 if not.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    #[command(flatten)]
    format: FormatArgs,
}

impl Doctor {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        let report = examine(options);
        output::show(self.format.format, &report, || text(&report))?;
        Ok(if report.usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn text(report: &Report) -> String {
    let mut table = Table::new(["STATE", "CHECK", "SINCE", "WHAT"]);
    for check in &report.checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Missing => "missing",
            State::Note => "note",
        };
        table.row([
            state.to_owned(),
            check.name.to_owned(),
            check.since.unwrap_or_default().to_owned(),
            check.what.clone(),
        ]);
    }
    let needed = report.checks.iter().filter(|check| check.needed && check.state == State::Missing);
    let needed: Vec<_> = needed.map(|check| check.name).collect();
    let verdict = if report.usable {
        "netfast can run here".to_owned()
    } else {
        format!("netfast cannot run here; what is missing: {}", needed.join(", "))
    };
    format!("{}\n{verdict}\n", table.render(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::doctor::Check;

    fn check(name: &'static str, state: State, needed: bool) -> Check {
        Check { name, state, needed, since: Some("6.6"), what: "why".to_owned() }
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        let mut report = Report { usable: true, checks: vec![check("tcx", State::Missing, false)] };
        assert_eq!(
            text(&report),
            "STATE    CHECK  SINCE  WHAT\nmissing  tcx    6.6    why\n\nnetfast can run here\n"
        );
        report.checks.push(check("btf", State::Missing, true));
        report.usable = false;
        assert!(text(&report).ends_with("\nnetfast cannot run here; what is missing: btf\n"));
    }
}
