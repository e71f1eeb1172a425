//! Containers that the CNI plugin attaches: what they reach, and who reaches them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test panics where it fails, in its helpers too"
)]

use std::time::Duration;

use netfast_tests::{HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, Plugin, address, require_root};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

/// Both families, on the network `lab`.
fn dual(lab: &Lab) -> Plugin<'_> {
    lab.plugin(&json!({"ipam": {"ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]}}))
}

fn both(result: &Value) -> [String; 2] {
    [address(result, 4).unwrap(), format!("[{}]", address(result, 6).unwrap())]
}

#[track_caller]
fn refused(from: &Ns, to: &str) {
    let kind = from.tcp_ask(to, SHORT).unwrap_err().kind();
    let is_refused = matches!(kind, std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::TimedOut);
    assert!(is_refused, "{to}: {kind}");
}

#[test]
fn containers_reach_each_other_and_the_outside() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = dual(&lab);
    let (web, client) = (plugin.container("web").unwrap(), plugin.container("client").unwrap());
    let (web_result, client_result) = (web.add().unwrap(), client.add().unwrap());
    let _inside = web.ns.tcp_serve("[::]:80").unwrap();
    let _outside = lab.outside.tcp_serve("[::]:80").unwrap();
    for (address, own) in both(&web_result).iter().zip(both(&client_result)) {
        let reply = client.ns.tcp_ask(&format!("{address}:80"), SECOND).unwrap();
        assert_eq!(
            (reply.by.as_str(), reply.seen_source.ip().to_string()),
            ("web", own.replace(['[', ']'], ""))
        );
    }
    // What goes out has an address of the host.
    for (outside, host) in [(OUTSIDE_V4.to_owned(), HOST_V4), (format!("[{OUTSIDE_V6}]"), HOST_V6)] {
        let reply = client.ns.tcp_ask(&format!("{outside}:80"), SECOND).unwrap();
        assert_eq!(reply.seen_source.ip().to_string(), host);
    }
    // What the outside did not begin, it does not get in.
    lab.outside.ip(&format!("route add 10.77.0.0/24 via {HOST_V4}")).unwrap();
    refused(&lab.outside, &format!("{}:80", address(&web_result, 4).unwrap()));
    client.ns.ping(&address(&web_result, 4).unwrap(), SECOND).unwrap();
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    require_root!();
    let lab = Lab::new().unwrap();
    let ports = json!({"runtimeConfig": {"portMappings": [
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "TCP"},
        {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "0.0.0.0"},
        {"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": HOST_V4},
        {"hostPort": 0, "containerPort": 81, "protocol": "tcp"},
    ]}});
    let plugin = dual(&lab);
    let web = plugin.with(&ports).container("web").unwrap();
    let client = plugin.container("client").unwrap();
    let result = web.add().unwrap();
    client.add().unwrap();
    let _tcp = web.ns.tcp_serve("[::]:80").unwrap();
    let _udp = web.ns.udp_serve(&format!("{}:53", address(&result, 4).unwrap())).unwrap();
    let v6 = format!("[{HOST_V6}]");
    // From outside, from the host, from a neighbour, and from the container itself.
    for (from, host) in [
        (&lab.outside, HOST_V4),
        (&lab.outside, v6.as_str()),
        (&lab.host, "127.0.0.1"),
        (&lab.host, "[::1]"),
        (&client.ns, HOST_V4),
        (&web.ns, HOST_V4),
    ] {
        let reply = from.tcp_ask(&format!("{host}:8080"), SECOND);
        let reply = reply.unwrap_or_else(|e| panic!("{} asks {host}: {e}", from.name()));
        assert_eq!(reply.by, "web");
    }
    assert_eq!(lab.outside.udp_ask(&format!("{HOST_V4}:5353"), SECOND).unwrap().by, "web");
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8081"), SECOND).unwrap().by, "web");
    refused(&lab.host, "127.0.0.1:8081");

    // Another container is told whose the port is; once it is free, it may have it at once.
    let second = plugin.with(&ports).container("second").unwrap();
    let (code, message) = second.call("ADD").unwrap().failure().unwrap();
    assert_eq!(code, 100);
    assert!(message.contains("host port 8080/tcp is published by endpoint web already"), "{message}");
    assert_eq!(second.ns.links().unwrap(), ["lo"]);
    web.del().unwrap();
    let result = second.add().unwrap();
    let _udp = second.ns.udp_serve(&format!("{}:53", address(&result, 4).unwrap())).unwrap();
    assert_eq!(lab.outside.udp_ask(&format!("{HOST_V4}:5353"), SECOND).unwrap().by, "second");
}

#[test]
fn one_mapping_for_two_networks_of_a_container() {
    require_root!();
    let lab = Lab::new().unwrap();
    // As podman sends it: the same ports to each network.
    let ports = json!({"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}});
    let one = lab.plugin(&json!({"ipam": {"subnet": "10.77.0.0/24"}})).with(&ports);
    let two = lab.plugin(&json!({"name": "two", "ipam": {"subnet": "10.78.0.0/24"}})).with(&ports);
    let first = one.container("c").unwrap();
    let second = first.under(&two).with_ifname("eth1");
    first.add().unwrap();
    second.add().unwrap();
    let _server = first.ns.tcp_serve("[::]:80").unwrap();
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), SECOND).unwrap().by, "c");
    // The default route is that of the first network: by it the answers come.
    let routes = first.ns.ip("route").unwrap();
    assert_eq!(routes.matches("default via").count(), 1, "{routes}");
    assert!(routes.contains("default via 10.77.0.1 dev eth0"), "{routes}");
    second.del().unwrap();
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), SECOND).unwrap().by, "c");
    first.del().unwrap();
    assert_eq!(first.ns.links().unwrap(), ["lo"]);
}

