//! From one topology to another, where the new one needs what the old one holds; and back, where that fails.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics where it fails, in its helpers too"
)]

use std::time::Duration;

use netfast_tests::{Lab, Ns, require_root};

const SECOND: Duration = Duration::from_secs(1);
const NONE: [String; 0] = [];

const FIRST: &str = r#"
networks: {lab: {subnet: 10.77.0.0/24}, other: {subnet: 10.78.0.0/24}}
endpoints:
  a: {network: lab, ip: 10.77.0.2, publish: ["8080:80"]}
  b: {network: lab, ip: 10.77.0.3, publish: ["8081:80"]}
  c: {network: other, ip: 10.78.0.2}
"#;

/// Topologies, and for each endpoint its address and published port.
#[expect(clippy::type_complexity, reason = "it is a table")]
const OTHERS: &[(&str, &str, &[(&str, &str, Option<u16>)])] = &[
    (
        "addresses swapped",
        r#"
networks: {lab: {subnet: 10.77.0.0/24}, other: {subnet: 10.78.0.0/24}}
endpoints:
  a: {network: lab, ip: 10.77.0.3, publish: ["8080:80"]}
  b: {network: lab, ip: 10.77.0.2, publish: ["8081:80"]}
  c: {network: other, ip: 10.78.0.2}
"#,
        &[("a", "10.77.0.3", Some(8080)), ("b", "10.77.0.2", Some(8081)), ("c", "10.78.0.2", None)],
    ),
    (
        "ports swapped",
        r#"
networks: {lab: {subnet: 10.77.0.0/24}, other: {subnet: 10.78.0.0/24}}
endpoints:
  a: {network: lab, ip: 10.77.0.2, publish: ["8081:80"]}
  b: {network: lab, ip: 10.77.0.3, publish: ["8080:80"]}
  c: {network: other, ip: 10.78.0.2}
"#,
        &[("a", "10.77.0.2", Some(8081)), ("b", "10.77.0.3", Some(8080)), ("c", "10.78.0.2", None)],
    ),
    (
        "subnets swapped",
        r#"
networks: {lab: {subnet: 10.78.0.0/24}, other: {subnet: 10.77.0.0/24}}
endpoints:
  a: {network: lab, ip: 10.78.0.2, publish: ["8080:80"]}
  b: {network: lab, ip: 10.78.0.3}
  c: {network: other, ip: 10.77.0.2}
"#,
        &[("a", "10.78.0.2", Some(8080)), ("b", "10.78.0.3", None), ("c", "10.77.0.2", None)],
    ),
    (
        "moved to another network, whose name is new",
        r#"
networks: {renamed: {subnet: 10.77.0.0/24}}
endpoints:
  a: {ip: 10.77.0.3, publish: ["8080:80"]}
  c: {ip: 10.77.0.2}
"#,
        &[("a", "10.77.0.3", Some(8080)), ("c", "10.77.0.2", None)],
    ),
    (
        "another MTU and another MAC address",
        r#"
networks: {lab: {subnet: 10.77.0.0/24, mtu: 1400}, other: {subnet: 10.78.0.0/24}}
endpoints:
  a: {network: lab, ip: 10.77.0.2, publish: ["8080:80"]}
  c: {network: other, ip: 10.78.0.2, mac: "02:00:00:00:00:99"}
"#,
        &[("a", "10.77.0.2", Some(8080)), ("c", "10.78.0.2", None)],
    ),
    ("nothing at all", "networks: {}\n", &[]),
];

/// What [`FIRST`] says.
const OF_FIRST: &[(&str, &str, Option<u16>)] =
    &[("a", "10.77.0.2", Some(8080)), ("b", "10.77.0.3", Some(8081)), ("c", "10.78.0.2", None)];

/// Each endpoint has its address, answers the host there, and is who answers at its port.
fn check(lab: &Lab, wanted: &[(&str, &str, Option<u16>)], when: &str) {
    let endpoints = lab.netfast_json(&["endpoint", "ls"]).unwrap();
    let names: Vec<_> = endpoints.as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, wanted.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), "{when}");
    let ports = lab.netfast_json(&["port", "ls"]).unwrap();
    assert_eq!(ports.as_array().unwrap().len(), wanted.iter().filter(|w| w.2.is_some()).count(), "{when}");
    let open: Vec<Ns> = names.iter().map(|name| lab.endpoint_ns(name).unwrap()).collect();
    let _servers: Vec<_> = open.iter().map(|ns| ns.tcp_serve("0.0.0.0:80").unwrap()).collect();
    for (name, ip, port) in wanted {
        assert_eq!(lab.host.tcp_ask(&format!("{ip}:80"), SECOND).expect(when).by, *name, "{when}");
        if let Some(port) = port {
            let address = format!("192.0.2.1:{port}");
            assert_eq!(lab.outside.tcp_ask(&address, SECOND).expect(when).by, *name, "{when}");
        }
    }
    // And each reaches the others of its network.
    for (ns, (_, from, _)) in open.iter().zip(wanted) {
        for (_, to, _) in wanted.iter().filter(|(_, to, _)| to[..6] == from[..6]) {
            ns.tcp_ask(&format!("{to}:80"), SECOND).expect(when);
        }
    }
}

#[test]
fn there_and_back() {
    require_root!();
    let lab = Lab::new().unwrap();
    let first = lab.file("first.yaml", FIRST).unwrap();
    for (name, topology, wanted) in OTHERS {
        lab.netfast_ok(&["up", "-d", "-f", &first]).unwrap();
        check(&lab, OF_FIRST, name);
        let file = lab.file("netfast.yaml", topology).unwrap();
        lab.netfast_ok(&["up", "-d", "-f", &file]).expect(name);
        check(&lab, wanted, name);
    }
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

/// The last endpoint cannot be made, when all the others have been replaced already.
#[test]
fn there_in_vain_and_back() {
    require_root!();
    let lab = Lab::new().unwrap();
    let taken = Ns::new("taken").unwrap();
    taken.ip("link add eth0 type veth peer name eth1").unwrap();
    let first = lab.file("first.yaml", FIRST).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &first]).unwrap();
    for (name, topology, _) in OTHERS.iter().filter(|(_, topology, _)| topology.contains("endpoints")) {
        let network = if topology.contains("renamed") { "renamed" } else { "lab" };
        let z = format!("  z: {{network: {network}, netns: {}}}\n", taken.path().display());
        let file = lab.file("netfast.yaml", &format!("{topology}{z}")).unwrap();
        let done = lab.netfast(&["up", "-d", "-f", &file]).unwrap();
        assert_eq!(done.status.code(), Some(1), "{name}: {done:?}");
        assert!(
            done.stderr.starts_with("netfast: up: endpoint z: create its veth pair: "),
            "{name}: {done:?}"
        );
        check(&lab, OF_FIRST, name);
    }
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}
