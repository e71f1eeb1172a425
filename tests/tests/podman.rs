//! netfast under podman's CNI back end.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::net::SocketAddr;
use std::time::Duration;

use netfast_tests::{HOST_V4, HOST_V6, Lab, Machine, Ns, OUTSIDE_V4, OUTSIDE_V6, Podman, require_runtimes};
use serde_json::{Value, json};

/// The machine is busy with other tests.
const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);
const NONE: [String; 0] = [];

const SUBNETS: [&str; 2] = ["10.86.0.0/24", "fd86::/64"];

fn stock() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "stock",
        "plugins": [
            {"type": "bridge", "bridge": "cni-stock", "isGateway": true, "ipMasq": true, "hairpinMode": true,
             "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "10.89.0.0/24"}]]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
            {"type": "firewall"},
            {"type": "tuning"},
        ],
    })
}

/// Asks by TCP, or by UDP where the port is written `53/udp`.
#[track_caller]
fn reaches(from: &Ns, address: &str, port: &str, by: &str) {
    let reply = match port.strip_suffix("/udp") {
        Some(port) => from.udp_ask(&format!("{address}:{port}"), LONG),
        None => from.tcp_ask(&format!("{address}:{port}"), LONG),
    };
    let reply = reply.unwrap_or_else(|e| panic!("{} asks {address}:{port}: {e}", from.name()));
    assert_eq!(reply.by, by, "{} asks {address}:{port}", from.name());
}

#[track_caller]
fn does_not_reach(from: &Ns, address: &str, port: &str) {
    assert!(
        from.tcp_ask(&format!("{address}:{port}"), SHORT).is_err(),
        "{} asks {address}:{port}",
        from.name()
    );
}

