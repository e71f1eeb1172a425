//! The protocol of the CNI plugin: what is said on which stream, with which code, in which version.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics where it fails, in its helpers too"
)]

use netfast_tests::{Answer, Lab, Plugin, require_root};
use serde_json::{Value, json};

const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("one JSON document, not {text:?}: {e}"))
}

/// A failure as it is printed, word for word.
#[track_caller]
fn fails(answer: &Answer, wanted: &Value) {
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_eq!(json_of(&answer.stdout), *wanted);
}

fn plugin<'a>(lab: &'a Lab, version: &str) -> Plugin<'a> {
    lab.plugin(&json!({"cniVersion": version, "ipam": {"subnet": "10.77.0.0/24"}}))
}

/// The result of one container in one version.
fn result(version: &str, result: &Value, netns: &str) -> Value {
    let newest = version == "1.1.0";
    let old = version < "1.0.0";
    let mut interfaces = json!([
        {"name": "nf-lab", "mac": result["interfaces"][0]["mac"]},
        {"name": result["interfaces"][1]["name"], "mac": result["interfaces"][1]["mac"]},
        {"name": "eth0", "mac": result["interfaces"][2]["mac"], "sandbox": netns},
    ]);
    for interface in interfaces.as_array_mut().unwrap().iter_mut().filter(|_| newest) {
        interface["mtu"] = json!(1500);
    }
    let mut ip = json!({"interface": 2, "address": "10.77.0.2/24", "gateway": "10.77.0.1"});
    if old {
        ip["version"] = json!("4");
    }
    json!({
        "cniVersion": version,
        "interfaces": interfaces,
        "ips": [ip],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.77.0.1"}],
        "dns": {},
    })
}

#[test]
fn every_version_has_its_commands_and_its_form() {
    require_root!();
    let lab = Lab::new().unwrap();
    for version in VERSIONS {
        let plugin = plugin(&lab, version);
        let container = plugin.container("c1").unwrap();
        let netns = container.ns.path().display().to_string();
        let added = container.add().unwrap();
        assert_eq!(added, result(version, &added, &netns), "{version}");
        for place in 0..3 {
            let mac = added["interfaces"][place]["mac"].as_str().unwrap();
            assert_eq!((mac.len(), mac.split(':').count()), (17, 6), "{mac}");
        }

        let checked = container.check(&added).unwrap();
        let too_old = |command: &str, since: &str| {
            let message =
                format!("{command} came with CNI version {since}, and the configuration has {version}");
            json!({"cniVersion": version, "code": 1, "msg": message})
        };
        if version == "0.3.1" {
            fails(&checked, &too_old("CHECK", "0.4.0"));
        } else {
            assert_eq!(checked.ok().unwrap(), "");
        }
        let gc =
            plugin.with(&json!({"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}));
        for (command, answer) in [("GC", gc.call("GC").unwrap()), ("STATUS", plugin.call("STATUS").unwrap())]
        {
            if version == "1.1.0" {
                assert_eq!(answer.ok().unwrap(), "", "{command}");
            } else {
                fails(&answer, &too_old(command, "1.1.0"));
            }
        }
        container.del().unwrap();
        container.del().unwrap();
    }
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), Vec::<String>::new());
}

#[test]
fn the_versions_are_told_to_whoever_asks() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab, "1.0.0");
    let junk =
        [("CNI_COMMAND", "VERSION"), ("CNI_NETNS", "dummy"), ("CNI_IFNAME", "dummy"), ("CNI_PATH", "dummy")];
    for (input, echoed) in [(r#"{"cniVersion": "0.4.0"}"#, "0.4.0"), ("", "1.1.0"), ("junk", "1.1.0")] {
        let told = plugin.call_with(&junk, input).unwrap().ok().unwrap();
        assert_eq!(json_of(&told), json!({"cniVersion": echoed, "supportedVersions": VERSIONS}));
    }
    assert_eq!(lab.leftovers().unwrap().iter().filter(|left| left.ends_with(".json")).count(), 0);
}

#[test]
fn old_versions_are_refused() {
    require_root!();
    let lab = Lab::new().unwrap();
    for version in ["0.1.0", "0.2.0", "", "2.0.0"] {
        let plugin = plugin(&lab, version);
        let said = if version.is_empty() { "0.1.0" } else { version };
        let answered = if version.is_empty() { "1.1.0" } else { version };
        let supported = "0.3.1, 0.4.0, 1.0.0, 1.1.0";
        let wanted = json!({
            "cniVersion": answered,
            "code": 1,
            "msg": format!("the configuration has CNI version {said:?}, netfast speaks {supported}"),
            "details": format!("config is {said:?}, plugin supports [{supported}]"),
        });
        for command in ["ADD", "DEL"] {
            fails(&plugin.container("c1").unwrap().call(command).unwrap(), &wanted);
        }
    }
}

