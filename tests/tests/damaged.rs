//! State files that hold nonsense: what is damaged is told, `netfast down` and the plugin's DEL work nevertheless, and leave
//! nothing.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netfast_tests::{Lab, Plugin, require_root};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);
const NONE: [String; 0] = [];

const TOPOLOGY: &str = r#"
networks: {lab: {subnet: 10.77.0.0/24, subnet6: "fd77::/64"}, empty: {subnet: 10.78.0.0/24}}
endpoints:
  web: {network: lab, labels: {app: web}, publish: ["8080:80"], command: [sleep, "1000"]}
  db: {network: lab}
"#;

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}]}]}
";

/// What becomes of a file's content.
type Way = fn(&[u8]) -> Vec<u8>;

/// Ways in which a file is not what it was: cut off, nothing, and something else.
const WAYS: [Way; 3] =
    [|bytes| bytes[..bytes.len() / 2].to_vec(), |_| Vec::new(), |bytes| vec![b'#'; bytes.len().max(1)]];

/// The files of an instance in these places, by their names.
fn files(lab: &Lab, places: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in places {
        let path = lab.dir().join(place);
        if path.is_dir() {
            found.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.exists() {
            found.push(path);
        }
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

fn damage(path: &PathBuf, way: Way) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, way(&bytes)).unwrap();
}

#[test]
fn down_takes_away_what_records_do_not_tell_of() {
    require_root!();
    let lab = Lab::new().unwrap();
    let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    let policy = lab.file("policy.yaml", POLICY).unwrap();
    let up = ["up", "-d", "-f", &file, "--policy", &policy];
    // Nobody else's is taken for one of these.
    lab.host.ip("link add foreign type bridge").unwrap();
    lab.host.ip("link set foreign alias netfast-not").unwrap();
    let all =
        ["run/instance.json", "run/endpoints", "run/networks", "run/numbers.json", "state/definitions.json"];
    let cases = [
        &all[..1],
        &all[1..2],
        &all[2..3],
        &all[3..4],
        &all[4..],
        &["run/book", "run/roll", "run/ledger.json"],
        &all[..],
    ];
    for (number, places) in cases.into_iter().enumerate() {
        let case = format!("{places:?}");
        lab.netfast_ok(&up).unwrap();
        let damaged = files(&lab, places);
        assert!(!damaged.is_empty(), "{case}");
        for path in &damaged {
            damage(path, WAYS[number % WAYS.len()]);
        }
        // Whoever looks at everything complains, with the file's name and what to do.
        let is_told = number < 5 || number == 6;
        let done = lab.netfast(&up).unwrap();
        assert_eq!(done.success(), !is_told, "{case}: {done:?}");
        if is_told {
            let named = damaged.iter().any(|path| done.stderr.contains(&path.display().to_string()));
            assert!(named && done.stderr.contains("is damaged ("), "{case}: {}", done.stderr);
            assert!(!done.stderr.contains("failed too"), "{case}: {}", done.stderr);
        }
        let told = lab.netfast_ok(&["down"]).unwrap();
        assert!(told.contains("endpoint default/web") || told.contains("endpoint web"), "{case}: {told}");
        let left: Vec<_> = lab.leftovers().unwrap().into_iter().filter(|left| left != "foreign").collect();
        assert_eq!(left, NONE, "{case}");
    }
    lab.netfast_ok(&up).unwrap();
    let (web, db) = (lab.endpoint_ns("web").unwrap(), lab.endpoint_ns("db").unwrap());
    let _server = web.tcp_serve("[::]:80").unwrap();
    db.ping("10.77.0.1", 10 * SECOND).unwrap();
}

#[test]
fn down_leaves_another_instance_alone() {
    require_root!();
    let lab = Lab::new().unwrap();
    let other = |args: &[&str]| {
        let mut command = lab.command(args);
        for (variable, name) in [("STATE_DIR", "state2"), ("RUN_DIR", "run2"), ("BPFFS", "bpffs2")] {
            command.env(format!("NETFAST_{variable}"), lab.dir().join(name));
        }
        let done = netfast_tests::Running::start(&mut command).unwrap().finish(60 * SECOND).unwrap();
        assert!(done.success(), "{args:?}: {done:?}");
    };
    let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    let same_names = TOPOLOGY.replace("10.7", "10.8").replace("fd77", "fd87").replace("8080", "8081");
    // Two devices of one name cannot be.
    let same_names = same_names
        .replace("{lab:", "{bay:")
        .replace("network: lab", "network: bay")
        .replace("empty", "void")
        .replace("  web:", "  www:")
        .replace("  db:", "  dbs:");
    let second = lab.file("other.yaml", &same_names).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    let first = lab.host.links().unwrap();
    other(&["up", "-d", "-f", &second]);
    for path in files(&lab, &["run/instance.json", "run/endpoints", "run/networks"]) {
        damage(&path, WAYS[0]);
    }
    let both = lab.host.links().unwrap();
    lab.netfast_ok(&["down"]).unwrap();
    let left = lab.host.links().unwrap();
    let its_own: Vec<_> = both.iter().filter(|link| !first.contains(link)).collect();
    assert!(its_own.iter().all(|link| left.contains(link)), "{its_own:?} of {left:?}");
    assert!(
        first.iter().filter(|link| left.contains(link)).all(|link| link == "lo" || link == "uplink0"),
        "{left:?}"
    );
    other(&["status"]);
    other(&["down"]);
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

fn plugin(lab: &Lab) -> Plugin<'_> {
    lab.plugin(&json!({
        "cniVersion": "1.1.0",
        "ipam": {"ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]},
        "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]},
    }))
}

/// Which container goes: no digits of a number, as names of devices have them, spell it.
const GOES: &str = "goes";

/// Which devices and files are a container's.
fn of_container(lab: &Lab) -> Vec<String> {
    let mut found = lab.host.links().unwrap();
    let held = files(lab, &["run/attachments", "run/endpoints"]);
    found.extend(held.iter().map(|path| file_name(path)));
    found.retain(|name| name.contains(GOES));
    found
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().display().to_string()
}

#[test]
fn a_container_goes_whatever_is_damaged() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab);
    let plain = plugin.with(&json!({"runtimeConfig": {}}));
    let goes = |path: &PathBuf| file_name(path).contains(GOES);
    for (number, places) in [
        &["run/instance.json"][..],
        &["run/endpoints"],
        &["run/networks"],
        &["run/numbers.json"],
        &["run/attachments"],
        &["state/definitions.json"],
        &["run/book", "run/roll"],
        &["run/ledger.json", "run/endpoints"],
        &["run/ledger.json", "run/numbers.json"],
    ]
    .into_iter()
    .enumerate()
    {
        let case = format!("{places:?}");
        let stays = plain.container("stays").unwrap();
        stays.add().unwrap();
        let container = plugin.container(GOES).unwrap();
        container.add().unwrap();
        assert_ne!(of_container(&lab), NONE, "{case}");
        let mut damaged = files(&lab, places);
        if damaged.iter().any(goes) {
            // That of the other one is whole.
            damaged.retain(goes);
        }
        assert!(!damaged.is_empty(), "{case}");
        for path in &damaged {
            damage(path, WAYS[number % WAYS.len()]);
        }
        container.del().unwrap();
        assert_eq!(container.ns.links().unwrap(), ["lo"], "{case}");
        assert_eq!(of_container(&lab), NONE, "{case}");
        container.del().unwrap();
        // Nobody is in its place, and the other one has lost nothing.
        assert!(
            lab.outside.tcp_ask(&format!("{}:8080", netfast_tests::HOST_V4), SECOND / 10).is_err(),
            "{case}"
        );
        stays.ns.ping("10.77.0.1", 10 * SECOND).unwrap();
        // Either the next one comes, or it is told what is damaged.
        let next = plugin.container("c2").unwrap();
        let answer = next.call("ADD").unwrap();
        if answer.code != Some(0) {
            let (code, message) = answer.failure().unwrap();
            assert_eq!(code, 5, "{case}: {message}");
            let named = damaged.iter().any(|path| message.contains(&path.display().to_string()));
            assert!(named && message.contains("is damaged ("), "{case}: {message}");
            assert_eq!(next.ns.links().unwrap(), ["lo"], "{case}");
            lab.down().unwrap();
            assert_eq!(lab.leftovers().unwrap(), NONE, "{case}");
            next.add().unwrap();
        }
        next.ns.ping("10.77.0.1", 10 * SECOND).unwrap();
        next.del().unwrap();
        lab.down().unwrap();
        assert_eq!(lab.leftovers().unwrap(), NONE, "{case}");
    }
}

#[test]
fn a_garbage_collection_finds_damaged_attachments() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab).with(&json!({"runtimeConfig": {}}));
    let (stays, goes) = (plugin.container("stays").unwrap(), plugin.container(GOES).unwrap());
    let result = stays.add().unwrap();
    goes.add().unwrap();
    for path in files(&lab, &["run/attachments"]) {
        if file_name(&path).contains(GOES) {
            damage(&path, WAYS[0]);
        }
    }
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "stays", "ifname": "eth0"}]});
    plugin.with(&valid).call("GC").unwrap().ok().unwrap();
    assert_eq!(of_container(&lab), NONE);
    assert_eq!(goes.ns.links().unwrap(), ["lo"]);
    assert_eq!(stays.check(&result).unwrap().ok().unwrap(), "");
}