#[test]
fn addresses_are_those_that_are_asked_for() {
    require_root!();
    let lab = Lab::new().unwrap();
    let ipam = json!({"ipam": {
        "ranges": [
            [{"subnet": "10.77.0.0/24", "rangeStart": "10.77.0.10", "rangeEnd": "10.77.0.11", "gateway": "10.77.0.254"}],
            [{"subnet": "fd77::/64", "gateway": "fd77::ff"}],
        ],
        "routes": [{"dst": "198.51.100.0/24"}, {"dst": "203.0.113.0/24", "gw": "10.77.0.10"}],
    }});
    let plugin = lab.plugin(&ipam);
    let asked = json!({"runtimeConfig": {"ips": ["10.77.0.11/24", "fd77::5"], "mac": "02:00:00:00:00:77"}});
    let fixed = plugin.with(&asked).container("fixed").unwrap();
    let result = fixed.add().unwrap();
    assert_eq!(both(&result), ["10.77.0.11", "[fd77::5]"]);
    assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:77");
    assert_eq!(result["ips"][0]["gateway"], "10.77.0.254");
    assert!(fixed.ns.ip("link show dev eth0").unwrap().contains("02:00:00:00:00:77"));
    let routes = fixed.ns.ip("route").unwrap();
    for route in [
        "default via 10.77.0.254 dev eth0",
        "198.51.100.0/24 via 10.77.0.254",
        "203.0.113.0/24 via 10.77.0.10",
    ] {
        assert!(routes.contains(route), "{route} is not in {routes}");
    }
    // The gateway is where it is said to be.
    fixed.ns.ping("10.77.0.254", SECOND).unwrap();
    fixed.ns.ping("fd77::ff", SECOND).unwrap();
    let other = plugin.container("other").unwrap();
    assert_eq!(address(&other.add().unwrap(), 4).unwrap(), "10.77.0.10");

    let third = plugin.container("third").unwrap();
    let (code, message) = third.call("ADD").unwrap().failure().unwrap();
    assert_eq!(code, 100);
    assert!(
        message.contains("network lab has no free address left in the ranges of 10.77.0.0/24"),
        "{message}"
    );
    let (code, message) =
        plugin.with(&json!({"cniVersion": "1.1.0"})).call("STATUS").unwrap().failure().unwrap();
    assert_eq!(code, 50);
    assert!(message.contains("has no free address left"), "{message}");
    let taken = third.with_args("IP=10.77.0.11").call("ADD").unwrap().failure().unwrap();
    assert_eq!(taken.0, 100, "{taken:?}");
    assert_eq!(
        lab.host.links().unwrap().iter().filter(|link| link.starts_with("nf")).count(),
        4,
        "a bridge, two veths, fragments"
    );
}

#[test]
fn a_freed_address_is_not_used_again_at_once() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin =
        lab.plugin(&json!({"ipam": {"ranges": [[{"subnet": "10.77.0.0/29"}], [{"subnet": "fd77::/64"}]]}}));
    let mut seen = Vec::new();
    for n in 0..6 {
        let container = plugin.container(&format!("c{n}")).unwrap();
        let result = container.add().unwrap();
        seen.push(both(&result));
        container.del().unwrap();
    }
    let v4: Vec<_> = seen.iter().map(|[v4, _]| v4.as_str()).collect();
    // Five are to be had; then it begins again.
    assert_eq!(v4, ["10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.0.5", "10.77.0.6", "10.77.0.2"]);
    let v6: std::collections::BTreeSet<_> = seen.iter().map(|[_, v6]| v6).collect();
    assert_eq!(v6.len(), 6, "{seen:?}");
}

