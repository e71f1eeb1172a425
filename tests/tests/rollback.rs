//! A change that fails leaves everything as it was, and what is not netfast's alone.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::time::Duration;

use netfast_tests::{Finished, Lab, Ns, Running, require_root};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const NONE: [String; 0] = [];

const BEFORE: &str = r#"
networks: {lab: {subnet: 10.77.0.0/24, subnet6: "fd77::/64"}}
endpoints: {a: {ip: 10.77.0.2, command: [sleep, "1000"], publish: ["8080:80"]}, b: {}}
"#;

/// The topology of [`BEFORE`], changed, with a third endpoint that has these fields.
fn with_third(third: &str) -> String {
    format!(
        "networks: {{lab: {{subnet: 10.77.0.0/24, subnet6: \"fd77::/64\"}}, other: {{subnet: 10.78.0.0/24}}}}\n\
         endpoints:\n  a: {{network: lab, ip: 10.77.0.2, command: [sleep, \"999\"], publish: [\"8081:80\"]}}\n  c: {{network: lab}}\n  z: {{network: lab{third}}}\n"
    )
}

fn state(lab: &Lab) -> Value {
    let status = lab.netfast_json(&["status"]).unwrap();
    let mut endpoints = status["endpoints"].clone();
    for endpoint in endpoints.as_array_mut().unwrap() {
        endpoint["drops"] = Value::Null;
    }
    json!({
        "endpoints": endpoints, "networks": status["networks"], "ports": status["ports"], "links": status["links"],
        "up": status["up"], "devices": lab.host.links().unwrap(), "programs": status["programs"],
    })
}

/// One line that says these things.
fn refused(done: &Finished, said: &[&str]) {
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    assert!(said.iter().all(|said| done.stderr.contains(said)), "{said:?} in {done:?}");
    assert_eq!(done.stdout, "", "{done:?}");
}

/// `up` with `topology` is refused, with nothing up before and with [`BEFORE`] up.
fn refused_in_both_cases(lab: &Lab, topology: &str, said: &[&str], foreign: &dyn Fn() -> String) {
    let before = lab.file("before.yaml", BEFORE).unwrap();
    let file = lab.file("netfast.yaml", topology).unwrap();
    let theirs = foreign();
    refused(&lab.netfast(&["up", "-d", "-f", &file]).unwrap(), said);
    assert_eq!(foreign(), theirs);
    let devices = lab.host.links().unwrap();
    let left = lab.leftovers().unwrap();
    assert!(left.iter().all(|left| theirs.contains(left)), "{left:?}");
    assert_eq!(lab.netfast_json(&["status"]).unwrap()["up"], false);

    lab.netfast_ok(&["up", "-d", "-f", &before]).unwrap();
    let (a, b) = (lab.endpoint_ns("a").unwrap(), lab.endpoint_ns("b").unwrap());
    let _server = a.tcp_serve("[::]:80").unwrap();
    let mut flow = b.tcp_connect("10.77.0.2:80", SECOND).unwrap();
    let mut from_outside = lab.outside.tcp_connect("192.0.2.1:8080", SECOND).unwrap();
    let up = state(lab);
    refused(&lab.netfast(&["up", "-d", "-f", &file]).unwrap(), said);
    // The command was not even stopped: nothing of `a` that can stay is touched before what can fail.
    assert_eq!(state(lab), up);
    assert_eq!(foreign(), theirs);
    flow.ask().unwrap();
    from_outside.ask().unwrap();
    b.tcp_ask("[fd77::2]:80", SECOND).unwrap();
    lab.down().unwrap();
    assert_eq!(foreign(), theirs);
    assert_eq!(lab.host.links().unwrap(), devices);
    assert_eq!(lab.leftovers().unwrap(), left);
}

fn nothing() -> String {
    String::new()
}

#[test]
fn a_namespace_that_does_not_exist() {
    require_root!();
    let lab = Lab::new().unwrap();
    let said = ["netfast: up: endpoint z: ", "/nowhere/ns"];
    refused_in_both_cases(&lab, &with_third(", netns: /nowhere/ns"), &said, &nothing);
}