#[test]
fn wrong_environments_are_named_whole() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab, "1.0.0");
    let input = plugin.config().to_string();
    let wrong = |variables: &[(&str, &str)], message: &str| {
        let wanted = json!({"cniVersion": "1.1.0", "code": 4, "msg": message});
        fails(&plugin.call_with(variables, &input).unwrap(), &wanted);
    };
    wrong(&[("CNI_COMMAND", "ADD")], "ADD without CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH");
    wrong(&[("CNI_COMMAND", "DEL"), ("CNI_PATH", "/x")], "DEL without CNI_CONTAINERID, CNI_IFNAME");
    wrong(
        &[("CNI_COMMAND", "FLY")],
        "CNI_COMMAND is \"FLY\", which is none of ADD, DEL, CHECK, GC, STATUS, VERSION",
    );
    let container = plugin.container("c1").unwrap().with_ifname("a/b");
    let variables = container.variables("ADD", "/nowhere");
    wrong(&variables, "CNI_IFNAME is \"a/b\": it has a '/', a ':' or a space in it");
    let container = plugin.container("c1").unwrap().with_args("A=b");
    wrong(
        &container.variables("ADD", "/nowhere"),
        "CNI_ARGS: A is not known (with IgnoreUnknown=1 it is passed over)",
    );
}

#[test]
fn wrong_configurations_are_refused_before_anything_is_done() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab, "1.0.0");
    let container = plugin.container("c1").unwrap();
    let netns = container.ns.path().display().to_string();
    let variables = container.variables("ADD", &netns);
    for (input, code) in [("", 6), ("[]", 6), ("{\"cniVersion\": \"1.0.0\", \"mtu\": \"x\"}", 6)] {
        assert_eq!(plugin.call_with(&variables, input).unwrap().failure().unwrap().0, code, "{input}");
    }
    for (more, code, message) in [
        (json!({"name": ""}), 7, "the configuration has no name"),
        (
            json!({"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "sctp"}]}}),
            2,
            "portMappings[0]: protocol is \"sctp\"; netfast publishes tcp and udp",
        ),
        (json!({"ipam": {"type": "nowhere"}}), 7, "ipam.type: there is no plugin nowhere in CNI_PATH"),
        (
            json!({"ipam": {"subnet": "10.77.0.0/24", "gateway": "10.77.1.1"}}),
            7,
            "ipam.ranges[0]: gateway is 10.77.1.1, which is not in 10.77.0.0/24",
        ),
    ] {
        let answer = container.under(&plugin.with(&more)).call("ADD").unwrap();
        assert_eq!(answer.failure().unwrap(), (code, message.to_owned()));
    }
    assert_eq!(lab.host.links().unwrap(), ["lo", "uplink0"]);
}

#[test]
fn the_hosts_own_namespace_is_no_containers() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab, "1.0.0");
    let own = lab.host.path().display().to_string();
    let container = plugin.of(&lab.host, "c1");
    let (code, message) = container.call("ADD").unwrap().failure().unwrap();
    assert_eq!((code, message), (8, format!("{own} is the network namespace netfast itself runs in")));
    let (code, _) = container.call_in("ADD", "/nowhere").unwrap().failure().unwrap();
    assert_eq!(code, 8);
    let file = lab.file("file", "").unwrap();
    let (code, message) = container.call_in("ADD", &file).unwrap().failure().unwrap();
    assert_eq!(code, 8, "{message}");
    assert_eq!(lab.host.links().unwrap(), ["lo", "uplink0"]);
}

#[test]
fn without_a_command_it_says_what_it_is() {
    require_root!();
    let lab = Lab::new().unwrap();
    let name = lab.dir().join("netfast-cni");
    std::os::unix::fs::symlink(lab.binary(), &name).unwrap();
    let done = lab.host.finish(name.to_str().unwrap(), &[], std::time::Duration::from_secs(20)).unwrap();
    assert!(done.success() && done.stdout.is_empty(), "{done:?}");
    assert!(done.stderr.contains("CNI versions: 0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{done:?}");
}
