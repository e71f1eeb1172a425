//! The core of the dataplane with clsact filters, as kernels before 6.6 have it.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use netfast_tests::{HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, require_root};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
  other: {subnet: 10.78.0.0/24, subnet6: 'fd78::/64'}
endpoints:
  web: {network: lab, publish: ['8080:80', '5353:53/udp']}
  client: {network: lab}
  foreigner: {network: other}
";

fn clsact(lab: &Lab, args: &[&str]) {
    lab.netfast_ok(&[&["--attach", "clsact"], args].concat()).unwrap();
}

fn lab() -> (Lab, Ns, Ns) {
    let lab = Lab::new().unwrap();
    let file = lab.file("netfast.yaml", MANIFEST).unwrap();
    clsact(&lab, &["up", "-d", "-f", &file]);
    let (web, client) = (lab.endpoint_ns("web").unwrap(), lab.endpoint_ns("client").unwrap());
    (lab, web, client)
}

fn at(address: std::net::IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// The filters of the host's devices, as `tc` lists them.
fn filters(lab: &Lab) -> String {
    let mut text = String::new();
    for device in lab.host.links().unwrap() {
        for direction in ["ingress", "egress"] {
            let args = ["filter", "show", "dev", &device, direction];
            text += &lab.host.finish("tc", &args, 5 * SECOND).unwrap().stdout;
        }
    }
    text
}

#[test]
fn endpoints_reach_each_other_past_the_bridge() {
    require_root!();
    let (lab, web, client) = lab();
    let status = lab.netfast_json(&["status"]).unwrap();
    let mut hooks = status["links"].as_array().unwrap().iter().map(|link| &link["hook"]);
    assert!(hooks.all(|hook| hook == "clsact" || hook == "cgroup"), "{}", status["links"]);
    let veth = lab.inspect("web").unwrap()["host_ifname"].as_str().unwrap().to_owned();
    let _tcp = web.tcp_serve("[::]:80").unwrap();
    for address in lab.addresses("web").unwrap() {
        let _udp = web.udp_serve(&at(address, 53)).unwrap();
        client.ping(&address.to_string(), SECOND).unwrap();
        let before = lab.host.counters().unwrap()[&veth].tx_packets;
        let reply = client.tcp_ask(&at(address, 80), SECOND).unwrap();
        assert_eq!((reply.by.as_str(), reply.seen_source), ("web", reply.local));
        client.tcp_stream(&at(address, 80), 3_000_001, 20 * SECOND).unwrap();
        client.udp_ask_sized(&at(address, 53), 4_000, SECOND).unwrap();
        let unseen = lab.host.counters().unwrap()[&veth].tx_packets - before;
        assert!(unseen < 20, "{unseen} packets went through {veth}");
        let foreigner = lab.endpoint_ns("foreigner").unwrap();
        assert_eq!(foreigner.tcp_ask(&at(address, 80), SHORT).unwrap_err().kind(), ErrorKind::TimedOut);
    }
    assert!(lab.dropped("foreigner", "other_network").unwrap() >= 2);
}

#[test]
fn published_ports_and_masquerade() {
    require_root!();
    let (lab, web, client) = lab();
    let _servers = (web.tcp_serve("[::]:80").unwrap(), lab.outside.tcp_serve("[::]:80").unwrap());
    let addresses = lab.addresses("web").unwrap();
    let _udp = addresses.map(|address| web.udp_serve(&at(address, 53)).unwrap());
    for (host, outside, local) in [(HOST_V4, OUTSIDE_V4, "127.0.0.1"), (HOST_V6, OUTSIDE_V6, "::1")] {
        let [host, outside, local] = [host, outside, local].map(|ip| ip.parse().unwrap());
        for (port, udp) in [(8080, false), (5353, true)] {
            let ask = |ns: &Ns, ip| {
                let address = at(ip, port);
                let reply = if udp { ns.udp_ask(&address, SECOND) } else { ns.tcp_ask(&address, SECOND) };
                let reply = reply.unwrap_or_else(|e| panic!("{} asks {address}: {e}", ns.name()));
                assert_eq!((reply.by.as_str(), reply.remote), ("web", SocketAddr::new(ip, port)));
                reply.seen_source
            };
            assert_eq!(ask(&lab.outside, host).ip(), outside);
            let own = lab.addresses("client").unwrap()[usize::from(host.is_ipv6())];
            assert_eq!(ask(&client, host).ip(), own);
            ask(&lab.host, host);
            ask(&lab.host, local);
            ask(&web, host);
        }
        let reply = client.tcp_ask(&at(outside, 80), SECOND).unwrap();
        assert_eq!((reply.by.as_str(), reply.seen_source.ip()), ("outside", host));
        client.ping(&outside.to_string(), SECOND).unwrap();
        client.udp_ask(&at(outside, 9), SHORT).unwrap_err();
    }
}

#[test]
fn down_leaves_no_filter() {
    require_root!();
    let (lab, ..) = lab();
    // Somebody else's filter stays.
    let args = ["filter", "add", "dev", "uplink0", "ingress", "protocol", "ip", "pref", "7"];
    let args = [&args[..], &["bpf", "bytecode", "1,6 0 0 0"]].concat();
    let done = lab.host.finish("tc", &args, 5 * SECOND).unwrap();
    assert!(done.success(), "{}", done.stderr);
    let before = filters(&lab);
    for ours in ["from_uplink", "from_endpoint", "to_endpoint", "bytecode"] {
        assert!(before.contains(ours), "{before}");
    }
    clsact(&lab, &["down"]);
    let after = filters(&lab);
    assert_eq!(after.matches(" bpf ").count(), before.matches("pref 7 bpf ").count(), "{after}");
    assert!(after.contains("bytecode"), "{after}");
    assert_eq!(lab.host.links().unwrap(), ["lo", "uplink0"]);
    lab.outside.ping(HOST_V4, SECOND).unwrap();
}

#[test]
fn from_clsact_to_tcx_without_a_break() {
    require_root!();
    let (lab, web, client) = lab();
    let _server = web.tcp_serve("[::]:80").unwrap();
    let mut open = client.tcp_connect(&at(lab.addresses("web").unwrap()[1], 80), SECOND).unwrap();
    let mut outside = lab.outside.tcp_connect(&format!("{HOST_V4}:8080"), SECOND).unwrap();
    open.ask().unwrap();
    outside.ask().unwrap();
    lab.up(MANIFEST).unwrap();
    open.ask().unwrap();
    outside.ask().unwrap();
    client.ping(&lab.addresses("web").unwrap()[0].to_string(), SECOND).unwrap();
    lab.down().unwrap();
    assert!(!filters(&lab).contains("bpf"));
}
