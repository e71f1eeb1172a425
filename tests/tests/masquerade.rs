//! From endpoints to the world outside and back: masquerade, internal networks and routed ones.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::ErrorKind;
use std::time::Duration;

use netfast_tests::{HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, require_root, udp_ask_on};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
  backend: {subnet: 10.78.0.0/24, subnet6: 'fd78::/64', internal: true}
  open: {subnet: 10.79.0.0/24, subnet6: 'fd79::/64', routed: true}
endpoints:
  one: {network: lab}
  two: {network: lab}
  db: {network: backend}
  public: {network: open}
";

/// A lab, whose outside has routes to all the networks, as a neighbour on the same wire may add at will.
fn lab() -> Lab {
    let lab = Lab::new().unwrap();
    lab.up(MANIFEST).unwrap();
    for (v4, v6) in
        [("10.77.0.0/24", "fd77::/64"), ("10.78.0.0/24", "fd78::/64"), ("10.79.0.0/24", "fd79::/64")]
    {
        lab.outside.ip(&format!("route add {v4} via {HOST_V4}")).unwrap();
        lab.outside.ip(&format!("-6 route add {v6} via {HOST_V6}")).unwrap();
    }
    lab
}

fn outsides() -> [(String, &'static str); 2] {
    [(OUTSIDE_V4.to_owned(), HOST_V4), (format!("[{OUTSIDE_V6}]"), HOST_V6)]
}

#[test]
fn the_outside_sees_the_hosts_address() {
    require_root!();
    let lab = lab();
    let one = lab.endpoint_ns("one").unwrap();
    let _tcp = lab.outside.tcp_serve("[::]:80").unwrap();
    for (outside, host) in outsides() {
        let _udp = lab.outside.udp_serve(&format!("{outside}:53")).unwrap();
        for (reply, port) in [
            (one.tcp_ask(&format!("{outside}:80"), SECOND), 80),
            (one.udp_ask(&format!("{outside}:53"), SECOND), 53),
            (one.udp_ask_sized(&format!("{outside}:53"), 4_000, SECOND), 53),
        ] {
            let reply = reply.unwrap();
            assert_eq!(reply.by, "outside");
            assert_eq!(reply.seen_source.ip().to_string(), host);
            assert_eq!(reply.seen_destination, format!("{outside}:{port}").parse().unwrap());
            assert_eq!(reply.remote, reply.seen_destination);
        }
        one.tcp_stream(&format!("{outside}:80"), 3_000_001, 20 * SECOND).unwrap();
        let refused = one.tcp_ask(&format!("{outside}:81"), SECOND).unwrap_err().kind();
        assert_eq!(refused, ErrorKind::ConnectionRefused);
        // The ICMP error of a port without server finds its way back.
        let refused = one.udp_ask(&format!("{outside}:54"), SECOND).unwrap_err().kind();
        assert_eq!(refused, ErrorKind::ConnectionRefused);
    }
}

#[test]
fn pings() {
    require_root!();
    let lab = lab();
    for endpoint in ["one", "two", "public"] {
        let ns = lab.endpoint_ns(endpoint).unwrap();
        for address in [OUTSIDE_V4, OUTSIDE_V6, HOST_V4, HOST_V6] {
            ns.ping(address, SECOND).unwrap();
            ns.ping_sized(address, 4_000, SECOND).unwrap();
        }
    }
}

#[test]
fn neither_the_kernels_forwarding_nor_netfilter_is_used() {
    require_root!();
    let lab = lab();
    let one = lab.endpoint_ns("one").unwrap();
    one.ping(OUTSIDE_V4, SECOND).unwrap();
    one.ping(OUTSIDE_V6, SECOND).unwrap();
    let read = |path: &str| lab.host.finish("cat", &[path], SECOND).unwrap().stdout.trim().to_owned();
    assert_eq!(read("/proc/sys/net/ipv4/ip_forward"), "0");
    assert_eq!(read("/proc/sys/net/ipv6/conf/all/forwarding"), "0");
    // Files of the namespace that list iptables' tables; absent where the kernel has none loaded.
    for names in ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"] {
        assert_eq!(read(names), "");
    }
}

#[test]
fn two_endpoints_share_a_source_port() {
    require_root!();
    let lab = lab();
    let (one, two) = (lab.endpoint_ns("one").unwrap(), lab.endpoint_ns("two").unwrap());
    let _tcp = lab.outside.tcp_serve("[::]:80").unwrap();
    for (family, (outside, _)) in outsides().into_iter().enumerate() {
        let _udp = lab.outside.udp_serve(&format!("{outside}:53")).unwrap();
        let own = |endpoint: &str| (lab.addresses(endpoint).unwrap()[family], 4000).into();
        let connect = |ns: &Ns, endpoint: &str| {
            (
                ns.tcp_connect_from(Some(own(endpoint)), &format!("{outside}:80"), SECOND).unwrap(),
                ns.udp_connect(Some(own(endpoint)), &format!("{outside}:53")).unwrap(),
            )
        };
        let mut first = connect(&one, "one");
        let tcp = first.0.ask().unwrap().seen_source;
        let udp = udp_ask_on(&first.1, 50, SECOND).unwrap().seen_source;
        let mut second = connect(&two, "two");
        // In turns: no answer goes to the wrong one, and no flow's port changes.
        for _ in 0..3 {
            assert_ne!(second.0.ask().unwrap().seen_source, tcp);
            assert_eq!(first.0.ask().unwrap().seen_source, tcp);
            assert_ne!(udp_ask_on(&second.1, 50, SECOND).unwrap().seen_source, udp);
            assert_eq!(udp_ask_on(&first.1, 50, SECOND).unwrap().seen_source, udp);
        }
    }
}

