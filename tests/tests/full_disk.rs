//! State files on a disk without room: what cannot be done is not done at all, and what is to go goes.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use netfast_tests::{Disk, Finished, Lab, Plugin, require_root};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const NONE: [String; 0] = [];
/// Blocks of a disk; what an instance with a few endpoints needs is far less.
const BLOCKS: usize = 128;

fn plugin(lab: &Lab) -> Plugin<'_> {
    lab.plugin(&json!({
        "cniVersion": "1.1.0",
        "ipam": {"ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]},
        "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]},
    }))
}

/// Devices, and files with what is in them; but for what is written anew where it is missing, and what the time is in.
fn held(lab: &Lab) -> BTreeMap<String, String> {
    let mut held = lab.host.run(|| {
        let mut held = BTreeMap::new();
        for name in ["state", "run"] {
            list(&lab.dir().join(name), &mut held);
        }
        Ok(held)
    });
    let held = held.as_mut().unwrap();
    held.retain(|path, _| {
        ![
            "ledger.json",
            "/defined",
            "/lock",
            "/roll",
            "/book",
            "/numbers.json",
            "/instance.json",
            "/resolv.conf",
        ]
        .iter()
        .any(|name| path.ends_with(name))
            && !path.contains(".last")
    });
    held.extend(lab.host.links().unwrap().into_iter().map(|link| (link, String::new())));
    held.clone()
}

fn list(directory: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        // A namespace's file cannot be read.
        found.insert(path.display().to_string(), fs::read_to_string(&path).unwrap_or_default());
        if path.is_dir() {
            list(&path, found);
        }
    }
}

/// Everything is as it was; else what is not is told.
#[track_caller]
fn same(lab: &Lab, before: &BTreeMap<String, String>, case: &str) {
    let now = held(lab);
    let differs = |path: &&String| now.get(*path) != before.get(*path);
    let both: BTreeSet<&String> = now.keys().chain(before.keys()).collect();
    let differing: Vec<_> =
        both.into_iter().filter(differs).map(|path| (path, before.get(path), now.get(path))).collect();
    assert!(differing.is_empty(), "{case}: {differing:#?}");
}

/// The answer says which file there is no room for, and nothing else is wrong.
#[track_caller]
fn no_room(answer: &netfast_tests::Answer, disk: &Disk<'_>, case: &str) {
    let (code, message) = answer.failure().unwrap();
    assert_eq!(code, 5, "{case}: {message}");
    assert!(message.contains("No space left on device"), "{case}: {message}");
    assert!(message.contains(&disk.path().display().to_string()), "{case}: {message}");
    assert!(!message.contains("failed too"), "{case}: {message}");
}

#[test]
fn the_first_container_comes_wholly_or_not_at_all() {
    require_root!();
    for (name, at_least) in [("run", 4), ("state", 1)] {
        let lab = Lab::new().unwrap();
        let disk = lab.small_disk(name, BLOCKS).unwrap();
        let plugin = plugin(&lab);
        let container = plugin.container("c1").unwrap();
        let mut left = 0;
        let result = loop {
            let case = format!("{left} blocks left for {name}");
            disk.fill(left).unwrap();
            let answer = container.call("ADD").unwrap();
            if answer.code == Some(0) {
                break serde_json::from_str::<Value>(&answer.stdout).unwrap();
            }
            no_room(&answer, &disk, &case);
            assert_eq!(container.ns.links().unwrap(), ["lo"], "{case}");
            // A runtime cleans up after that.
            container.del().unwrap();
            disk.empty().unwrap();
            assert_eq!(lab.leftovers().unwrap(), NONE, "{case}");
            left += 1;
            assert!(left < BLOCKS, "{case}: {answer:?}");
        };
        assert!(left >= at_least, "it needs no more than {left} blocks for {name}");
        assert_eq!(container.check(&result).unwrap().ok().unwrap(), "");
        container.ns.ping("10.77.0.1", 10 * SECOND).unwrap();
        // Not even the last one's end takes room.
        disk.fill(0).unwrap();
        container.del().unwrap();
        lab.down().unwrap();
        disk.empty().unwrap();
        assert_eq!(lab.leftovers().unwrap(), NONE, "{name}");
    }
}

