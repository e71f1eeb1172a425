//! `netfast doctor`: what a host offers, and that looking changes nothing.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use netfast_tests::{Lab, Running, require_root};
use nix::unistd::{Uid, setresuid};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const NONE: [String; 0] = [];

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: fd77::/64}
endpoints:
  web: {}
";

/// What it says of one thing.
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()
}

#[test]
fn a_host_that_will_do_stays_as_it_is() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mounts = || lab.host.run(|| Ok(fs::read_to_string("/proc/thread-self/mountinfo")?)).unwrap();
    let before = (mounts(), lab.host.ip("-details address").unwrap());
    let report = lab.netfast_json(&["doctor"]).unwrap();
    assert_eq!(report["usable"], true);
    for name in ["rights", "object", "btf", "bpf_redirect_peer", "bridge", "veth", "bpffs", "programs"] {
        assert_eq!(
            (&check(&report, name)["state"], &check(&report, name)["needed"]),
            (&"ok".into(), &true.into())
        );
    }
    assert_eq!(check(&report, "cgroup2")["what"], lab.cgroup().display().to_string());
    assert_eq!(check(&report, "instance")["state"], "note");
    let table = lab.netfast_ok(&["doctor"]).unwrap();
    assert!(table.starts_with("STATE ") && table.ends_with("\n\nnetfast can run here\n"), "{table}");
    assert_eq!((mounts(), lab.host.ip("-details address").unwrap()), before);
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn what_it_says_of_hooks_is_what_up_does() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(MANIFEST).unwrap();
    let report = lab.netfast_json(&["doctor"]).unwrap();
    let status = lab.netfast_json(&["status"]).unwrap();
    let hook = &status["links"].as_array().unwrap()[0]["hook"];
    let tcx = check(&report, "tcx");
    assert_eq!(tcx["state"], if hook == "tcx" { "ok" } else { "missing" }, "{hook} {tcx}");
    assert_eq!((&tcx["since"], &tcx["needed"]), (&"6.6".into(), &false.into()));
    assert_eq!(check(&report, "clsact")["needed"], hook != "tcx");
}

#[test]
fn an_instance_that_lacks_something_is_noticed() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(MANIFEST).unwrap();
    let instance = check(&lab.netfast_json(&["doctor"]).unwrap(), "instance").clone();
    assert_eq!(
        (&instance["state"], &instance["what"]),
        (&"ok".into(), &"up and whole; networks: 1, endpoints: 1".into())
    );
    let veth = lab.inspect("web").unwrap()["host_ifname"].as_str().unwrap().to_owned();
    lab.host.ip(&format!("link del {veth}")).unwrap();
    let report = lab.netfast_json(&["doctor"]).unwrap();
    let instance = check(&report, "instance");
    assert_eq!(instance["state"], "missing");
    assert!(instance["what"].as_str().unwrap().starts_with("endpoint web is not ready, "), "{instance}");
    // It can be repaired, so netfast can run.
    assert_eq!(report["usable"], true);
    lab.up(MANIFEST).unwrap();
    assert_eq!(check(&lab.netfast_json(&["doctor"]).unwrap(), "instance")["state"], "ok");
    // What endpoints and programs do not show is told as `status` tells it.
    lab.host.ip("addr flush dev nf-lab").unwrap();
    let report = lab.netfast_json(&["doctor"]).unwrap();
    let what = check(&report, "instance")["what"].as_str().unwrap();
    assert!(what.starts_with("the bridge nf-lab has lost the address "), "{what}");
}

#[test]
fn a_host_that_will_not_do_is_told_why() {
    require_root!();
    let lab = Lab::new().unwrap();
    // Nobody else sees this mount.
    let done = lab.host.finish("mount", &["-t", "tmpfs", "none", "/sys/kernel/btf"], SECOND).unwrap();
    assert!(done.success(), "{}", done.stderr);
    let done = lab.netfast(&["doctor"]).unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(done.stderr, "");
    let line = done.stdout.lines().find(|line| line.contains(" btf ")).unwrap();
    assert!(line.starts_with("missing ") && line.contains("CONFIG_DEBUG_INFO_BTF"), "{line}");
    let last = done.stdout.lines().last().unwrap();
    assert!(last.starts_with("netfast cannot run here; what is missing: btf"), "{last}");
}

#[test]
fn nobody_is_told_what_nobody_may_see() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mut command = lab.command(&["doctor", "-o", "json"]);
    // SAFETY: the closure makes a system call only. It runs after the one that enters the namespaces.
    unsafe {
        command.pre_exec(|| {
            let nobody = Uid::from_raw(65_534);
            Ok(setresuid(nobody, nobody, nobody)?)
        });
    }
    let done = Running::start(&mut command).unwrap().finish(10 * SECOND).unwrap();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(check(&report, "rights")["state"], "missing");
    assert_eq!(check(&report, "btf")["state"], "ok");
    assert!(!done.stdout.contains("bpf_loop"), "{}", done.stdout);
}