#[test]
fn the_hosts_own_connections_go_on() {
    require_root!();
    let lab = lab();
    let one = lab.endpoint_ns("one").unwrap();
    let _tcp = lab.outside.tcp_serve("[::]:80").unwrap();
    // The host has the port that the endpoint's connection would keep.
    let from = Some(format!("{HOST_V4}:4000").parse().unwrap());
    let mut host = lab.host.tcp_connect_from(from, &format!("{OUTSIDE_V4}:80"), SECOND).unwrap();
    assert_eq!(host.ask().unwrap().seen_source.port(), 4000);
    let own = (lab.addresses("one").unwrap()[0], 4000).into();
    let mut theirs = one.tcp_connect_from(Some(own), &format!("{OUTSIDE_V4}:80"), SECOND).unwrap();
    assert_ne!(theirs.ask().unwrap().seen_source.port(), 4000);
    assert_eq!(host.ask().unwrap().seen_source.port(), 4000);
}

#[test]
fn an_internal_network_has_no_outside() {
    require_root!();
    let lab = lab();
    let db = lab.endpoint_ns("db").unwrap();
    let _tcp = lab.outside.tcp_serve("[::]:80").unwrap();
    for (outside, _) in outsides() {
        let kind = db.tcp_ask(&format!("{outside}:80"), SHORT).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::NetworkUnreachable);
    }
    // A route does not help.
    db.ip("route add default via 10.78.0.1").unwrap();
    db.ip("-6 route add default via fd78::1").unwrap();
    for (outside, _) in outsides() {
        assert_eq!(db.tcp_ask(&format!("{outside}:80"), SHORT).unwrap_err().kind(), ErrorKind::TimedOut);
    }
    assert!(lab.dropped("db", "internal").unwrap() >= 2);
    // Nor the host, but for its gateway.
    assert!(db.ping(HOST_V4, SHORT).is_err());
    db.ping("10.78.0.1", SECOND).unwrap();
    let [v4, v6] = lab.addresses("db").unwrap().map(|address| address.to_string());
    for address in [v4, v6] {
        assert!(lab.outside.ping(&address, SHORT).is_err());
    }
}

#[test]
fn a_routed_network_keeps_its_addresses() {
    require_root!();
    let lab = lab();
    let public = lab.endpoint_ns("public").unwrap();
    let _servers = [lab.outside.tcp_serve("[::]:80").unwrap(), public.tcp_serve("[::]:80").unwrap()];
    for ((outside, _), own) in outsides().into_iter().zip(lab.addresses("public").unwrap()) {
        let reply = public.tcp_ask(&format!("{outside}:80"), SECOND).unwrap();
        assert_eq!(reply.by, "outside");
        assert_eq!(reply.seen_source, reply.local);
        assert_eq!(reply.seen_source.ip(), own);
        let direct = std::net::SocketAddr::new(own, 80).to_string();
        let reply = lab.outside.tcp_ask(&direct, SECOND).unwrap();
        assert_eq!(reply.by, "public");
        assert_eq!(format!("{}", reply.seen_source.ip()), outside.trim_matches(['[', ']']));
        lab.outside.ping(&own.to_string(), SECOND).unwrap();
    }
}

#[test]
fn destinations_left_out_see_the_own_address() {
    require_root!();
    let lab = lab();
    let one = lab.endpoint_ns("one").unwrap();
    let _server = lab.outside.tcp_serve("[::]:80").unwrap();
    let ask = || {
        let replies = outsides().map(|(outside, _)| one.tcp_ask(&format!("{outside}:80"), SECOND).unwrap());
        replies.map(|reply| reply.seen_source.ip())
    };
    let own = lab.addresses("one").unwrap();
    assert!(!ask().iter().any(|seen| own.contains(seen)));

    let except = "masquerade: {except: [192.0.2.0/24, '2001:db8:99::/64']}\n";
    let file = lab.file("netfast.yaml", &format!("{MANIFEST}{except}")).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    assert_eq!(ask().to_vec(), own);
    // That is no way in.
    let _inside = one.tcp_serve("[::]:80").unwrap();
    let server = std::net::SocketAddr::new(own[0], 80).to_string();
    assert!(lab.outside.tcp_ask(&server, SHORT).is_err());
}

#[test]
fn unpublished_addresses_are_not_reached_from_outside() {
    require_root!();
    let lab = lab();
    let one = lab.endpoint_ns("one").unwrap();
    let _tcp = one.tcp_serve("[::]:80").unwrap();
    let mut before = lab.dropped("one", "unpublished").unwrap();
    for address in lab.addresses("one").unwrap() {
        let server = std::net::SocketAddr::new(address, 80).to_string();
        assert_eq!(lab.outside.tcp_ask(&server, SHORT).unwrap_err().kind(), ErrorKind::TimedOut);
        let now = lab.dropped("one", "unpublished").unwrap();
        assert!(now > before, "{:?}", lab.drops("one"));
        before = now;
        // But it is there.
        assert_eq!(lab.endpoint_ns("two").unwrap().tcp_ask(&server, SECOND).unwrap().by, "one");
    }
}