#[test]
fn a_network_without_a_way_out_or_without_masquerade() {
    require_root!();
    let lab = Lab::new().unwrap();
    let _outside = lab.outside.tcp_serve("[::]:80").unwrap();
    let routed = lab.plugin(&json!({"name": "routed", "ipMasq": false, "ipam": {"subnet": "10.78.0.0/24"}}));
    let container = routed.container("routed").unwrap();
    let result = container.add().unwrap();
    lab.outside.ip(&format!("route add 10.78.0.0/24 via {HOST_V4}")).unwrap();
    let own = address(&result, 4).unwrap();
    let reply = container.ns.tcp_ask(&format!("{OUTSIDE_V4}:80"), SECOND).unwrap();
    assert_eq!(reply.seen_source.ip().to_string(), own);
    let _server = container.ns.tcp_serve("[::]:80").unwrap();
    assert_eq!(lab.outside.tcp_ask(&format!("{own}:80"), SECOND).unwrap().by, "routed");

    let without = lab
        .plugin(&json!({"name": "without", "isDefaultGateway": false, "ipam": {"subnet": "10.79.0.0/24"}}));
    let container = without.container("without").unwrap();
    let result = container.add().unwrap();
    assert_eq!(result.get("routes"), None);
    assert!(!container.ns.ip("route").unwrap().contains("default"));
    let said = without.with(&json!({"ipam": {"subnet": "10.79.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}));
    let container = said.container("said").unwrap();
    assert_eq!(container.add().unwrap()["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.79.0.1"}]));
    container.ns.tcp_ask(&format!("{OUTSIDE_V4}:80"), SECOND).unwrap();

    let internal =
        lab.plugin(&json!({"name": "internal", "internal": true, "ipam": {"subnet": "10.80.0.0/24"}}));
    let container = internal.container("internal").unwrap();
    container.add().unwrap();
    container.ns.tcp_ask(&format!("{OUTSIDE_V4}:80"), SHORT).unwrap_err();
}

#[test]
fn a_network_of_a_file_is_joined() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up("{networks: {lab: {subnet: 10.90.0.0/24, mtu: 1400}}, endpoints: {db: {}}}").unwrap();
    let plugin = lab.plugin(&json!({}));
    let container = plugin.container("c1").unwrap();
    let result = container.add().unwrap();
    assert!(address(&result, 4).unwrap().starts_with("10.90.0."));
    assert!(container.ns.ip("link show dev eth0").unwrap().contains("mtu 1400"));
    let db = lab.endpoint_ns("db").unwrap();
    let _server = db.tcp_serve("[::]:80").unwrap();
    let db = lab.inspect("db").unwrap()["ip"].as_str().unwrap().to_owned();
    assert_eq!(container.ns.tcp_ask(&format!("{db}:80"), SECOND).unwrap().by, "db");
    let other = plugin.with(&json!({"ipam": {"subnet": "10.91.0.0/24"}})).container("c2").unwrap();
    let (code, message) = other.call("ADD").unwrap().failure().unwrap();
    assert_eq!(code, 100);
    assert!(message.contains("network lab is defined differently"), "{message}");
    container.del().unwrap();
}

#[test]
fn names_and_resolvers_go_through() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = dual(&lab).with(&json!({
        "dns": {"nameservers": ["192.0.2.53"], "domain": "lab", "search": ["lab"], "options": ["ndots:2"]},
        "runtimeConfig": {"aliases": {"lab": ["db"]}},
    }));
    let container = plugin.container("0123456789abcdef").unwrap().with_args(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=0123456789abcdef",
    );
    let result = container.add().unwrap();
    assert_eq!(
        result["dns"],
        json!({"nameservers": ["192.0.2.53"], "domain": "lab", "search": ["lab"], "options": ["ndots:2"]})
    );
    assert_eq!(lab.inspect("shop/web-0").unwrap()["ip"], address(&result, 4).unwrap());
    let runtime =
        plugin.with(&json!({"runtimeConfig": {"dns": {"Servers": ["192.0.2.54"], "Options": ["edns0"]}}}));
    let result = runtime.container("short").unwrap().add().unwrap();
    assert_eq!(result["dns"], json!({"nameservers": ["192.0.2.54"], "options": ["edns0"]}));
    lab.inspect("short").unwrap();
}

#[test]
fn what_is_there_already_is_not_touched() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = dual(&lab);
    let taken = plugin.container("taken").unwrap();
    taken.ns.ip("link add eth0 type veth peer name other").unwrap();
    let before = taken.ns.ip("link").unwrap();
    let (code, message) = taken.call("ADD").unwrap().failure().unwrap();
    assert_eq!((code, message.as_str()), (7, "the container has an interface eth0 already"));
    assert_eq!(taken.ns.ip("link").unwrap(), before);
    let container = plugin.container("c1").unwrap();
    let result = container.add().unwrap();
    assert_eq!(container.call("ADD").unwrap().failure().unwrap().0, 7);
    // A limit that nobody would keep is not accepted.
    let limited = plugin.with(
        &json!({"runtimeConfig": {"bandwidth": {"ingressRate": 1_000_000, "ingressBurst": 1_000_000}}}),
    );
    let (code, message) = limited.container("c2").unwrap().call("ADD").unwrap().failure().unwrap();
    assert_eq!((code, message.as_str()), (2, "bandwidth: netfast does not limit it"));
    assert_eq!(container.check(&result).unwrap().ok().unwrap(), "");
}
