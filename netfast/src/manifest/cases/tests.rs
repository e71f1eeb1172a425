use super::*;

/// Reads a text as file `f`, and returns its cases and what is said of it.
fn read(text: &str) -> (Vec<Case>, Vec<String>) {
    let mut cases = Vec::new();
    let found = read_file("f", text, Path::new("/nowhere"), &mut cases);
    (cases, found.iter().map(ToString::to_string).collect())
}

/// The complaints about a case whose lines after its id and endpoint `a` are these, from line 3 on.
fn complaints(rest: &str) -> Vec<String> {
    read(&format!("id: x\nendpoints: [{{name: a, ip: 10.0.0.2}}]\n{rest}")).1
}

const NONE: [String; 0] = [];

#[test]
fn json_and_yaml_alone_or_several_are_read() {
    let one = r#"{"id": "x", "endpoints": [{"name": "a", "namespace": "n", "ip": "10.0.0.2", "ip6": null,
        "labels": {"k": ""}, "ports": [{"port": 80, "protocol": "SCTP", "name": "http"}]}],
        "policies": ["kind: A\n"], "probes": [{"from": "n/a", "to": "ip:10.0.0.9", "port": 80,
        "protocol": "UDP", "family": 4, "expect": "deny"}], "smoke": [0], "sequence": {"id": "s", "step": 2, "of": 3}}"#;
    let (cases, found) = read(one);
    assert_eq!(found, NONE);
    let case = &cases[0];
    assert_eq!((case.id.as_str(), case.source.line, case.smoke.as_slice()), ("x", 1, &[0][..]));
    assert_eq!(case.policies[0].name, "x");
    let endpoint = case.endpoints.values().next().unwrap();
    assert_eq!(endpoint.ports[0].protocol, Protocol::Sctp);
    assert_eq!((endpoint.labels["k"].as_str(), endpoint.ip6), ("", None));
    let Probe { from, to, port, protocol, is_v6, expect } = &case.probes[0];
    assert_eq!((from.to_string(), to.to_string()), ("n/a".to_owned(), "ip:10.0.0.9".to_owned()));
    assert_eq!((*port, *protocol, *is_v6, *expect), (80, Protocol::Udp, Some(false), Verdict::Deny));
    assert_eq!(case.sequence, Some(Step { id: "s".to_owned(), step: 2 }));

    let several =
        format!("{{\"format\": \"{FORMAT}\", \"comment\": \"\", \"cases\": [{one}, {one}]}}\n---\n{one}");
    let (cases, found) = read(&several);
    assert_eq!((cases.len(), found), (3, NONE.into()));
}

#[test]
fn what_is_left_out_has_a_default() {
    let (cases, found) = read(
        "id: 1\nendpoints: [{name: a}]\nprobes: [{from: default/a, to: node, port: 1, expect: allow}]\n",
    );
    assert_eq!(found, NONE);
    let case = &cases[0];
    assert_eq!((case.id.as_str(), case.policies.len(), case.smoke.len()), ("1", 0, 0));
    assert_eq!(case.probes[0].protocol, Protocol::Tcp);
    assert_eq!(case.probes[0].is_v6, None);
}

#[test]
fn mistakes_have_their_places() {
    for (rest, wanted) in [
        ("", "f:1:1: `probes` is missing"),
        (
            "probes: [{from: default/b, to: node, port: 1, expect: deny}]\n",
            "f:3:17: probes[0].from: there is no endpoint default/b in this case",
        ),
        (
            "probes: [{from: a, to: node, port: 1, expect: deny}]\n",
            "f:3:17: probes[0].from: \"a\" is no end of a connection (write NAMESPACE/NAME, ip:ADDRESS or node)",
        ),
        (
            "probes: [{from: node, to: default/a, port: 0, expect: deny}]\n",
            "f:3:44: probes[0].port: port 0 is not between 1 and 65535",
        ),
        (
            "probes: [{from: node, to: default/a, port: 1, expect: drop}]\n",
            "f:3:55: probes[0].expect: \"drop\" is not a verdict (write allow or deny)",
        ),
        (
            "probes: [{from: node, to: default/a, port: 1, expected: deny}]\n",
            "f:3:47: probes[0].expected: unknown field (did you mean expect?); f:3:10: probes[0]: `expect` is missing",
        ),
        (
            "probes: [{from: 'ip:10.0.0.1', to: default/a, port: 1, family: 6, expect: deny}]\n",
            "f:3:10: probes[0]: ip:10.0.0.1 and default/a are not of one family",
        ),
        ("probes: []\nsmoke: [0]\n", "f:4:9: smoke[0]: there is no probe 0: there are 0, from 0 on"),
        (
            "probes: []\nformat: netpol-cases/2\n",
            "f:4:9: format: \"netpol-cases/2\" is not a format of cases (write netpol-cases/1)",
        ),
        (
            "probes: []\npolicies: [{kind: NetworkPolicy}]\n",
            "f:4:13: policies[0].kind: unknown field (a policy stands here as a text: put a `|` after the `-`)",
        ),
        (
            "probes: []\npolicies: [{file: a.yaml}]\n",
            "f:4:19: policies[0].file: /nowhere/a.yaml: cannot read: No such file or directory",
        ),
    ] {
        let mut found = complaints(rest);
        found.sort_by_key(|complaint| !complaint.contains("unknown field"));
        assert_eq!(found.join("; "), wanted, "{rest}");
    }
    let twice =
        "id: x\nendpoints: [{name: a, ip: 10.0.0.2}, {name: b, ip: 10.0.0.2}, {name: a}]\nprobes: []\n";
    assert_eq!(
        read(twice).1,
        [
            "f:2:38: endpoints[1]: 10.0.0.2 is the address of default/a, too",
            "f:2:63: endpoints[2]: endpoint default/a is there twice",
        ]
    );
    assert!(read(twice).0.is_empty());
}

#[test]
fn fields_of_others_are_only_warned_about() {
    let (cases, found) = read("id: x\nprobes: []\nowner: me\n");
    assert_eq!((cases.len(), found.len()), (1, 1));
    assert!(found[0].starts_with("f:3:1: owner: unknown field (known here: "), "{found:?}");
}