/// The host's ports that podman chose for what was published without one, by address.
fn chosen_ports(podman: &Podman<'_>, name: &str) -> Vec<(String, String)> {
    let ports = podman.inspect(name, "{{json .NetworkSettings.Ports}}").unwrap();
    let ports: Value = serde_json::from_str(&ports).unwrap();
    let bindings = ports["80/tcp"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    bindings.map(|binding| (text(&binding["HostIp"]), text(&binding["HostPort"]))).collect()
}

/// Nothing of netfast's but the instance, whose network goes with `netfast down`.
fn nothing_is_left(lab: &Lab) {
    assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap(), json!([]));
    assert_eq!(lab.netfast_json(&["port", "ls"]).unwrap(), json!([]));
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

/// What the tests of netfast rest on: podman, its files and the lab's network are as on any machine.
#[test]
fn the_stock_plugins_work_here() {
    require_runtimes!();
    let lab = Lab::new().unwrap();
    let machine = Machine::new(&lab).unwrap();
    machine.configure("10-stock.conflist", &stock()).unwrap();
    let podman = Podman::new(&machine, "stock").unwrap();
    let web = podman.start("web", &["-p", "8080:80"]).unwrap();
    let _server = web.tcp_serve("0.0.0.0:80").unwrap();
    for (who, address) in
        [(&lab.host, "127.0.0.1"), (&lab.host, HOST_V4), (&lab.outside, HOST_V4), (&web, HOST_V4)]
    {
        reaches(who, address, "8080", "web");
    }
    podman.remove("web").unwrap();
    does_not_reach(&lab.outside, HOST_V4, "8080");
}

#[test]
fn ports_in_every_form() {
    require_runtimes!();
    let lab = Lab::new().unwrap();
    let machine = Machine::new(&lab).unwrap();
    machine.configure("05-netfast.conflist", &lab.cni_list("fast", &SUBNETS).unwrap()).unwrap();
    let podman = Podman::new(&machine, "fast").unwrap();
    // A second address, so that there is one that a port is not published on.
    lab.host.address("uplink0", "192.0.2.7/24").unwrap();
    let forms = [
        "80",
        "8080:80",
        "192.0.2.1:8081:80",
        "192.0.2.1::80",
        "[2001:db8:99::1]:8082:80",
        "9000-9002:7000-7002",
    ];
    let options: Vec<_> = forms.iter().flat_map(|form| ["-p", form]).chain(["-p", "5353:53/udp"]).collect();
    let web = podman.start("web", &options).unwrap();
    let client = podman.start("client", &[]).unwrap();
    let mut servers: Vec<Box<dyn Send>> = Vec::new();
    for port in [80, 7000, 7001, 7002] {
        servers.push(Box::new(web.tcp_serve(&format!("[::]:{port}")).unwrap()));
    }
    let address = podman.inspect("web", "{{.NetworkSettings.Networks.fast.IPAddress}}").unwrap();
    servers.push(Box::new(web.udp_serve(&format!("{address}:53")).unwrap()));

    for (who, host) in [
        (&lab.outside, HOST_V4),
        (&lab.host, HOST_V4),
        (&lab.host, "127.0.0.1"),
        (&client, HOST_V4),
        (&web, HOST_V4),
    ] {
        for port in ["8080", "9000", "9001", "9002", "5353/udp"] {
            reaches(who, host, port, "web");
        }
    }
    for who in [&lab.outside, &lab.host, &client, &web] {
        reaches(who, HOST_V4, "8081", "web");
        reaches(who, &format!("[{HOST_V6}]"), "8082", "web");
    }
    reaches(&lab.outside, "192.0.2.7", "8080", "web");
    for port in ["8081", "8082", "7000", "80"] {
        does_not_reach(&lab.outside, "192.0.2.7", port);
    }
    let chosen = chosen_ports(&podman, "web");
    assert_eq!(chosen.len(), 5, "{chosen:?}");
    for (host, port) in chosen {
        let host = SocketAddr::new(host.parse().unwrap_or_else(|_| HOST_V4.parse().unwrap()), 0).ip();
        let host = if host.is_unspecified() { HOST_V4.parse().unwrap() } else { host };
        let host = if host.is_ipv6() { format!("[{host}]") } else { host.to_string() };
        reaches(&lab.outside, &host, &port, "web");
    }
    podman.remove("web").unwrap();
    does_not_reach(&lab.outside, HOST_V4, "8080");
    podman.remove("client").unwrap();
    nothing_is_left(&lab);
}

#[test]
fn containers_reach_each_other_and_the_outside() {
    require_runtimes!();
    let lab = Lab::new().unwrap();
    let machine = Machine::new(&lab).unwrap();
    machine.configure("05-netfast.conflist", &lab.cni_list("fast", &SUBNETS).unwrap()).unwrap();
    let podman = Podman::new(&machine, "fast").unwrap();
    let web = podman.start("web", &[]).unwrap();
    let client =
        podman.start("client", &["--ip", "10.86.0.77", "--mac-address", "02:00:00:00:77:01"]).unwrap();
    let inspect = |name: &str, field: &str| {
        podman.inspect(name, &format!("{{{{.NetworkSettings.Networks.fast.{field}}}}}")).unwrap()
    };
    assert_eq!(inspect("client", "IPAddress"), "10.86.0.77");
    assert_eq!(inspect("client", "MacAddress"), "02:00:00:00:77:01");
    assert_eq!(inspect("web", "Gateway"), "10.86.0.1");
    let _servers = [web.tcp_serve("[::]:80").unwrap(), lab.outside.tcp_serve("[::]:80").unwrap()];
    reaches(&client, &inspect("web", "IPAddress"), "80", "web");
    reaches(&client, &format!("[{}]", inspect("web", "GlobalIPv6Address")), "80", "web");
    for (outside, host) in [(OUTSIDE_V4.to_owned(), HOST_V4), (format!("[{OUTSIDE_V6}]"), HOST_V6)] {
        let reply = client.tcp_ask(&format!("{outside}:80"), LONG).unwrap();
        assert_eq!((reply.by.as_str(), reply.seen_source.ip().to_string().as_str()), ("outside", host));
    }
    drop((web, client));
    // Another namespace each time, and another interface.
    podman.ok(&["restart", "--time", "0", "web"]).unwrap();
    let web = podman.ns("web").unwrap();
    let _server = web.tcp_serve("[::]:80").unwrap();
    reaches(&podman.ns("client").unwrap(), &inspect("web", "IPAddress"), "80", "web");
    assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap().as_array().unwrap().len(), 2);
    for name in ["web", "client"] {
        podman.remove(name).unwrap();
    }
    nothing_is_left(&lab);
}

#[test]
fn a_port_and_two_networks() {
    require_runtimes!();
    let lab = Lab::new().unwrap();
    let machine = Machine::new(&lab).unwrap();
    machine.configure("05-one.conflist", &lab.cni_list("one", &["10.86.1.0/24"]).unwrap()).unwrap();
    machine.configure("06-two.conflist", &lab.cni_list("two", &["10.86.2.0/24"]).unwrap()).unwrap();
    let podman = Podman::new(&machine, "one").unwrap();
    assert!(
        podman.ok(&["network", "ls"]).unwrap().lines().filter(|line| line.contains("netfast")).count() == 2
    );
    // podman asks both networks for the same port.
    let web = podman.start("web", &["--network", "one,two", "-p", "8080:80"]).unwrap();
    let _server = web.tcp_serve("0.0.0.0:80").unwrap();
    reaches(&lab.outside, HOST_V4, "8080", "web");
    let other = podman.start("other", &["--network", "two"]).unwrap();
    reaches(
        &other,
        &podman.inspect("web", "{{.NetworkSettings.Networks.two.IPAddress}}").unwrap(),
        "80",
        "web",
    );
    // Another container cannot have it.
    let refused = podman.start("rival", &["-p", "8080:80"]).unwrap_err().to_string();
    assert!(refused.contains("8080"), "{refused}");
    reaches(&lab.outside, HOST_V4, "8080", "web");
    drop((web, other));
    for name in ["web", "other"] {
        podman.remove(name).unwrap();
    }
    podman.ok(&["rm", "--all", "--force"]).unwrap();
    nothing_is_left(&lab);
}
