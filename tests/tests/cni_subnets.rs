//! Containers of networks with several subnets: sets of several, and several sets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test panics where it fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netfast_tests::{
    Container, HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, Plugin, Reply, TcpServer, require_root,
};
use serde_json::{Value, json};

/// Long enough for everything that is to happen.
const PATIENCE: Duration = Duration::from_secs(15);
/// Long enough to see that nothing comes.
const SHORT: Duration = Duration::from_millis(400);

/// What a result says of addresses, gateways or anything else of them.
fn of_ips(result: &Value, key: &str) -> Vec<String> {
    let ips = result["ips"].as_array().unwrap().iter();
    ips.map(|ip| ip[key].as_str().unwrap_or_default().to_owned()).collect()
}

/// The addresses of a result, without the lengths of their prefixes.
fn addresses(result: &Value) -> Vec<IpAddr> {
    of_ips(result, "address").iter().map(|ip| ip.split_once('/').unwrap().0.parse().unwrap()).collect()
}

/// Asks port 80 of `to`, from an address of one's own.
fn ask(from: &Ns, own: IpAddr, to: IpAddr, patience: Duration) -> io::Result<Reply> {
    let to = SocketAddr::new(to, 80).to_string();
    from.tcp_connect_from(Some(SocketAddr::new(own, 0)), &to, patience)?.ask()
}

#[track_caller]
fn reaches(from: &Ns, own: IpAddr, to: IpAddr) -> String {
    let reply = ask(from, own, to, PATIENCE).unwrap_or_else(|e| panic!("{own} to {to}: {e}"));
    reply.seen_source.ip().to_string()
}

#[track_caller]
fn does_not_reach(from: &Ns, own: IpAddr, to: IpAddr) {
    let kind = ask(from, own, to, SHORT).unwrap_err().kind();
    assert!(matches!(kind, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{own} to {to}: {kind}");
}

/// A container that is added and serves.
struct Server<'a> {
    container: Container<'a>,
    result: Value,
    own: Vec<IpAddr>,
    _serves: TcpServer,
}

fn server<'a>(plugin: &Plugin<'a>, id: &str, args: &str) -> Server<'a> {
    let container = plugin.container(id).unwrap().with_args(args);
    let result = container.add().unwrap();
    let serves = container.ns.tcp_serve("[::]:80").unwrap();
    Server { own: addresses(&result), container, result, _serves: serves }
}

/// Whether what the maps, devices and records hold is what they should.
#[track_caller]
fn is_sound(lab: &Lab, plugin: &Plugin<'_>, servers: &[&Server<'_>]) {
    for server in servers {
        assert_eq!(server.container.check(&server.result).unwrap().ok().unwrap(), "");
    }
    let status = lab.netfast_json(&["status"]).unwrap();
    assert_eq!(status["problems"], json!([]), "{status}");
    assert_eq!(plugin.with(&json!({"cniVersion": "1.1.0"})).call("STATUS").unwrap().ok().unwrap(), "");
}

/// What `ip` tells of the bridges: addresses and neighbours.
fn of_bridges(lab: &Lab) -> BTreeSet<String> {
    let told = [lab.host.ip("neigh show nud permanent").unwrap(), lab.host.ip("-br address").unwrap()];
    told.iter().flat_map(|told| told.lines()).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn the_example_of_host_local() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = lab.plugin(&json!({"ipam": {"ranges": [
        [{"subnet": "10.10.0.0/16", "rangeStart": "10.10.1.20", "rangeEnd": "10.10.3.50", "gateway": "10.10.0.254"},
         {"subnet": "172.16.5.0/24"}],
        [{"subnet": "3ffe:ffff:0:01ff::/64", "rangeStart": "3ffe:ffff:0:01ff::0010",
          "rangeEnd": "3ffe:ffff:0:01ff::0020"}],
    ]}}));
    let (web, client) = (server(&plugin, "web", ""), server(&plugin, "client", ""));
    assert_eq!(of_ips(&web.result, "address"), ["10.10.1.20/16", "3ffe:ffff:0:1ff::10/64"]);
    assert_eq!(of_ips(&web.result, "gateway"), ["10.10.0.254", "3ffe:ffff:0:1ff::1"]);
    for (own, to) in client.own.iter().zip(&web.own) {
        assert_eq!(reaches(&client.container.ns, *own, *to), own.to_string());
    }
    // All gateways are there, also that of the subnet that nobody is in yet.
    for gateway in ["10.10.0.254", "172.16.5.1", "3ffe:ffff:0:1ff::1"] {
        client.container.ns.ping(gateway, PATIENCE).unwrap();
    }
    is_sound(&lab, &plugin, &[&web, &client]);
    let status = lab.netfast_ok(&["status"]).unwrap();
    assert!(status.contains("10.10.0.0/16, 3ffe:ffff:0:1ff::/64, 172.16.5.0/24"), "{status}");
    assert!(status.contains("10.10.0.254, 3ffe:ffff:0:1ff::1, 172.16.5.1"), "{status}");
}

