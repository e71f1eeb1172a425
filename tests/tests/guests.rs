//! Endpoints with something of their own inside or attached: virtual machines, bridges, a qdisc.

use std::net::SocketAddr;
use std::time::Duration;

use netfast_tests::{HOST_V4, HOST_V6, Lab, OUTSIDE_V4, require_root, udp_ask_on};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  web: {network: lab, publish: ['8080:80'], redirect: false}
  client: {network: lab}
  vm: {network: lab, source_check: false}
";

const DENY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

#[test]
fn without_redirect_the_host_veth_sees_every_packet() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(MANIFEST).unwrap();
    let (web, client) = (lab.endpoint_ns("web").unwrap(), lab.endpoint_ns("client").unwrap());
    let _server = web.tcp_serve("[::]:80").unwrap();
    let veth = lab.netfast_json(&["endpoint", "inspect", "web"]).unwrap();
    assert_eq!((veth["redirect"].as_bool(), veth["source_check"].as_bool()), (Some(false), Some(true)));
    let veth = veth["host_ifname"].as_str().unwrap();
    let sent = || lab.host.counters().unwrap()[veth].tx_packets;

    let [ip, ip6] = lab.addresses("web").unwrap()[..] else { unreachable!() };
    for address in [format!("{ip}:80"), format!("[{ip6}]:80")] {
        let before = sent();
        client.tcp_stream(&address, 1_000_003, 20 * SECOND).unwrap();
        assert!(sent() > before + 10, "{} packets", sent() - before);
    }
    for host in [HOST_V4.to_owned(), format!("[{HOST_V6}]")] {
        let before = sent();
        lab.outside.tcp_stream(&format!("{host}:8080"), 1_000_003, 20 * SECOND).unwrap();
        assert!(sent() > before + 10, "{} packets", sent() - before);
    }

    // Decided where it comes in, all the same.
    let policy = lab.file("deny.yaml", DENY).unwrap();
    let manifest = lab.file("netfast.yaml", MANIFEST).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &manifest, "--policy", &policy]).unwrap();
    let before = sent();
    assert!(client.tcp_ask(&format!("{ip}:80"), SHORT).is_err());
    assert!(lab.drops("web").unwrap()["policy_ingress"] > 0);
    assert_eq!(sent(), before);
}

#[test]
fn without_source_check_a_guest_has_addresses_of_its_own() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(MANIFEST).unwrap();
    let web = lab.endpoint_ns("web").unwrap();
    let [ip, ip6] = lab.addresses("web").unwrap()[..] else { unreachable!() };
    let _servers = [ip, ip6].map(|ip| web.udp_serve(&SocketAddr::new(ip, 53).to_string()).unwrap());
    let _outside = lab.outside.udp_serve(&format!("{OUTSIDE_V4}:53")).unwrap();
    for (name, may) in [("vm", true), ("client", false)] {
        let ns = lab.endpoint_ns(name).unwrap();
        let wait = if may { SECOND } else { SHORT };
        ns.address("eth0", "10.99.0.1/24").unwrap();
        let socket =
            ns.udp_connect(Some("10.99.0.1:0".parse().unwrap()), &format!("{OUTSIDE_V4}:53")).unwrap();
        let reply = udp_ask_on(&socket, 0, wait);
        assert_eq!(reply.is_ok(), may, "{name} asks outside: {reply:?}");
        if let Ok(reply) = reply {
            assert_eq!(reply.seen_source.ip().to_string(), HOST_V4);
        }

        ns.ip("link set dev eth0 address 02:00:00:00:00:99").unwrap();
        for ip in [ip, ip6] {
            let reply = ns.udp_ask(&SocketAddr::new(ip, 53).to_string(), wait);
            assert_eq!(reply.is_ok(), may, "{name} asks {ip}: {reply:?}");
        }
    }
    let drops = lab.drops("client").unwrap();
    assert!(drops.contains_key("spoofed_arp") && drops.contains_key("spoofed_mac"), "{drops:?}");
    let drops = lab.drops("vm").unwrap();
    assert!(!drops.keys().any(|reason| reason.starts_with("spoofed")), "{drops:?}");
}
