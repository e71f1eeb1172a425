//! `netfast policy check`, and what keeps policies from being put in force.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs::{self, File};

use netfast_tests::{Lab, require_root};
use serde_json::{Value, json};

const TOPOLOGY: &str = "
networks: {lab: {subnet: 10.77.0.0/24}}
endpoints: {web: {labels: {app: web}}}
";

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

/// Runs `policy check`; its exit code, and what it says as JSON.
fn check(lab: &Lab, args: &[&str]) -> (Option<i32>, Value) {
    let done = lab.netfast(&[&["policy", "check", "-o", "json"], args].concat()).unwrap();
    (done.status.code(), serde_json::from_str(&done.stdout).unwrap())
}

#[test]
fn directories_and_standard_input_are_read() {
    require_root!();
    let lab = Lab::new().unwrap();
    let directory = lab.dir().join("policies");
    fs::create_dir(&directory).unwrap();
    let named = directory.to_str().unwrap();
    assert_eq!(check(&lab, &[named]).0, Some(2), "there is nothing in it");
    fs::write(directory.join("b.yml"), policy("b", "{ingres: []}")).unwrap();
    fs::write(directory.join("a.json"), r#"{"kind": "NetworkPolicy"}"#).unwrap();
    fs::write(directory.join("README.md"), "not a policy").unwrap();
    let (code, found) = check(&lab, &[named]);
    assert_eq!(code, Some(1));
    let files: Vec<_> = found.as_array().unwrap().iter().map(|d| d["file"].as_str().unwrap()).collect();
    assert_eq!(files, [format!("{named}/a.json"), format!("{named}/a.json"), format!("{named}/b.yml")]);

    let input = File::open(directory.join("b.yml")).unwrap();
    let done = lab.command(&["policy", "check", "-"]).stdin(input).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(done.stdout).unwrap(),
        "error: <stdin>:4:8: spec.ingres: unknown field (did you mean ingress?)\n    spec: {ingres: []}\n           ^\n1 error \
         in 1 file\n"
    );
}

#[test]
fn warnings_can_be_denied() {
    require_root!();
    let lab = Lab::new().unwrap();
    let topology = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    let file = lab.file("p.yaml", &policy("p", "{podSelector: {matchLabels: {app: wep}}}")).unwrap();
    assert_eq!(check(&lab, &["--deny-warnings", &file]), (Some(0), json!([])), "no endpoints are known");
    let (code, found) = check(&lab, &["-f", &topology, &file]);
    assert_eq!(code, Some(0));
    assert_eq!(
        found,
        json!([{
            "file": file,
            "line": 1,
            "column": 1,
            "severity": "warning",
            "code": "selects-nobody",
            "message": "policy default/p selects no endpoint",
            "help": "no app is wep, did you mean web?",
        }])
    );
    assert_eq!(check(&lab, &["--deny-warnings", "-f", &topology, &file]).0, Some(1));
    assert_eq!(check(&lab, &["-f", &topology]), (Some(0), json!([])));
}

#[test]
fn one_mistake_keeps_all_files_out() {
    require_root!();
    let lab = Lab::new().unwrap();
    let topology = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    let good = lab.file("good.yaml", &policy("good", "{}")).unwrap();
    let bad = lab.file("bad.yaml", &policy("bad", "{policyTypes: [ingress]}")).unwrap();
    let empty = lab.file("empty.yaml", "# nothing\n").unwrap();
    assert!(!lab.netfast(&["up", "-d", "-f", &topology, "--policy", &bad]).unwrap().success());
    assert!(lab.leftovers().unwrap().is_empty());
    lab.netfast_ok(&["up", "-d", "-f", &topology, "--policy", &good]).unwrap();
    let isolating = || lab.inspect("web").unwrap()["isolation"]["ingress"]["policies"].clone();
    for (file, code) in [(&bad, 1), (&empty, 2)] {
        let done = lab.netfast(&["policy", "apply", &good, file]).unwrap();
        assert_eq!(done.status.code(), Some(code), "{done:?}");
        assert!(done.stderr.ends_with("nothing was changed\n"), "{done:?}");
        assert_eq!(isolating(), json!(["default/good"]));
    }
    lab.down().unwrap();
}
