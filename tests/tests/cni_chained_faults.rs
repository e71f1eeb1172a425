//! netfast killed at its work after another plugin: the next DEL leaves nothing of netfast's, and all of the other plugin's.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use netfast_tests::{Chain, Finished, Lab, Member, require_stock_plugins};
use nix::libc::SIGKILL;
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

/// The points to die at: nine of them, or all with `NETFAST_TEST_ALL=1`.
fn points_of(count: usize) -> impl Iterator<Item = usize> {
    let is_all = std::env::var_os("NETFAST_TEST_ALL").is_some();
    // A write of a file has three points: a step that three does not divide meets each of them.
    let step = if is_all { 1 } else { (count / 9).max(1) };
    let step = if step > 1 && step % 3 == 0 { step + 1 } else { step };
    (1..=count).step_by(step)
}

fn points(done: &Finished) -> usize {
    assert!(done.success(), "{done:?}");
    let told = done.stderr.lines().find_map(|line| line.strip_prefix("fault: ")?.strip_suffix(" points"));
    let points = told.unwrap().parse().unwrap();
    assert!(points > 5, "only {points} points");
    points
}

/// What netfast holds: files, pins, ports, filters at devices.
fn held(lab: &Lab) -> (BTreeSet<String>, Value, Value, usize) {
    let mut files = BTreeSet::new();
    list(&lab.dir().join("run"), &mut files);
    let pins = lab.host.run(|| {
        let mut pins = BTreeSet::new();
        list(&lab.dir().join("bpffs"), &mut pins);
        Ok(pins)
    });
    files.extend(pins.unwrap());
    // What is written once more with the next change, where it is missing.
    files.retain(|file| !["ledger.json", "roll", "book"].iter().any(|name| file.ends_with(name)));
    let filters: usize = lab
        .host
        .links()
        .unwrap()
        .iter()
        .map(|link| {
            let shown =
                |side: &str| lab.host.finish("tc", &["filter", "show", "dev", link, side], 10 * SECOND);
            ["ingress", "egress"]
                .map(|side| shown(side).unwrap().stdout.lines().count())
                .iter()
                .sum::<usize>()
        })
        .sum();
    let endpoints = lab.netfast_json(&["endpoint", "ls"]).unwrap();
    let names = endpoints.as_array().unwrap().iter().map(|endpoint| endpoint["name"].clone()).collect();
    (files, lab.netfast_json(&["port", "ls"]).unwrap(), names, filters)
}

fn list(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        found.insert(entry.path().display().to_string());
        if entry.path().is_dir() {
            list(&entry.path(), found);
        }
    }
}

/// The files in which `host-local` notes whose an address is.
fn leases(lab: &Lab) -> BTreeSet<String> {
    let mut leases = BTreeSet::new();
    list(&lab.dir().join("ipam"), &mut leases);
    leases
}

/// A bridge by its plugin, and the same with netfast after it.
fn chains(lab: &Lab) -> (Chain<'_>, Chain<'_>) {
    let ipam = lab.host_local(&["10.88.0.0/24", "fd88::/64"]);
    let bridge = json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": ipam});
    let netfast = json!({"type": "netfast", "capabilities": {"portMappings": true}});
    let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    (lab.chain(std::slice::from_ref(&bridge)), lab.chain(&[bridge, netfast]).with_runtime(ports))
}

/// Runs netfast so that it dies at a point.
fn dies(chain: &Chain<'_>, command: &str, member: &Member, point: usize) -> String {
    let done = chain.run_netfast(command, member, Some(&point.to_string())).unwrap();
    // A point that only some runs pass may be beyond the end of this one.
    assert!(done.success() || done.status.signal() == Some(SIGKILL), "{done:?}");
    format!("{command}, {}", done.stderr.trim())
}

/// netfast has left nothing, and the other plugin's interface and lease are there; then they go too.
#[track_caller]
fn gone(
    lab: &Lab,
    bridge: &Chain<'_>,
    member: &Member,
    before: &(BTreeSet<String>, Value, Value, usize),
    case: &str,
) {
    let now = held(lab);
    let (left, lost): (Vec<_>, Vec<_>) =
        (now.0.difference(&before.0).collect(), before.0.difference(&now.0).collect());
    assert!(left.is_empty() && lost.is_empty(), "{case}: left {left:?}, lost {lost:?}");
    assert_eq!((&now.1, &now.2, now.3), (&before.1, &before.2, before.3), "{case}");
    assert_eq!(member.ns.links().unwrap(), ["eth0", "lo"], "{case}");
    let address = netfast_tests::address(&member.result, 4).unwrap();
    assert!(leases(lab).iter().any(|lease| lease.ends_with(&address)), "{case}: {:?}", leases(lab));
    // As if netfast had never been there.
    let pinged = member.ns.ping("10.88.0.1", 10 * SECOND);
    assert!(pinged.is_ok(), "{case}: {pinged:?}");
    bridge.del(member).unwrap();
    assert_eq!(member.ns.links().unwrap(), ["lo"], "{case}");
}

#[test]
fn an_add_that_dies() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let (bridge, chain) = chains(&lab);
    let stays = chain.with_runtime(json!({})).add("stays").unwrap();
    let member = bridge.add("counts").unwrap();
    let points = points(&chain.run_netfast("ADD", &member, Some("count")).unwrap());
    chain.del(&member).unwrap();
    let before = held(&lab);
    for point in points_of(points) {
        let member = bridge.add("c1").unwrap();
        let case = dies(&chain, "ADD", &member, point);
        // What is there is whole, or it is told that it is not.
        let check = chain.run_netfast("CHECK", &member, None).unwrap();
        assert!(check.success() || check.stdout.contains("\"code\":"), "{case}: {check:?}");
        if check.success() {
            let pinged = member.ns.ping("10.88.0.1", 10 * SECOND);
            assert!(pinged.is_ok(), "{case}: {pinged:?}");
        }
        chain.ask_netfast("DEL", &member).unwrap();
        gone(&lab, &bridge, &member, &before, &case);
    }
    let check = chain.run_netfast("CHECK", &stays, None).unwrap();
    assert!(check.success(), "{check:?}");
    stays.ns.ping("10.88.0.1", 10 * SECOND).unwrap();
}

#[test]
fn a_del_that_dies() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let (bridge, chain) = chains(&lab);
    let stays = chain.with_runtime(json!({})).add("stays").unwrap();
    let member = chain.add("counts").unwrap();
    let points = points(&chain.run_netfast("DEL", &member, Some("count")).unwrap());
    bridge.del(&member).unwrap();
    let before = held(&lab);
    for (number, point) in points_of(points).enumerate() {
        let member = chain.add("c1").unwrap();
        let case = dies(&chain, "DEL", &member, point);
        let check = chain.run_netfast("CHECK", &member, None).unwrap();
        assert!(check.success() || check.stdout.contains("\"code\":"), "{case}: {check:?}");
        if number % 3 == 2 {
            // The other plugin's turn comes although netfast died; then the runtime begins anew.
            bridge.del(&member).unwrap();
            chain.ask_netfast("DEL", &member).unwrap();
            let now = held(&lab);
            assert_eq!((now.1, now.2, now.3), (before.1.clone(), before.2.clone(), before.3), "{case}");
            assert_eq!(now.0, before.0, "{case}");
        } else {
            chain.ask_netfast("DEL", &member).unwrap();
            gone(&lab, &bridge, &member, &before, &case);
        }
    }
    let check = chain.run_netfast("CHECK", &stays, None).unwrap();
    assert!(check.success(), "{check:?}");
    stays.ns.ping("10.88.0.1", 10 * SECOND).unwrap();
}