/// Found out only when the endpoints before it are made already.
#[test]
fn a_namespace_that_has_an_eth0() {
    require_root!();
    let lab = Lab::new().unwrap();
    let taken = Ns::new("taken").unwrap();
    taken.ip("link add eth0 type veth peer name eth1").unwrap();
    let third = format!(", netns: {}", taken.path().display());
    let said = ["netfast: up: endpoint z: create its veth pair: ", "exists"];
    refused_in_both_cases(&lab, &with_third(&third), &said, &nothing);
    assert_eq!(taken.links().unwrap(), ["eth0", "eth1", "lo"]);
}

#[test]
fn the_namespace_of_netfast_itself() {
    require_root!();
    let lab = Lab::new().unwrap();
    let third = format!(", netns: {}", lab.host.path().display());
    refused_in_both_cases(
        &lab,
        &with_third(&third),
        &["endpoint z: ", "an endpoint needs one of its own"],
        &nothing,
    );
}

#[test]
fn a_command_that_does_not_exist() {
    require_root!();
    let lab = Lab::new().unwrap();
    let file = lab.file("netfast.yaml", &with_third(", command: [/no/such/program]")).unwrap();
    let done = lab.netfast(&["up", "-d", "-f", &file]).unwrap();
    refused(&done, &["endpoint z: start its command", "/no/such/program"]);
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn foreign_devices_stay() {
    require_root!();
    for (device, kind, said) in [
        ("nf-other", "bridge", "network other: create its bridge: "),
        ("nf-other", "dummy", "network other: create its bridge: "),
        ("nf3-z", "dummy", "endpoint z: there is a device nf3-z already"),
    ] {
        let lab = Lab::new().unwrap();
        if lab.host.ip(&format!("link add {device} type {kind}")).is_err() {
            lab.host.ip(&format!("link add {device} type veth peer name x")).unwrap();
        }
        let show = || lab.host.ip(&format!("-d link show dev {device}")).unwrap();
        let theirs = show();
        let devices = lab.host.links().unwrap();
        let file = lab.file("netfast.yaml", &with_third("")).unwrap();
        refused(&lab.netfast(&["up", "-d", "-f", &file]).unwrap(), &["netfast: up: ", said]);
        assert_eq!(show(), theirs);
        assert_eq!(lab.host.links().unwrap(), devices);
        assert_eq!(lab.netfast_json(&["status"]).unwrap()["up"], false);
        lab.host.ip(&format!("link del {device}")).unwrap();
        assert_eq!(lab.leftovers().unwrap(), NONE);
        // Once it is out of the way:
        lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
        lab.down().unwrap();
        assert_eq!(lab.leftovers().unwrap(), NONE);
    }
}

#[test]
fn endpoints_in_existing_namespaces() {
    require_root!();
    let lab = Lab::new().unwrap();
    let (one, two) = (Ns::new("one").unwrap(), Ns::new("two").unwrap());
    let sleeper = Running::start(two.command("sleep").arg("1000")).unwrap();
    let file = lab
        .file(
            "netfast.yaml",
            &format!(
                "networks: {{lab: {{subnet: 10.77.0.0/24}}}}\nendpoints:\n  a: {{}}\n  one: {{netns: {}, ip: \
                 10.77.0.11}}\n  two: {{pid: {}, ip: 10.77.0.12}}\n",
                one.path().display(),
                sleeper.pid()
            ),
        )
        .unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    one.ping("10.77.0.12", SECOND).unwrap();
    two.ping("10.77.0.11", SECOND).unwrap();
    lab.endpoint_ns("a").unwrap().ping("10.77.0.12", SECOND).unwrap();
    assert_eq!(one.links().unwrap(), ["eth0", "lo"]);
    let status = state(&lab);
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    assert_eq!(state(&lab), status);
    lab.down().unwrap();
    for ns in [&one, &two] {
        assert_eq!(ns.links().unwrap(), ["lo"]);
    }
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn a_command_that_fails_with_nothing_up_leaves_nothing() {
    require_root!();
    let lab = Lab::new().unwrap();
    refused(&lab.netfast(&["endpoint", "add", "web"]).unwrap(), &["netfast up -f FILE"]);
    assert_eq!(lab.leftovers().unwrap(), NONE);
    refused(&lab.netfast(&["endpoint", "rm", "web"]).unwrap(), &["web"]);
    refused(&lab.netfast(&["endpoint", "inspect", "web"]).unwrap(), &["web"]);
    refused(&lab.netfast(&["exec", "web", "--", "true"]).unwrap(), &["web"]);
    assert_eq!(lab.leftovers().unwrap(), NONE);
}
