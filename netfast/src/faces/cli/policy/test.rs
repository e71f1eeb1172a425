//! `netfast policy test`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::super::options::FormatArgs;
use super::super::{output, root};
use crate::cases::report::Totals;
use crate::cases::{CaseReport, Outcome, Pattern, ProbeReport, Report, groups, judge, live};
use crate::manifest::cases::{Case, load_cases};
use crate::reconcile::instance::Options;

/// A file that cannot be read, or has mistakes.
const UNREADABLE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  netfast policy test cases/*.yaml             judge every probe of every case
  netfast policy test -k dns cases/*.yaml      only cases whose id holds `dns`
  netfast policy test -k 'web-*' cases.yaml    only cases whose whole id fits
  netfast policy test -o json cases.yaml       for programs
  sudo netfast policy test --live cases.yaml   build every case, and send packets

A case is a small world, its policies, and connections with what should become of them:

  id: only-web-reaches-db
  endpoints:
  - {name: web, labels: {app: web}}
  - {name: db, labels: {app: db}, ports: [5432]}
  - {name: other}
  policies: [{file: db.yaml}]
  probes:
  - {from: default/web, to: default/db, port: 5432, expect: allow}
  - {from: default/other, to: default/db, port: 5432, expect: deny}";

/// Run unit tests of network policies: cases of who may reach whom.
///
/// Nothing is applied, nothing need be up, and (without --live) root is not needed: the policies of each case are
/// compiled, and asked as the kernel asks them. What is counted are probes; a case that cannot be judged at all counts as one. Exits with 0
/// if every probe came to what its case expects, 1 if one did not or there was none, 2 if a file cannot be read or has
/// mistakes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::faces::cli) struct Test {
    /// Files of cases (netpol-cases/1), in YAML or JSON.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only cases whose id holds this text; with `*`, `?` or `[...]`, those whose whole id fits it. May be repeated.
    #[arg(short = 'k', value_name = "PATTERN")]
    patterns: Vec<Pattern>,
    /// Fail if anything was skipped, too.
    #[arg(long)]
    strict: bool,
    /// Build each case in network namespaces of its own, and send packets. Needs root.
    ///
    /// What is sent are the probes that a case names in `smoke`; only those are counted. Where the kernel and the
    /// compiled policies do not agree, the probe has failed whatever its case expects.
    #[arg(long)]
    live: bool,
    /// With --live, send every probe.
    #[arg(long, requires = "live")]
    all: bool,
    #[command(flatten)]
    format: FormatArgs,
}

impl Test {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        let (mut cases, warnings) = match load_cases(&self.files) {
            Ok(loaded) => loaded,
            Err(diagnostics) => {
                output::complain(&format!("{}{}", super::text(&diagnostics.0), diagnostics.summary()));
                return Ok(ExitCode::from(UNREADABLE));
            }
        };
        if !warnings.is_empty() {
            output::complain(super::text(&warnings).trim_end());
        }
        cases.retain(|case| self.selects(case));
        let groups = groups(&cases);
        let reports = if self.live {
            root::need()?;
            live::run(&groups, &live::Settings { all: self.all, cgroup: options.paths.cgroup.clone() })?
        } else {
            groups.iter().flat_map(judge).collect()
        };
        let report = Report::new(reports);
        output::show(self.format.format, &report, || text(&report))?;
        Ok(ExitCode::from(code(report.totals, self.strict)))
    }

    fn selects(&self, case: &Case) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.selects(&case.id))
    }
}

fn code(totals: Totals, strict: bool) -> u8 {
    let Totals { passed, failed, skipped } = totals;
    let nothing_ran = passed + failed == 0;
    u8::from(failed > 0 || nothing_ran || (strict && skipped > 0))
}

/// What was wrong and what was skipped, and the totals.
fn text(report: &Report) -> String {
    let mut text = String::new();
    for case in &report.cases {
        of_case(case, &mut text);
    }
    let Totals { passed, failed, skipped } = report.totals;
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{passed} passed, {failed} failed, {skipped} skipped");
    text
}

fn of_case(case: &CaseReport, text: &mut String) {
    let id = &case.id;
    if let Some(why) = &case.why {
        let _ = writeln!(text, "{}: {id}: {why}", word(case.outcome));
    }
    if !case.diagnostics.is_empty() {
        let _ = writeln!(text, "failed: {id}: its policies have mistakes");
        for diagnostic in &case.diagnostics {
            let _ = writeln!(text, "  {diagnostic}");
        }
    }
    for probe in case.probes.iter().filter(|probe| probe.outcome != Outcome::Passed) {
        of_probe(id, probe, text);
    }
}

fn of_probe(id: &str, probe: &ProbeReport, text: &mut String) {
    let ProbeReport { from, to, port, protocol, expected, .. } = probe;
    let family = probe.family.map(|family| format!(" (IPv{family})")).unwrap_or_default();
    let _ = write!(text, "{}: {id}: {from} -> {to} {port}/{protocol}{family}: ", word(probe.outcome));
    let mut facts = Vec::new();
    if probe.outcome == Outcome::Failed {
        facts.push(format!("expected {expected}"));
        facts.extend(probe.judged.filter(|_| probe.sent.is_none()).map(|got| format!("got {got}")));
        facts.extend(probe.sent.map(|got| format!("sent: {got}")));
        facts.extend(probe.judged.filter(|_| probe.sent.is_some()).map(|got| format!("judged: {got}")));
    }
    facts.extend(probe.why.clone());
    let _ = writeln!(text, "{}", facts.join(", "));
    if probe.outcome == Outcome::Failed {
        for (side, reason) in [("egress", &probe.egress), ("ingress", &probe.ingress)] {
            if let Some(reason) = reason {
                let _ = writeln!(text, "  {side}: {reason}");
            }
        }
    }
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::Skipped => "skipped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &str = "
id: web
endpoints: [{name: a, ip: 10.0.0.2}, {name: b, ip: 10.0.0.3}]
policies:
- |
  apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: closed}
probes:
- {from: default/a, to: default/b, port: 80, expect: allow}
- {from: default/a, to: default/b, port: 80, protocol: UDP, expect: deny}
- {from: default/a, to: default/b, port: 80, family: 6, expect: deny}
---
id: bad
policies: ['kind: NetworkPolicie']
probes: []
";

    fn report(text: &str) -> Report {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cases.yaml");
        std::fs::write(&file, text).unwrap();
        let (cases, _) = load_cases(&[file]).unwrap();
        Report::new(groups(&cases).iter().flat_map(judge).collect())
    }

    #[test]
    fn what_went_wrong_is_told_with_its_reasons() {
        assert_eq!(
            text(&report(CASES)),
            "failed: web: default/a -> default/b 80/TCP: expected allow, got deny\n\
             \x20 egress: no policy isolates it\n\
             \x20 ingress: isolated by default/closed in web:1, and no rule allows it\n\
             skipped: web: default/a -> default/b 80/TCP (IPv6): default/a has no IPv6 address\n\
             failed: bad: its policies have mistakes\n\
             \x20 bad:1:1: `apiVersion` is missing (write apiVersion: networking.k8s.io/v1)\n\
             \x20 bad:1:1: `metadata` is missing\n\
             \x20 bad:1:7: kind: unknown kind \"NetworkPolicie\" (did you mean NetworkPolicy?)\n\
             1 passed, 2 failed, 1 skipped\n"
        );
    }

    #[test]
    fn packets_and_tables_are_told_apart() {
        let mut report = report(CASES);
        let probe = &mut report.cases[0].probes[1];
        probe.sent(crate::manifest::cases::Verdict::Allow);
        assert!(
            text(&report).contains(
                "80/UDP: expected deny, sent: allow, judged: deny, kernel and tables do not agree\n"
            )
        );
    }

    #[test]
    fn the_exit_code_says_whether_all_is_well() {
        let totals = |passed, failed, skipped| Totals { passed, failed, skipped };
        for (totals, strict, wanted) in [
            (totals(1, 0, 0), true, 0),
            (totals(1, 0, 1), false, 0),
            (totals(1, 0, 1), true, 1),
            (totals(1, 1, 0), false, 1),
            (totals(0, 0, 1), false, 1),
            (totals(0, 0, 0), false, 1),
        ] {
            assert_eq!(code(totals, strict), wanted, "{totals:?}");
        }
    }

    #[test]
    fn json_is_stable() {
        let report = report(CASES);
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(value["passed"], 1);
        assert_eq!(value["cases"][0]["line"], 2);
        let probe = &value["cases"][0]["probes"][0];
        let fields: Vec<_> = probe.as_object().unwrap().keys().map(String::as_str).collect();
        let wanted = [
            "egress", "expected", "family", "from", "ingress", "judged", "outcome", "port", "protocol",
            "sent", "to", "why",
        ];
        assert_eq!(fields, wanted);
        assert_eq!((&probe["outcome"], &probe["judged"]), (&"failed".into(), &"deny".into()));
    }
}
