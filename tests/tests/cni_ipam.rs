//! Addresses that another plugin gives: what it is told, and what becomes of what it says.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netfast_tests::{Lab, Plugin, address, place_program, require_root};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(10);

/// A plugin that notes how it is called and answers from files: `answer`, and `code` where it is to fail.
const GIVER: &str = r#"#!/bin/sh
dir=$(dirname "$0")
input=$(cat)
printf '%s %s %s %s\n' "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_IFNAME" "$CNI_ARGS" >>"$dir/calls"
printf '%s' "$input" >"$dir/input"
ls /proc/self/fd >"$dir/open"
echo noise >&2
if [ -e "$dir/fail-$CNI_COMMAND" ]; then cat "$dir/fail-$CNI_COMMAND"; exit 1; fi
if [ "$CNI_COMMAND" = ADD ]; then cat "$dir/answer"; fi
exit 0
"#;

/// A lab's plugin with `giver` for addresses, which lives in the directory.
struct Given<'a> {
    plugin: Plugin<'a>,
    dir: PathBuf,
}

fn given(lab: &Lab) -> Given<'_> {
    let dir = lab.dir().join("plugins");
    fs::create_dir(&dir).unwrap();
    place_program(&dir.join("giver"), GIVER.as_bytes()).unwrap();
    let plugin = lab.plugin(&json!({"cniVersion": "1.1.0", "ipam": {"type": "giver", "own": [1]}}));
    Given { plugin: plugin.with_path(&dir), dir }
}

