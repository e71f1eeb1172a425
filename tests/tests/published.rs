//! Published ports: reached from everywhere, with the asker's own address as source.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use netfast_tests::{HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, Reply, require_root};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
  other: {subnet: 10.78.0.0/24, subnet6: 'fd78::/64'}
endpoints:
  web:
    network: lab
    publish:
    - '8080:80'
    - '5353:53/udp'
    - '192.0.2.1:8081:80'
    - '[2001:db8:99::1]:8081:80'
    - '127.0.0.1:8082:80'
    - '[::1]:8082:80'
    - '9000-9002:7000-7002'
    - '9000-9002:7000-7002/udp'
  client: {network: lab}
  foreigner: {network: other}
";

/// A lab with servers at the endpoint `web`, which run until it is dropped.
struct World {
    lab: Lab,
    web: Ns,
    _servers: Vec<Box<dyn Send>>,
}

fn world() -> World {
    let lab = Lab::new().unwrap();
    // A second address, so that there is one that a port is not published on.
    lab.host.address("uplink0", "192.0.2.7/24").unwrap();
    lab.up(MANIFEST).unwrap();
    let web = lab.endpoint_ns("web").unwrap();
    let mut servers: Vec<Box<dyn Send>> = Vec::new();
    for port in [80, 7000, 7001, 7002] {
        servers.push(Box::new(web.tcp_serve(&format!("[::]:{port}")).unwrap()));
    }
    for address in lab.addresses("web").unwrap() {
        for port in [53, 7000, 7001, 7002] {
            servers.push(Box::new(web.udp_serve(&SocketAddr::new(address, port).to_string()).unwrap()));
        }
    }
    World { lab, web, _servers: servers }
}

/// Asks port 8080 by TCP and port 5353 by UDP, and expects `web` to see the asker as `source`, and itself and the
/// asker to see what they asked for.
#[track_caller]
fn reaches(world: &World, from: &Ns, host: &str, source: &str) {
    let source: std::net::IpAddr = source.parse().unwrap();
    let web = world.lab.addresses("web").unwrap()[usize::from(source.is_ipv6())];
    for (reply, asked, port) in [
        (from.tcp_ask(&format!("{host}:8080"), SECOND), 8080, 80),
        (from.udp_ask(&format!("{host}:5353"), SECOND), 5353, 53),
    ] {
        let reply = reply.unwrap_or_else(|e| panic!("{} asks {host}:{asked}: {e}", from.name()));
        assert_eq!(reply.by, "web");
        assert_eq!(reply.seen_source.ip(), source, "{} asks {host}:{asked}", from.name());
        assert_eq!(reply.seen_destination, SocketAddr::new(web, port));
        assert_eq!(reply.remote, format!("{host}:{asked}").parse().unwrap());
    }
}

#[track_caller]
fn refused(answer: io::Result<Reply>) {
    let kind = answer.unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::TimedOut), "{kind}");
}

#[test]
fn from_outside() {
    require_root!();
    let world = world();
    reaches(&world, &world.lab.outside, HOST_V4, OUTSIDE_V4);
    reaches(&world, &world.lab.outside, &format!("[{HOST_V6}]"), OUTSIDE_V6);
    for host in [HOST_V4.to_owned(), format!("[{HOST_V6}]")] {
        world.lab.outside.tcp_stream(&format!("{host}:8080"), 3_000_001, 20 * SECOND).unwrap();
        world.lab.outside.udp_ask_sized(&format!("{host}:5353"), 4_000, SECOND).unwrap();
        // Ports nobody published are the host's own.
        refused(world.lab.outside.tcp_ask(&format!("{host}:80"), SHORT));
        let _server = world.lab.host.tcp_serve(&format!("{host}:81")).unwrap();
        assert_eq!(world.lab.outside.tcp_ask(&format!("{host}:81"), SECOND).unwrap().by, "host");
    }
}

#[test]
fn from_the_host_itself() {
    require_root!();
    let world = world();
    let host = &world.lab.host;
    // A process of the host asks from the gateway's address, whatever address it asked.
    for address in [HOST_V4, "127.0.0.1", "10.77.0.1"] {
        reaches(&world, host, address, "10.77.0.1");
    }
    for address in [HOST_V6, "::1", "fd77::1"] {
        reaches(&world, host, &format!("[{address}]"), "fd77::1");
    }
}

