//! Our own cases, and those of a collection where one lies beside the checkout (`../shared/policy-cases`, or below
//! `NETFAST_SHARED`).

use std::path::{Path, PathBuf};

use super::*;
use crate::manifest::cases::load_cases;

/// Judges all cases of some files.
fn test(files: &[PathBuf]) -> Report {
    let (cases, warnings) = load_cases(files).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(warnings, []);
    Report::new(groups(&cases).iter().flat_map(judge).collect())
}

/// Judges a text of cases.
fn test_text(text: &str) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cases.yaml");
    std::fs::write(&file, text).unwrap();
    test(&[file])
}

fn totals(report: &Report) -> [usize; 3] {
    [report.totals.passed, report.totals.failed, report.totals.skipped]
}

fn assert_all_passed(report: &Report) {
    let wrong: Vec<_> = report.cases.iter().filter(|case| case.outcome != Outcome::Passed).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((report.totals.failed, report.totals.skipped), (0, 0));
    assert!(report.totals.passed > 0);
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

#[test]
fn every_probe_of_the_examples_comes_to_what_is_expected() {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policy-tests"), "yaml");
    assert_eq!(files.len(), 7);
    assert_all_passed(&test(&files));
}

#[test]
fn every_probe_of_the_collection_comes_to_what_is_expected() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let root = std::env::var_os("NETFAST_SHARED").map_or(beside, PathBuf::from);
    let files = files(&root.join("policy-cases"), "json");
    if files.is_empty() {
        println!("skipped: there is no collection of policy cases");
        return;
    }
    assert_all_passed(&test(&files));
}

/// A case of two endpoints and policies, one to each item.
fn case(id: &str, policies: &[&str], probes: &str) -> String {
    let policies: Vec<_> = policies.iter().map(|text| format!("{text:?}")).collect();
    format!(
        "id: {id}\nendpoints: [{{name: a, ip: 10.0.0.2}}, {{name: b, ip: 10.0.0.3, ip6: 'fd00::3'}}]\n\
         policies: [{}]\nprobes: [{probes}]\n",
        policies.join(", ")
    )
}

const CLOSED: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n";
const PROBE: &str = "{from: default/a, to: default/b, port: 80, expect: allow}";

#[test]
fn a_wrong_verdict_fails_with_the_reason_of_each_end() {
    let report = test_text(&case("x", &[CLOSED], PROBE));
    assert_eq!(totals(&report), [0, 1, 0]);
    let probe = &report.cases[0].probes[0];
    assert_eq!(probe.egress.as_deref(), Some("no policy isolates it"));
    assert_eq!(
        probe.ingress.as_deref(),
        Some("isolated by default/p in x:1, and no rule allows it"),
        "the case's id stands for the file"
    );
}

#[test]
fn a_case_with_wrong_policies_is_one_failure() {
    let wrong = format!("{CLOSED}spec: {{ingres: []}}\n");
    let wrong = wrong.replace("name: p", "name: q");
    let report = test_text(&case("x", &[CLOSED, &wrong], &format!("{PROBE}, {PROBE}")));
    assert_eq!(totals(&report), [0, 1, 0]);
    let found: Vec<_> = report.cases[0].diagnostics.iter().map(ToString::to_string).collect();
    assert!(found[0].starts_with("x[1]:4:8: spec.ingres: unknown field"), "{found:?}");
}

#[test]
fn what_nobody_here_knows_is_skipped() {
    let foreign = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: q}\n";
    let report = test_text(&case("x", &[CLOSED, foreign], PROBE));
    assert_eq!(totals(&report), [0, 0, 1]);
    let why = report.cases[0].why.as_deref();
    assert_eq!(why, Some("its policies hold what is not read here: CiliumNetworkPolicy"));
    // With a mistake besides, it is a failure.
    let wrong = format!("{CLOSED}spec: {{ingres: []}}\n");
    assert_eq!(totals(&test_text(&case("x", &[&wrong, foreign], PROBE))), [0, 1, 0]);
}

#[test]
fn an_endpoint_without_an_address_of_the_family_is_skipped() {
    let v6 = "{from: default/a, to: default/b, port: 80, family: 6, expect: allow}";
    let node = "{from: node, to: default/b, port: 80, family: 6, expect: allow}";
    let report = test_text(&case("x", &[], &format!("{v6}, {node}")));
    assert_eq!(totals(&report), [1, 0, 1]);
    assert_eq!(report.cases[0].probes[0].why.as_deref(), Some("default/a has no IPv6 address"));
}

#[test]
fn endpoints_that_name_no_address_have_both() {
    let text = "id: x\nendpoints: [{name: a}, {name: b}, {name: c, ip: 10.77.0.2}]\nprobes:\n\
                - {from: default/a, to: default/b, port: 80, family: 6, expect: allow}\n\
                - {from: default/a, to: default/c, port: 80, expect: allow}\n";
    assert_all_passed(&test_text(text));
}

#[test]
fn snapshots_are_judged_in_their_order_and_compiled_one_after_the_other() {
    let step = |step: u8, policy: &str, expect: &str| {
        let probe = PROBE.replace("allow", expect);
        let case = case(&format!("s{step}"), &[policy], &probe).replace('\n', "\n  ");
        format!("- {case}sequence: {{id: s, step: {step}, of: 3}}\n")
    };
    let open = format!("{CLOSED}spec: {{ingress: [{{}}]}}\n");
    let text =
        format!("cases:\n{}{}{}", step(3, &open, "allow"), step(1, CLOSED, "deny"), step(2, &open, "allow"));
    let report = test_text(&text);
    let ids: Vec<_> = report.cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(ids, ["s1", "s2", "s3"]);
    assert_all_passed(&report);
}

#[test]
fn tables_that_come_to_something_else_after_a_step_are_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cases.yaml");
    std::fs::write(&file, case("x", &[], PROBE)).unwrap();
    let (cases, _) = load_cases(&[file]).unwrap();
    let judges = judge::Judges::new(&cases[0], &mut crate::compile::policy::Numbers::default()).unwrap();
    let mut answers = judges.answers(&cases[0].probes[0]).unwrap();
    answers.after = Some(crate::manifest::cases::Verdict::Deny);
    let mut probe = ProbeReport::new(&cases[0].probes[0]);
    probe.judged(&answers);
    assert_eq!(probe.outcome, Outcome::Failed);
}