impl Given<'_> {
    fn answers(&self, v4: &str) {
        let answer = json!({
            "cniVersion": "1.1.0",
            "ips": [{"address": v4, "gateway": "10.60.0.9"}, {"address": "fd60::7/64"}],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "203.0.113.0/24", "gw": "10.60.0.200"}],
            "dns": {"nameservers": ["192.0.2.60"]},
        });
        fs::write(self.dir.join("answer"), answer.to_string()).unwrap();
    }

    fn fails(&self, command: &str, with: Option<&str>) {
        let path = self.dir.join(format!("fail-{command}"));
        match with {
            Some(answer) => fs::write(path, answer).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
    }

    /// The calls since the last time.
    fn calls(&self) -> Vec<String> {
        let path = self.dir.join("calls");
        let calls = fs::read_to_string(&path)
            .unwrap_or_default()
            .lines()
            .map(|line| line.trim().to_owned())
            .collect();
        drop(fs::remove_file(path));
        calls
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn it_is_told_everything_and_believed() {
    require_root!();
    let lab = Lab::new().unwrap();
    let given = given(&lab);
    given.answers("10.60.0.7/24");
    let container = given.plugin.container("c1").unwrap().with_args("IgnoreUnknown=1;X=y");
    let result = container.add().unwrap();
    assert_eq!(given.calls(), ["ADD c1 eth0 IgnoreUnknown=1;X=y"]);
    assert_eq!(read(&given.dir.join("input")), given.plugin.config());
    let open = fs::read_to_string(given.dir.join("open")).unwrap();
    // The three standard ones, the shell's script, and the directory that is listed.
    assert!(open.lines().count() <= 5, "{open}");
    assert_eq!(
        (address(&result, 4).unwrap(), address(&result, 6).unwrap()),
        ("10.60.0.7".into(), "fd60::7".into())
    );
    assert_eq!(result["dns"], json!({"nameservers": ["192.0.2.60"]}));
    let routes = container.ns.ip("route").unwrap();
    assert!(routes.contains("default via 10.60.0.9 dev eth0"), "{routes}");
    assert!(routes.contains("203.0.113.0/24 via 10.60.0.200"), "{routes}");
    container.ns.ping("10.60.0.9", SECOND).unwrap();

    // The next one is in the same network.
    given.answers("10.60.0.8/24");
    let answer = fs::read_to_string(given.dir.join("answer")).unwrap().replace("fd60::7", "fd60::8");
    fs::write(given.dir.join("answer"), answer).unwrap();
    let next = given.plugin.container("c2").unwrap();
    next.add().unwrap();
    next.ns.ping("10.60.0.7", SECOND).unwrap();
    given.calls();

    assert_eq!(container.check(&result).unwrap().ok().unwrap(), "");
    assert_eq!(given.plugin.call("STATUS").unwrap().ok().unwrap(), "");
    let list = json!({"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]});
    given.plugin.with(&list).call("GC").unwrap().ok().unwrap();
    container.del().unwrap();
    container.del().unwrap();
    let args = "IgnoreUnknown=1;X=y";
    assert_eq!(
        given.calls(),
        [
            format!("CHECK c1 eth0 {args}"),
            "STATUS".to_owned(),
            "GC".to_owned(),
            format!("DEL c1 eth0 {args}"),
            format!("DEL c1 eth0 {args}")
        ]
    );
    assert_eq!(next.ns.links().unwrap(), ["lo"], "it was on no list");
}

#[test]
fn what_it_gave_is_given_back_where_something_else_fails() {
    require_root!();
    let lab = Lab::new().unwrap();
    let given = given(&lab);
    given.answers("10.60.0.7/24");
    let first = given.plugin.container("c1").unwrap();
    first.add().unwrap();
    // Twice the same: the first keeps what it was given.
    assert_eq!(first.call("ADD").unwrap().failure().unwrap().0, 7);
    assert_eq!(given.calls(), ["ADD c1 eth0"]);
    // The same address for another one.
    let second = given.plugin.container("c2").unwrap();
    assert_eq!(second.call("ADD").unwrap().failure().unwrap().0, 100);
    assert_eq!(given.calls(), ["ADD c2 eth0", "DEL c2 eth0"]);
    assert_eq!(second.ns.links().unwrap(), ["lo"]);
    // What it says cannot be used.
    for answer in [
        r#"{"cniVersion": "1.1.0"}"#,
        r#"{"ips": [{"address": "x"}]}"#,
        r#"{"ips": [{"address": "10.60.0.1/24"}, {"address": "10.60.0.2/24"}]}"#,
    ] {
        fs::write(given.dir.join("answer"), answer).unwrap();
        second.call("ADD").unwrap().failure().unwrap();
        assert_eq!(given.calls(), ["ADD c2 eth0", "DEL c2 eth0"], "{answer}");
    }
}

#[test]
fn what_it_complains_about_is_passed_on() {
    require_root!();
    let lab = Lab::new().unwrap();
    let given = given(&lab);
    given.answers("10.60.0.7/24");
    let container = given.plugin.container("c1").unwrap();
    let said = r#"{"cniVersion": "1.1.0", "code": 117, "msg": "no more", "details": "really"}"#;
    let passed_on = |answer: netfast_tests::Answer| {
        assert_eq!(answer.code, Some(1));
        assert!(answer.stderr.contains("noise"), "{answer:?}");
        assert_eq!(
            serde_json::from_str::<Value>(&answer.stdout).unwrap(),
            serde_json::from_str::<Value>(said).unwrap()
        );
    };
    given.fails("ADD", Some(said));
    passed_on(container.call("ADD").unwrap());
    assert_eq!(container.ns.links().unwrap(), ["lo"]);
    given.fails("ADD", Some("not JSON"));
    let (code, message) = container.call("ADD").unwrap().failure().unwrap();
    assert_eq!(code, 100);
    assert!(
        message.contains("ipam plugin giver: it failed (exit status: 1) and said: \"not JSON\""),
        "{message}"
    );
    given.fails("ADD", None);
    let result = container.add().unwrap();
    given.fails("CHECK", Some(said));
    passed_on(container.check(&result).unwrap());
    given.fails("STATUS", Some(said));
    passed_on(given.plugin.call("STATUS").unwrap());
    given.fails("STATUS", Some("not JSON"));
    assert_eq!(given.plugin.call("STATUS").unwrap().failure().unwrap().0, 50);
    let nowhere = given.plugin.with_path(&lab.dir().join("nowhere"));
    assert_eq!(nowhere.call("STATUS").unwrap().failure().unwrap().0, 50);
    given.fails("GC", Some(said));
    let garbage = given.plugin.with(&json!({"cni.dev/valid-attachments": []})).call("GC").unwrap();
    assert_eq!(garbage.failure().unwrap().0, 117);
    // What it cannot do does not keep the rest from being done.
    let container = given.plugin.container("c2").unwrap();
    container.add().unwrap();
    given.fails("DEL", Some(said));
    passed_on(container.call("DEL").unwrap());
    assert_eq!(container.ns.links().unwrap(), ["lo"]);
}
