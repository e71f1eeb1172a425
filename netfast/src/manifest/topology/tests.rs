use super::*;
use crate::model::{Attachment, Endpoint};

fn read_text(text: &str) -> (Topology, Vec<String>) {
    let mut report = Report::new("n", text);
    let topology = read(text, &mut report);
    (topology, report.finish().iter().map(ToString::to_string).collect())
}

/// The complaints about a text, those of the checks among them.
fn complaints(text: &str) -> Vec<String> {
    let mut report = Report::new("n", text);
    let topology = read(text, &mut report);
    for problem in crate::model::check(&topology.world) {
        report.error(topology.places.of(&problem).unwrap_or(Pos::START), problem.to_string());
    }
    report.finish().iter().map(ToString::to_string).collect()
}

/// The one endpoint of a network, with these fields in flow style.
fn endpoint(fields: &str) -> Endpoint {
    let text = format!("networks: {{lab: {{subnet: 10.0.0.0/24}}}}\nendpoints: {{web: {fields}}}\n");
    let (topology, found) = read_text(&text);
    assert!(found.is_empty(), "{text}\n{found:?}");
    topology.world.endpoints.into_values().next().unwrap()
}

/// The complaints about fields of an endpoint in line 4.
fn endpoint_complaints(fields: &str) -> Vec<String> {
    complaints(&format!("networks: {{lab: {{subnet: 10.0.0.0/24}}}}\nendpoints:\n  web:\n    {fields}\n"))
}

#[test]
fn every_field_is_read() {
    let web = endpoint(
        "{network: lab, namespace: shop, labels: {app: web}, ip: 10.0.0.9, ip6: \"fd00::9\", mac: 02:00:00:00:00:10, \
         mtu: 1400, command: [httpd, -f, -p, 80]}",
    );
    assert_eq!(web.id.to_string(), "shop/web");
    assert_eq!(web.labels["app"], "web");
    assert_eq!(web.ip, "10.0.0.9".parse().ok());
    assert_eq!(web.ip6, "fd00::9".parse().ok());
    assert_eq!(web.mac, Some([2, 0, 0, 0, 0, 16]));
    assert_eq!(web.mtu, Some(1400));
    assert_eq!(web.command.unwrap(), ["httpd", "-f", "-p", "80"]);
    assert_eq!(endpoint("{command: \"sh -c 'a b'\"}").command.unwrap(), ["sh", "-c", "a b"]);
}

#[test]
fn names_stand_in_keys_or_in_items() {
    let (topology, found) = read_text(
        "networks: [{name: lab, subnet: 10.0.0.0/24}]\nnamespaces: [{name: shop, labels: {team: a}}]\nendpoints:\n- \
         name: web\n- {name: web, namespace: shop}\n- name: other/web\nuplinks: [eth0, wlan0]\npolicies: [p.yaml]\n",
    );
    assert!(found.is_empty(), "{found:?}");
    let names: Vec<_> = topology.world.endpoints.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["web", "other/web", "shop/web"]);
    assert_eq!(topology.world.uplinks.unwrap().len(), 2);
    assert_eq!(topology.policies[0].0, "p.yaml");
    assert_eq!(read_text("endpoints: {}\n").0.world.uplinks, None);
}

#[test]
fn ports_have_short_and_long_forms() {
    let web =
        endpoint("{ports: [80, \"81/udp\", http=82/tcp, {port: 83}, {name: x, port: 84, protocol: SCTP}]}");
    let found: Vec<_> = web.ports.iter().map(|p| format!("{:?} {}/{}", p.name, p.port, p.protocol)).collect();
    assert_eq!(
        found,
        ["None 80/tcp", "None 81/udp", "Some(\"http\") 82/tcp", "None 83/tcp", "Some(\"x\") 84/sctp"]
    );
}