#[test]
fn when_one_subnet_is_full_the_next_is_taken() {
    require_root!();
    let lab = Lab::new().unwrap();
    let _outside = lab.outside.tcp_serve("[::]:80").unwrap();
    let plugin = lab.plugin(&json!({"ipam": {"ranges": [[
        {"subnet": "10.10.0.0/16", "rangeStart": "10.10.1.20", "rangeEnd": "10.10.1.20", "gateway": "10.10.0.254"},
        {"subnet": "172.16.5.0/24", "rangeStart": "172.16.5.7", "rangeEnd": "172.16.5.7"},
    ]]}}));
    let first = server(&plugin, "first", "");
    let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    let second = server(&plugin.with(&json!({"runtimeConfig": ports})), "second", "");
    assert_eq!(of_ips(&first.result, "address"), ["10.10.1.20/16"]);
    assert_eq!(of_ips(&second.result, "address"), ["172.16.5.7/24"]);
    assert_eq!(of_ips(&second.result, "gateway"), ["172.16.5.1"]);
    assert_eq!(second.result["routes"], json!([{"dst": "0.0.0.0/0", "gw": "172.16.5.1"}]));
    // Each other, by way of their gateways; outside; and by a published port from there, and from the container itself.
    for (from, to) in [(&first, &second), (&second, &first)] {
        assert_eq!(reaches(&from.container.ns, from.own[0], to.own[0]), from.own[0].to_string());
        assert_eq!(reaches(&from.container.ns, from.own[0], OUTSIDE_V4.parse().unwrap()), HOST_V4);
    }
    for from in [&lab.outside, &lab.host, &first.container.ns, &second.container.ns] {
        assert_eq!(from.tcp_ask(&format!("{HOST_V4}:8080"), PATIENCE).unwrap().by, "second");
    }
    for server in [&first, &second] {
        assert_eq!(server.container.check(&server.result).unwrap().ok().unwrap(), "");
    }

    // Now both are full.
    let third = plugin.container("third").unwrap();
    let full = "network lab has no free address left in the ranges of 10.10.0.0/16 and 172.16.5.0/24";
    let (code, message) = third.call("ADD").unwrap().failure().unwrap();
    assert!(code == 100 && message.contains(full), "{code}: {message}");
    assert_eq!(third.ns.links().unwrap(), ["lo"]);
    let status = plugin.with(&json!({"cniVersion": "1.1.0"})).call("STATUS").unwrap();
    let (code, message) = status.failure().unwrap();
    assert!(code == 50 && message.contains(full), "{code}: {message}");
    first.container.del().unwrap();
    assert_eq!(of_ips(&third.add().unwrap(), "address"), ["10.10.1.20/16"]);
}

/// Three addresses, two of them of a family, as the bridge plugin is tested with.
fn three_subnets(lab: &Lab) -> Plugin<'_> {
    lab.plugin(&json!({"ipam": {"ranges": [
        [{"subnet": "192.168.0.0/24"}], [{"subnet": "fd00::/64"}], [{"subnet": "2001:db8::/64"}],
    ]}}))
}

