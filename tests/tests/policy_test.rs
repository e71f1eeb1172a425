//! `netfast policy test`: cases judged, cases with packets, and nothing of them left.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use netfast_tests::{Finished, Lab, eventually, place_program, require_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, setresuid};
use serde_json::Value;

const NONE: [String; 0] = [];

/// A building of cases takes longer than a command does.
const PATIENCE: Duration = Duration::from_mins(5);

/// Two of its probes expect the wrong thing.
const WRONG: &str = "
id: wrong
endpoints: [{name: a, ip: 10.0.0.2}, {name: b, ip: 10.0.0.3}]
policies:
- |
  apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: b}
  spec:
    podSelector: {}
    ingress: [{ports: [{port: 80}]}]
probes:
- {from: default/a, to: default/b, port: 80, expect: deny}
- {from: default/a, to: default/b, port: 80, protocol: UDP, expect: allow}
- {from: default/a, to: default/b, port: 80, protocol: SCTP, expect: deny}
- {from: 'ip:192.0.2.9', to: 'ip:192.0.2.10', port: 80, expect: allow}
";

fn examples() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policy-tests");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| path.display().to_string()).collect()
}

fn run(lab: &Lab, args: &[&str]) -> Finished {
    lab.start(&[&["policy", "test"], args].concat()).unwrap().finish(PATIENCE).unwrap()
}

/// Nothing is left, once the kernel has taken the namespaces down.
fn assert_nothing_left(lab: &Lab) {
    eventually("nothing is left", || lab.leftovers().unwrap() == NONE);
}

#[test]
fn packets_come_to_what_the_examples_expect() {
    require_root!();
    let lab = Lab::new().unwrap();
    let files = examples();
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let done = run(&lab, &[&["--live", "--all", "--strict", "-o", "json"], files.as_slice()].concat());
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert!(done.success(), "{}\n{report:#}", done.stderr);
    assert_eq!(done.stderr, "");
    let probes: Vec<_> = report["cases"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|case| case["probes"].as_array().unwrap())
        .collect();
    assert_eq!(report["passed"], probes.len());
    for protocol in ["TCP", "UDP", "SCTP"] {
        for sent in ["allow", "deny"] {
            let seen = probes.iter().any(|probe| probe["protocol"] == protocol && probe["sent"] == sent);
            assert!(seen, "{protocol} {sent}");
        }
    }
    assert_nothing_left(&lab);
}

#[test]
fn wrong_expectations_fail_with_packets_and_without() {
    require_root!();
    let lab = Lab::new().unwrap();
    let file = lab.file("wrong.yaml", WRONG).unwrap();
    let judged = run(&lab, &[&file]);
    assert_eq!(judged.status.code(), Some(1), "{judged:?}");
    assert!(judged.stdout.ends_with("2 passed, 2 failed, 0 skipped\n"), "{}", judged.stdout);
    let sent = run(&lab, &["--live", &file]);
    assert_eq!(sent.status.code(), Some(1), "{sent:?}");
    for line in [
        "failed: wrong: default/a -> default/b 80/TCP: expected deny, sent: allow, judged: allow\n",
        "failed: wrong: default/a -> default/b 80/UDP: expected allow, sent: deny, judged: deny\n",
        "skipped: wrong: ip:192.0.2.9 -> ip:192.0.2.10 80/TCP: no endpoint is at either end: netfast has no part in it\n",
        "\n1 passed, 2 failed, 1 skipped\n",
    ] {
        assert!(sent.stdout.contains(line), "{}", sent.stdout);
    }
    assert_nothing_left(&lab);
}

#[test]
fn an_interrupt_leaves_nothing() {
    require_root!();
    let lab = Lab::new().unwrap();
    let files = examples();
    let files: Vec<_> = (0..5).flat_map(|_| files.iter().map(String::as_str)).collect();
    let mut running =
        lab.start(&[&["policy", "test", "--live", "--all"], files.as_slice()].concat()).unwrap();
    eventually("programs are attached to the cgroup", || lab.leftovers().unwrap() != NONE);
    assert!(!running.ended());
    kill(Pid::from_raw(running.pid().cast_signed()), Signal::SIGINT).unwrap();
    assert!(!running.finish(PATIENCE).unwrap().success());
    assert_nothing_left(&lab);
}

#[test]
fn judging_needs_no_root_and_packets_do() {
    require_root!();
    let lab = Lab::new().unwrap();
    fs::set_permissions(lab.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let binary = lab.dir().join("netfast");
    place_program(&binary, &fs::read(lab.binary()).unwrap()).unwrap();
    let file = lab.file("wrong.yaml", WRONG).unwrap();
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(["policy", "test"]).args(args);
        let nobody = Uid::from_raw(65534);
        // SAFETY: one system call between fork and exec.
        unsafe { command.pre_exec(move || Ok(setresuid(nobody, nobody, nobody)?)) };
        command.output().unwrap()
    };
    let done = as_nobody(&[&file]);
    assert!(done.stdout.ends_with(b"2 passed, 2 failed, 0 skipped\n"), "{done:?}");
    let done = as_nobody(&["--live", &file]);
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(done.stderr, b"netfast: policy test: needs root (run it with sudo)\n");
}

#[test]
fn a_file_that_cannot_be_read_is_another_matter() {
    require_root!();
    let lab = Lab::new().unwrap();
    let bad = lab.file("bad.yaml", "id: x\nprobs: []\n").unwrap();
    for (file, said) in [
        ("/no/such/file", "error: /no/such/file: cannot read: No such file or directory"),
        (bad.as_str(), ":2:1: probs: unknown field (did you mean probes?)"),
    ] {
        let done = run(&lab, &[file]);
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        assert!(done.stderr.contains(said), "{}", done.stderr);
        assert_eq!(done.stdout, "");
    }
}