#[test]
fn published_ports_have_short_and_long_forms() {
    let web = endpoint(
        "{publish: [80, 8080:80, {host: 8443, container: 443, protocol: udp, ip: 127.0.0.1, from: [10.0.0.0/8]}, \
         {host: 8000-8001, container: 80-81}, {container: 90}]}",
    );
    let found: Vec<_> = web
        .publish
        .iter()
        .map(|p| {
            format!(
                "{:?} {:?} {}/{} {:?}",
                p.host_ip,
                p.host.map(|h| h.to_string()),
                p.container,
                p.protocol,
                p.from
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            "None None 80/tcp []",
            "None Some(\"8080\") 80/tcp []",
            "Some(127.0.0.1) Some(\"8443\") 443/udp [10.0.0.0/8]",
            "None Some(\"8000-8001\") 80-81/tcp []",
            "None None 90/tcp []",
        ]
    );
}

#[test]
fn namespaces_are_paths_names_or_processes() {
    for (fields, wanted) in [
        ("{}", Attachment::Create),
        ("{netns: foo}", Attachment::Path("/run/netns/foo".into())),
        ("{netns: /proc/1/ns/net}", Attachment::Path("/proc/1/ns/net".into())),
        ("{netns: /var/run/netns/foo}", Attachment::Path("/run/netns/foo".into())),
        ("{pid: 1234}", Attachment::Pid(1234)),
    ] {
        assert_eq!(endpoint(fields).attachment, wanted, "{fields}");
    }
}

#[test]
fn wrong_endpoints_are_explained() {
    for (fields, wanted) in [
        ("label: {}", "n:4:5: endpoints.web.label: unknown field (did you mean labels?)"),
        ("name: web", "n:4:5: endpoints.web.name: unknown field (the key is the name)"),
        (
            "labels: {on: true}",
            "n:4:18: endpoints.web.labels.on: true is a truth value, not a text (quote it: \"true\")",
        ),
        ("ports: 80", "n:4:12: endpoints.web.ports: `ports` is a list (write [80])"),
        (
            "ports: [http]",
            "n:4:13: endpoints.web.ports[0]: \"http\" is not a port (write a number from 1 to 65535)",
        ),
        (
            "ports: [{name: HTTP, port: 80}]",
            "n:4:20: endpoints.web.ports[0].name: \"HTTP\" is not a port's name (write http)",
        ),
        (
            "publish: [8000-8010:80-81]",
            "n:4:15: endpoints.web.publish[0]: 11 host ports cannot lead to 2 container ports (make both ranges equally long)",
        ),
        ("publish: [{host: 80}]", "n:4:15: endpoints.web.publish[0]: `container` is missing"),
        (
            "publish: [{container: 80, from: []}]",
            "n:4:37: endpoints.web.publish[0].from: an empty list lets nobody in (for everyone, leave from out)",
        ),
        (
            "publish: [80:80, 80:81]",
            "n:4:22: endpoint web: publish[1]: host port 80/tcp is published twice, by publish[0] too",
        ),
        ("ip: fd00::9", "n:4:9: endpoints.web.ip: fd00::9 is not an IPv4 address (write it at ip6)"),
        (
            "ip: 10.0.0.9/24",
            "n:4:9: endpoints.web.ip: \"10.0.0.9/24\" is a block, not an address (write 10.0.0.9)",
        ),
        ("ip: 10.0.0.1", "n:4:9: endpoint web: ip: 10.0.0.1 is the gateway of network lab"),
        (
            "mac: 02:00",
            "n:4:10: endpoints.web.mac: \"02:00\" is not a MAC address (write it like 02:00:00:00:00:10)",
        ),
        ("mtu: 100000", "n:4:10: endpoints.web.mtu: 100000 is not between 1280 and 65521"),
        ("mtu: 500", "n:4:10: endpoint web: mtu: 500 is too small: IPv4 needs 576"),
        ("network: lob", "n:4:14: endpoint web: network: there is no network lob (known: lab)"),
        (
            "namespace: My",
            "n:4:16: endpoints.web.namespace: \"My\" is not a name: use lower-case letters, digits, '-' and '.', starting and ending with a letter or digit (write my)",
        ),
        ("command: \"echo 'a\"", "n:4:14: endpoints.web.command: the command has a ' that is never closed"),
        ("command: []", "n:4:14: endpoints.web.command: the command is empty"),
        (
            "{netns: a, pid: 1}",
            "n:4:16: endpoints.web.pid: netns and pid both say where the endpoint lives (drop one of them)",
        ),
        (
            "netns: a/b",
            "n:4:12: endpoints.web.netns: \"a/b\" is neither a name nor an absolute path (begin it with /)",
        ),
        ("pid: 0", "n:4:10: endpoints.web.pid: 0 is not the number of a process"),
    ] {
        assert_eq!(endpoint_complaints(fields), [wanted], "{fields}");
    }
}

#[test]
fn an_address_in_brackets_wants_quotes() {
    assert_eq!(
        endpoint_complaints("publish: [[::1]:80:80]")[0],
        "n:4:15: a key must be a text (quote a text that begins with `[` or `{`)"
    );
    assert_eq!(
        endpoint_complaints("publish: [[80]]"),
        [
            "n:4:15: endpoints.web.publish[0]: a published port is a text or a mapping, not a list (quote an address in \
             brackets: \"[::1]:8080:80\")"
        ]
    );
}

#[test]
fn wrong_files_are_explained() {
    for (text, wanted) in [
        ("", &["n:1:1: this file says nothing (it needs networks and endpoints)"][..]),
        ("uplinks: []\n---\nuplinks: []\n", &["n:3:1: a second document (write everything into one)"]),
        ("[]\n", &["n:1:1: `file` is a mapping, not a list"]),
        (
            "apiVersion: v1\n",
            &[
                "n:1:1: apiVersion: unknown field (policies are files of their own, named under `policies` or by --policy)",
            ],
        ),
        ("endpoints: {web: {}}\n", &["n:1:13: endpoint web: there is no network (add networks)"]),
        (
            "networks: {a: {subnet: 10.0.0.0/24}, b: {subnet: 10.0.1.0/24}}\nendpoints: {web: {}}\n",
            &["n:2:13: endpoint web: `network` is missing (there are a, b)"],
        ),
        (
            "networks: {a: {subnet: fd00::/64, subnet6: 10.0.0.0/24}}\nendpoints: {web: {}}\n",
            &[
                "n:1:24: networks.a.subnet: fd00::/64 is IPv6 (write it at subnet6)",
                "n:1:44: networks.a.subnet6: 10.0.0.0/24 is IPv4 (write it at subnet)",
            ],
        ),
        (
            "networks:\n  a: {subnet: 10.0.0.0/24}\n  b: {subnet: 10.0.0.0/16, internal: yes}\n",
            &["n:3:38: networks.b.internal: `internal` is true or false"],
        ),
        (
            "networks:\n  a: {subnet: 10.0.0.0/24}\n  b: {subnet: 10.0.0.0/16}\n",
            &["n:2:15: network a: subnet: 10.0.0.0/24 overlaps with 10.0.0.0/16 of network b"],
        ),
        (
            "networks: {a: {subnet: 10.0.0.0/24}}\nendpoints:\n- name: web\n- {}\n- name: default/web\n- name: a.b\n- \
             {name: x/y, namespace: z}\n",
            &[
                "n:4:3: endpoints[1]: `name` is missing",
                "n:5:9: endpoint web is there twice: here and on line 3 (give one of them another name)",
                "n:6:9: \"a.b\" has dots, which are not for this kind of name (write a-b)",
                "n:7:26: endpoints[4].namespace: z here, but x in the endpoint's name",
            ],
        ),
        (
            "networks:\n  lab: {subnet: 10.0.0.0/24}\n  lab: {subnet: 10.0.0.0/24}\n",
            &["n:3:3: \"lab\" stands here and on line 2 (a mapping takes each key once)"],
        ),
        (
            "uplinks: [eth0, eth0, a/b]\npolicies: p.yaml\n",
            &[
                "n:1:17: uplinks[1]: eth0 is there twice",
                "n:1:23: uplinks[2]: \"a/b\" is not the name of a device",
                "n:2:11: policies: `policies` is a list (write [p.yaml])",
            ],
        ),
    ] {
        assert_eq!(complaints(text), wanted, "{text}");
    }
}

#[test]
fn audit_is_true_or_false() {
    for (text, wanted) in [("", false), ("audit: true\n", true), ("audit: false\n", false)] {
        let (topology, found) = read_text(&format!("networks: {{}}\n{text}"));
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(topology.world.audit, wanted, "{text}");
    }
    let (_, found) = read_text("audit: some\n");
    assert_eq!(found[0], "n:1:8: audit: `audit` is true or false");
}

#[test]
fn established_flows_are_judged_again_or_kept() {
    for (text, wanted) in [
        ("networks: {}\n", Established::Recheck),
        ("established: recheck\n", Established::Recheck),
        ("established: keep\n", Established::Keep),
    ] {
        let (topology, found) = read_text(text);
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(topology.world.established, wanted, "{text}");
    }
    let (_, found) = read_text("established: always\n");
    assert_eq!(
        found,
        [
            "n:1:14: established: \"always\" is neither recheck nor keep (recheck: policies are asked again; keep: it goes on)"
        ]
    );
}