#[test]
fn three_sets_are_three_addresses() {
    require_root!();
    let lab = Lab::new().unwrap();
    let _outside = lab.outside.tcp_serve("[::]:80").unwrap();
    let plugin = three_subnets(&lab);
    let stays = server(&plugin, "stays", "");
    let before = of_bridges(&lab);
    let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    let web = server(&plugin.with(&json!({"runtimeConfig": ports})), "web", "");
    let client = server(&plugin, "client", "IP=192.168.0.99,2001:db8::99");
    assert_eq!(of_ips(&web.result, "address"), ["192.168.0.3/24", "fd00::3/64", "2001:db8::3/64"]);
    assert_eq!(of_ips(&web.result, "gateway"), ["192.168.0.1", "fd00::1", "2001:db8::1"]);
    let routes = json!([{"dst": "0.0.0.0/0", "gw": "192.168.0.1"}, {"dst": "::/0", "gw": "fd00::1"}]);
    assert_eq!(web.result["routes"], routes, "one for each family");
    assert_eq!(of_ips(&client.result, "address"), ["192.168.0.99/24", "fd00::4/64", "2001:db8::99/64"]);

    let ns = &client.container.ns;
    for (own, to) in client.own.iter().zip(&web.own) {
        assert_eq!(reaches(ns, *own, *to), own.to_string());
        let host = lab.host.tcp_ask(&SocketAddr::new(*to, 80).to_string(), PATIENCE).unwrap();
        assert_eq!(host.by, "web");
    }
    // From one subnet to the other, and outside from each.
    assert_eq!(reaches(ns, client.own[1], web.own[2]), client.own[1].to_string());
    for (own, outside, host) in [
        (client.own[0], OUTSIDE_V4, HOST_V4),
        (client.own[1], OUTSIDE_V6, HOST_V6),
        (client.own[2], OUTSIDE_V6, HOST_V6),
    ] {
        assert_eq!(reaches(ns, own, outside.parse().unwrap()), host);
    }
    for from in [&lab.outside, &lab.host, ns, &web.container.ns] {
        for host in [HOST_V4.to_owned(), format!("[{HOST_V6}]")] {
            assert_eq!(from.tcp_ask(&format!("{host}:8080"), PATIENCE).unwrap().by, "web");
        }
    }
    for gateway in of_ips(&web.result, "gateway") {
        ns.ping(&gateway, PATIENCE).unwrap();
    }
    is_sound(&lab, &plugin, &[&stays, &web, &client]);
    let list = lab.netfast_ok(&["endpoint", "ls"]).unwrap();
    assert!(list.contains("192.168.0.3, fd00::3, 2001:db8::3"), "{list}");
    assert_eq!(lab.inspect("web").unwrap()["more"], json!(["2001:db8::3"]));

    // What somebody else has, nobody gets; and what is anybody's, nobody sends from.
    let taken = plugin.container("taken").unwrap().with_args("IP=2001:db8::3");
    let (code, message) = taken.call("ADD").unwrap().failure().unwrap();
    assert!(code == 100 && message.contains("web has 2001:db8::3"), "{code}: {message}");
    let mut dropped = 0;
    for forged in ["2001:db8::3", "2001:db8::77"] {
        ns.ip(&format!("address add {forged}/64 dev eth0 nodad")).unwrap();
        does_not_reach(ns, forged.parse().unwrap(), web.own[1]);
        let drops = lab.drops("client").unwrap()["spoofed_address"];
        assert!(drops > dropped, "{forged}: {drops}");
        dropped = drops;
    }

    // What is missing is told, and put back.
    lab.host.ip("address del 2001:db8::1/64 dev nf-lab").unwrap();
    let (code, message) = web.container.check(&web.result).unwrap().failure().unwrap();
    assert!(code == 101 && message.contains("2001:db8::1/64"), "{code}: {message}");
    web.container.ns.ip("address del 2001:db8::3/64 dev eth0").unwrap();
    let (_, message) = web.container.check(&web.result).unwrap().failure().unwrap();
    assert!(message.contains("eth0 has lost the address 2001:db8::3"), "{message}");

    web.container.del().unwrap();
    let valid = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": [{"containerID": "stays", "ifname": "eth0"}]});
    plugin.with(&valid).call("GC").unwrap().ok().unwrap();
    assert_eq!(
        of_bridges(&lab),
        before,
        "all addresses of both are given back, and that of the gateway is there"
    );
    is_sound(&lab, &plugin, &[&stays]);
    let heir = plugin.container("heir").unwrap().with_args("IP=2001:db8::3,fd00::3,192.168.0.3");
    assert_eq!(addresses(&heir.add().unwrap()), web.own);
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), [""; 0]);
}

#[test]
fn killed_anywhere_it_leaves_nothing() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = three_subnets(&lab);
    let stays = server(&plugin, "stays", "");
    let web = plugin.container("web").unwrap();
    let path = web.ns.path().display().to_string();
    let dying = |command: &'static str, fault: &str| {
        let variables = [&web.variables(command, &path)[..], &[("NETFAST_FAULT", fault)]].concat();
        plugin.call_with(&variables, &plugin.config().to_string()).unwrap()
    };
    let before = of_bridges(&lab);
    for command in ["ADD", "DEL"] {
        if command == "DEL" {
            web.add().unwrap();
        }
        let told = dying(command, "count").stderr;
        let points = told.lines().find_map(|line| line.strip_prefix("fault: ")?.strip_suffix(" points"));
        let points: usize = points.unwrap().parse().unwrap();
        web.del().unwrap();
        for point in (1..=points).step_by((points / 8).max(1)) {
            if command == "DEL" {
                web.add().unwrap();
            }
            assert_eq!(dying(command, &point.to_string()).code, None, "{command}, point {point}");
            web.del().unwrap();
            assert_eq!(of_bridges(&lab), before, "{command}, point {point}");
            assert_eq!(web.ns.links().unwrap(), ["lo"], "{command}, point {point}");
            is_sound(&lab, &plugin, &[&stays]);
        }
    }
}