#[test]
fn from_endpoints() {
    require_root!();
    let world = world();
    for endpoint in ["client", "foreigner"] {
        let ns = world.lab.endpoint_ns(endpoint).unwrap();
        let [v4, v6] = world.lab.addresses(endpoint).unwrap().map(|address| address.to_string());
        reaches(&world, &ns, HOST_V4, &v4);
        reaches(&world, &ns, &format!("[{HOST_V6}]"), &v6);
    }
    let client = world.lab.endpoint_ns("client").unwrap();
    reaches(&world, &client, "10.77.0.1", &world.lab.addresses("client").unwrap()[0].to_string());
    // The endpoint's own address is another network's, and stays out of reach.
    let foreigner = world.lab.endpoint_ns("foreigner").unwrap();
    let [v4, _] = world.lab.addresses("web").unwrap();
    refused(foreigner.tcp_ask(&format!("{v4}:80"), SHORT));
}

#[test]
fn from_the_endpoint_itself() {
    require_root!();
    let world = world();
    reaches(&world, &world.web, HOST_V4, "10.77.0.1");
    reaches(&world, &world.web, &format!("[{HOST_V6}]"), "fd77::1");
}

#[test]
fn on_one_address_of_the_host_only() {
    require_root!();
    let world = world();
    let Lab { host, outside, .. } = &world.lab;
    let client = world.lab.endpoint_ns("client").unwrap();
    for address in [HOST_V4.to_owned(), format!("[{HOST_V6}]")] {
        for ns in [outside, host, &client] {
            assert_eq!(ns.tcp_ask(&format!("{address}:8081"), SECOND).unwrap().by, "web");
        }
    }
    for ns in [outside, host, &client] {
        assert_eq!(ns.tcp_ask("192.0.2.7:8080", SECOND).unwrap().by, "web");
        refused(ns.tcp_ask("192.0.2.7:8081", SHORT));
    }
    refused(client.tcp_ask("10.77.0.1:8081", SHORT));
    for address in ["127.0.0.1", "[::1]"] {
        refused(host.tcp_ask(&format!("{address}:8081"), SHORT));
        // And those of the loopback are reached there, by the host alone.
        assert_eq!(host.tcp_ask(&format!("{address}:8082"), SECOND).unwrap().by, "web");
    }
    for address in [HOST_V4.to_owned(), format!("[{HOST_V6}]")] {
        for ns in [outside, host, &client] {
            refused(ns.tcp_ask(&format!("{address}:8082"), SHORT));
        }
    }
    refused(client.tcp_ask("127.0.0.1:8082", SHORT));
}

#[test]
fn ranges_keep_their_order() {
    require_root!();
    let world = world();
    let Lab { host, outside, .. } = &world.lab;
    for (ns, address) in [(outside, HOST_V4), (outside, "[2001:db8:99::1]"), (host, "127.0.0.1")] {
        for (asked, port) in [(9000, 7000), (9001, 7001), (9002, 7002)] {
            let asked = format!("{address}:{asked}");
            assert_eq!(ns.tcp_ask(&asked, SECOND).unwrap().seen_destination.port(), port);
            assert_eq!(ns.udp_ask(&asked, SECOND).unwrap().seen_destination.port(), port);
        }
        refused(ns.tcp_ask(&format!("{address}:9003"), SHORT));
        refused(ns.tcp_ask(&format!("{address}:8999"), SHORT));
    }
}

#[test]
fn a_port_that_is_no_longer_published() {
    require_root!();
    let world = world();
    let Lab { host, outside, .. } = &world.lab;
    let mut open = outside.tcp_connect("192.0.2.1:8080", SECOND).unwrap();
    open.ask().unwrap();
    world.lab.up(&MANIFEST.replace("    - '8080:80'\n", "")).unwrap();
    for (ns, address) in
        [(outside, HOST_V4), (outside, "[2001:db8:99::1]"), (host, "127.0.0.1"), (host, "[::1]")]
    {
        refused(ns.tcp_ask(&format!("{address}:8080"), SHORT));
        assert_eq!(ns.udp_ask(&format!("{address}:5353"), SECOND).unwrap().by, "web");
    }
    // Connections through it end too.
    assert!(open.ask().is_err());
}
