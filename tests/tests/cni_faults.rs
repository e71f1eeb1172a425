//! A plugin that is killed: in the very first ADD, which brings netfast up, in a DEL, and in a GC. The next DEL leaves
//! nothing of the attachment. (An ADD beside others is in `cni_remove.rs`.)

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use netfast_tests::{Lab, Libcni, Ns, PluginError, Sandbox, require_root};
use serde_json::{Value, json};

const NONE: [String; 0] = [];

/// The points to die at: seven of them, or all with `NETFAST_TEST_ALL=1`.
fn points_of(count: usize) -> impl Iterator<Item = usize> {
    let is_all = std::env::var_os("NETFAST_TEST_ALL").is_some();
    // A write of a file has three points: a step that three does not divide meets each of them.
    let step = if is_all { 1 } else { (count / 7).max(1) };
    let step = if step > 1 && step % 3 == 0 { step + 1 } else { step };
    (1..=count).step_by(step)
}

fn list(lab: &Lab) -> Value {
    let mut list = lab.cni_list("pods", &["10.86.0.0/24", "fd86::/64"]).unwrap();
    list["cniVersion"] = "1.1.0".into();
    list
}

fn runtime(lab: &Lab) -> Libcni<'_> {
    Libcni::new(lab, &[lab.binary().parent().unwrap()])
}

fn web(ns: &Ns) -> Sandbox {
    Sandbox::new("web", ns).ports(&[(8080, 80, "tcp"), (5353, 53, "udp")])
}

/// Makes a call of one plugin that dies at a point; `false`: it has not as many.
fn dies(call: impl FnOnce(&Libcni<'_>) -> anyhow::Result<()>, lab: &Lab, point: usize) -> bool {
    let Err(error) = call(&runtime(lab).with("NETFAST_FAULT", &point.to_string())) else { return false };
    let killed = error.downcast_ref::<PluginError>().is_some_and(|error| error.status.code().is_none());
    assert!(killed, "point {point}: {error:#}");
    true
}

/// How many points the only plugin of a call passes.
fn count(call: impl FnOnce(&Libcni<'_>) -> anyhow::Result<()>, lab: &Lab) -> usize {
    let runtime = runtime(lab).with("NETFAST_FAULT", "count");
    call(&runtime).unwrap();
    let told = runtime.stderr();
    let points = told.lines().find_map(|line| line.strip_prefix("fault: ")?.strip_suffix(" points"));
    let points = points.unwrap().parse().unwrap();
    assert!(points > 5, "only {points} points");
    points
}

/// Devices, files, ports.
fn held(lab: &Lab) -> (Vec<String>, BTreeSet<String>, Value) {
    let mut files = BTreeSet::new();
    files_in(&lab.dir().join("run"), &mut files);
    // What is written once more with the next change, where it is missing.
    files.retain(|file| !file.ends_with("/ledger.json"));
    (lab.host.links().unwrap(), files, lab.netfast_json(&["port", "ls"]).unwrap())
}

fn files_in(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        found.insert(entry.path().display().to_string());
        if entry.path().is_dir() {
            files_in(&entry.path(), found);
        }
    }
}

#[test]
fn the_first_add() {
    require_root!();
    let lab = Lab::new().unwrap();
    let list = list(&lab);
    let add = |runtime: &Libcni<'_>, ns: &Ns| runtime.add(&list, &web(ns)).map(drop);
    let ns = Ns::new("web").unwrap();
    let points = count(|runtime| add(runtime, &ns), &lab);
    runtime(&lab).del(&list, &web(&ns).gone()).unwrap();
    lab.down().unwrap();
    for (number, point) in points_of(points).enumerate() {
        let ns = Ns::new("web").unwrap();
        dies(|runtime| add(runtime, &ns), &lab, point);
        runtime(&lab).del(&list, &web(&ns)).unwrap();
        assert_eq!(ns.links().unwrap(), ["lo"], "point {point}");
        if number % 2 == 0 {
            // The next one finds it as if it had been the first.
            runtime(&lab).add(&list, &web(&ns)).unwrap();
            runtime(&lab).check(&list, &web(&ns)).unwrap();
            runtime(&lab).del(&list, &web(&ns)).unwrap();
        }
        assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap(), json!([]), "point {point}");
        lab.down().unwrap();
        assert_eq!(lab.leftovers().unwrap(), NONE, "point {point}");
    }
}

#[test]
fn a_del() {
    require_root!();
    let lab = Lab::new().unwrap();
    let list = list(&lab);
    let stays = Ns::new("stays").unwrap();
    runtime(&lab).add(&list, &Sandbox::new("stays", &stays)).unwrap();
    let before = held(&lab);
    let ns = Ns::new("web").unwrap();
    runtime(&lab).add(&list, &web(&ns)).unwrap();
    let points = count(|runtime| runtime.del(&list, &web(&ns)), &lab);
    assert_eq!(held(&lab), before);
    for (number, point) in points_of(points).enumerate() {
        let ns = Ns::new("web").unwrap();
        runtime(&lab).add(&list, &web(&ns)).unwrap();
        let gone = if number % 2 == 0 { web(&ns) } else { web(&ns).gone() };
        dies(|runtime| runtime.del(&list, &gone), &lab, point);
        if number % 3 == 0 {
            // A runtime that has lost everything asks for a clean-up.
            runtime(&lab).forget(&list, &gone).unwrap();
            runtime(&lab).gc(&list, &[("stays", "eth0")]).unwrap();
        } else {
            runtime(&lab).del(&list, &gone).unwrap();
        }
        assert_eq!(held(&lab), before, "point {point}");
        assert_eq!(ns.links().unwrap(), ["lo"], "point {point}");
    }
    runtime(&lab).check(&list, &Sandbox::new("stays", &stays)).unwrap();
}