#[test]
fn addresses_of_each_set_are_given_in_turn() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = lab.plugin(&json!({"ipam": {"ranges": [
        [{"subnet": "10.77.0.0/29"}],
        [{"subnet": "10.78.0.0/29", "rangeEnd": "10.78.0.3"}, {"subnet": "10.79.0.0/29", "rangeEnd": "10.79.0.2"}],
    ]}}));
    for wanted in [
        ["10.77.0.2/29", "10.78.0.2/29"],
        ["10.77.0.3/29", "10.78.0.3/29"],
        ["10.77.0.4/29", "10.79.0.2/29"],
        ["10.77.0.5/29", "10.78.0.2/29"],
    ] {
        let container = plugin.container("c").unwrap();
        assert_eq!(of_ips(&container.add().unwrap(), "address"), wanted);
        container.del().unwrap();
    }
}

#[test]
fn the_set_that_is_full_is_told() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = lab.plugin(&json!({"ipam": {"ranges": [
        [{"subnet": "10.77.0.0/24"}],
        [{"subnet": "10.78.0.0/24", "rangeStart": "10.78.0.9", "rangeEnd": "10.78.0.9"}],
    ]}}));
    let first = plugin.container("first").unwrap();
    first.add().unwrap();
    let full = "network lab has no free address left in the ranges of 10.78.0.0/24";
    let (code, message) = plugin.container("second").unwrap().call("ADD").unwrap().failure().unwrap();
    assert!(code == 100 && message.contains(full), "{code}: {message}");
    let status = plugin.with(&json!({"cniVersion": "1.1.0"})).call("STATUS").unwrap();
    let (code, message) = status.failure().unwrap();
    assert!(code == 50 && message.contains(full), "{code}: {message}");
}

/// Into those with the label `app: web` come those with `role: friend`, and whoever has an address of the second IPv4 subnet.
const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - podSelector: {matchLabels: {role: friend}}
    - ipBlock: {cidr: 172.20.0.0/24}
";

#[test]
fn policies_are_about_each_address() {
    require_root!();
    let lab = Lab::new().unwrap();
    let directory = lab.dir().join("policies.d");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("web.yaml"), POLICY).unwrap();
    let plugin = lab.plugin(&json!({"policyDir": directory, "ipam": {"ranges": [
        [{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}],
        [{"subnet": "172.20.0.0/24"}], [{"subnet": "fd78::/64"}],
    ]}}));
    let web = server(&plugin, "web", "IgnoreUnknown=1;LABELS=app:web");
    let friend = server(&plugin, "friend", "IgnoreUnknown=1;LABELS=role:friend");
    let stranger = server(&plugin, "stranger", "");
    let of_family = |own: &[IpAddr], to: &IpAddr| -> Vec<IpAddr> {
        own.iter().filter(|own| own.is_ipv4() == to.is_ipv4()).copied().collect()
    };
    let second: IpAddr =
        stranger.own.iter().copied().find(|ip| ip.to_string().starts_with("172.20.")).unwrap();
    for to in &web.own {
        for own in of_family(&friend.own, to) {
            reaches(&friend.container.ns, own, *to);
        }
        for own in of_family(&stranger.own, to) {
            if own == second {
                reaches(&stranger.container.ns, own, *to);
            } else {
                does_not_reach(&stranger.container.ns, own, *to);
            }
        }
        // Without a policy about it, whoever is asked answers.
        reaches(&web.container.ns, of_family(&web.own, to)[0], *of_family(&stranger.own, to).last().unwrap());
    }
    let explain = |from: &str| {
        let arguments = ["policy", "explain", "--from", from, "--to", "web", "--port", "80"];
        lab.netfast(&arguments).unwrap().stdout
    };
    let (yes, no) = (explain(&second.to_string()), explain(&stranger.own[0].to_string()));
    assert!(yes.contains("allowed by default/web"), "{yes}");
    assert!(no.contains("no rule allows it"), "{no}");
    is_sound(&lab, &plugin, &[&web, &friend, &stranger]);

    // Labels change while it runs: who is a friend, is one by all addresses.
    lab.netfast_ok(&["endpoint", "label", "stranger", "role=friend"]).unwrap();
    for to in &web.own {
        for own in of_family(&stranger.own, to) {
            reaches(&stranger.container.ns, own, *to);
        }
    }
    friend.container.del().unwrap();
    is_sound(&lab, &plugin, &[&web]);
}