#[test]
fn containers_come_wholly_or_not_at_all_and_go_in_any_case() {
    require_root!();
    let lab = Lab::new().unwrap();
    let (disk, state) = (lab.small_disk("run", BLOCKS).unwrap(), lab.small_disk("state", BLOCKS).unwrap());
    let plugin = plugin(&lab);
    let stays = plugin.with(&json!({"runtimeConfig": {}})).container("stays").unwrap();
    let result = stays.add().unwrap();
    let first = plugin.container("first").unwrap();
    first.add().unwrap();
    first.del().unwrap();
    let before = held(&lab);
    let container = plugin.container("c1").unwrap();
    let as_before = |case: &str| {
        disk.empty().unwrap();
        same(&lab, &before, case);
        assert_eq!(container.ns.links().unwrap(), ["lo"], "{case}");
    };
    state.fill(0).unwrap();
    state.empty().unwrap();
    let mut left = 0;
    loop {
        let case = format!("{left} blocks left");
        disk.fill(left).unwrap();
        let answer = container.call("ADD").unwrap();
        if answer.code == Some(0) {
            break;
        }
        no_room(&answer, &disk, &case);
        as_before(&case);
        left += 1;
        assert!(left < BLOCKS, "{case}: {answer:?}");
    }
    assert!(left > 0, "it needs no room");
    for left in 0..3 {
        disk.fill(left).unwrap();
        state.fill(left).unwrap();
        container.del().unwrap();
        container.del().unwrap();
        state.empty().unwrap();
        as_before(&format!("removed with {left} blocks left"));
        container.add().unwrap();
    }
    // A runtime that has lost its own list.
    disk.fill(0).unwrap();
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "stays", "ifname": "eth0"}]});
    plugin.with(&valid).call("GC").unwrap().ok().unwrap();
    as_before("collected as garbage");
    // Everything works again.
    container.add().unwrap();
    assert_eq!(stays.check(&result).unwrap().ok().unwrap(), "");
    container.ns.ping("10.77.0.1", 10 * SECOND).unwrap();
    container.del().unwrap();
    as_before("all");
}

const ONE: &str = "
networks: {lab: {subnet: 10.77.0.0/24}}
endpoints: {web: {labels: {app: web}}}
";
const TWO: &str = "
networks: {lab: {subnet: 10.77.0.0/24}}
endpoints: {web: {labels: {app: web}}, db: {labels: {app: db}}}
";

#[track_caller]
fn told(done: &Finished, disk: &Disk<'_>, case: &str) {
    assert!(!done.success(), "{case}");
    assert!(done.stderr.contains("No space left on device"), "{case}: {}", done.stderr);
    assert!(done.stderr.contains(&disk.path().display().to_string()), "{case}: {}", done.stderr);
    assert!(!done.stderr.contains("failed too"), "{case}: {}", done.stderr);
}

#[test]
fn commands_do_all_or_nothing() {
    require_root!();
    for name in ["run", "state"] {
        let lab = Lab::new().unwrap();
        let disk = lab.small_disk(name, BLOCKS).unwrap();
        let (one, two) = (lab.file("one.yaml", ONE).unwrap(), lab.file("two.yaml", TWO).unwrap());
        let up = |file: &str| lab.netfast(&["up", "-d", "-f", file]).unwrap();
        let mut left = 0;
        loop {
            let case = format!("up with {left} blocks left for {name}");
            disk.fill(left).unwrap();
            let done = up(&one);
            if done.success() {
                break;
            }
            told(&done, &disk, &case);
            disk.empty().unwrap();
            assert_eq!(lab.leftovers().unwrap(), NONE, "{case}");
            left += 1;
            assert!(left < BLOCKS, "{case}");
        }
        assert!(left > 0, "up needs no room for {name}");
        disk.empty().unwrap();
        for change in [&["up", "-d", "-f", &two][..], &["endpoint", "add", "more", "--network", "lab"]] {
            let before = held(&lab);
            let (mut refused, mut is_done) = (0, false);
            for left in 0..4 {
                let case = format!("{change:?} with {left} blocks left for {name}");
                disk.fill(left).unwrap();
                let done = lab.netfast(change).unwrap();
                disk.empty().unwrap();
                if done.success() {
                    is_done = true;
                    break;
                }
                told(&done, &disk, &case);
                same(&lab, &before, &case);
                lab.endpoint_ns("web").unwrap().ping("10.77.0.1", 10 * SECOND).unwrap();
                refused += 1;
            }
            assert!(refused > 0, "{change:?} needs no room for {name}");
            if !is_done {
                lab.netfast_ok(change).unwrap();
            }
            drop(lab.netfast(&["endpoint", "rm", "more"]).unwrap());
            lab.netfast_ok(&["up", "-d", "-f", &one]).unwrap();
        }
        // What takes an endpoint away may need room, and then leaves it.
        lab.netfast_ok(&["endpoint", "add", "more", "--network", "lab"]).unwrap();
        let with_more = held(&lab);
        disk.fill(0).unwrap();
        let done = lab.netfast(&["endpoint", "rm", "more"]).unwrap();
        disk.empty().unwrap();
        if !done.success() {
            told(&done, &disk, "rm");
            same(&lab, &with_more, &format!("rm, {name}"));
        }
        disk.fill(0).unwrap();
        lab.down().unwrap();
        disk.empty().unwrap();
        assert_eq!(lab.leftovers().unwrap(), NONE, "{name}");
    }
}
