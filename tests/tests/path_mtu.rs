//! Paths with smaller MTUs than an endpoint's, and paths that are longer than packets may travel.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use etherparse::{NetSlice, TransportSlice};
use netfast_tests::{
    FAR, FAR_ROUTER, HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, Raw, require_root, udp_ask_on,
};
use nix::libc;
use socket2::Socket;

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  web: {publish: ['8080:80', '5353:53/udp']}
";

const HOST: [&str; 2] = [HOST_V4, HOST_V6];
const OUTSIDE: [&str; 2] = [OUTSIDE_V4, OUTSIDE_V6];
const GATEWAY: [&str; 2] = ["10.77.0.1", "fd77::1"];

/// A lab whose outside is a router, with a server far behind it.
struct World {
    lab: Lab,
    far: Ns,
    web: Ns,
    _servers: Vec<Box<dyn Send>>,
}

/// The MTUs are those of the host's uplink and of the wire behind the router.
fn world(uplink: u32, behind: u32) -> World {
    let lab = Lab::new().unwrap();
    for (ns, device) in [(&lab.host, "uplink0"), (&lab.outside, "eth0")] {
        ns.ip(&format!("link set dev {device} mtu {uplink}")).unwrap();
    }
    let far = lab.far().unwrap();
    for (ns, device) in [(&lab.outside, "eth1"), (&far, "eth0")] {
        ns.ip(&format!("link set dev {device} mtu {behind}")).unwrap();
    }
    lab.up(MANIFEST).unwrap();
    let web = lab.endpoint_ns("web").unwrap();
    let mut servers: Vec<Box<dyn Send>> = Vec::new();
    let own = lab.addresses("web").unwrap();
    for (ns, addresses) in [(&far, FAR.map(|address| address.parse().unwrap())), (&web, own)] {
        servers.push(Box::new(ns.tcp_serve("[::]:80").unwrap()));
        for address in addresses {
            servers.push(Box::new(ns.udp_serve(&SocketAddr::new(address, 53).to_string()).unwrap()));
        }
    }
    World { lab, far, web, _servers: servers }
}

fn at(address: &str, port: u16) -> String {
    SocketAddr::new(address.parse().unwrap(), port).to_string()
}

/// Streams and datagrams as large as an endpoint takes them for possible, out and in.
fn all_get_through(world: &World) {
    for family in [0, 1] {
        let (far, host) = (FAR[family], HOST[family]);
        // Answers are as large as the questions.
        let datagrams = |ns: &Ns, to: &str| {
            let socket = ns.udp_connect(None, to).unwrap();
            // Each router on the way, both ways, may have to tell a sender once.
            (0..6).any(|_| udp_ask_on(&socket, 1440, SHORT).is_ok())
        };
        for (from, tcp, udp) in
            [(&world.web, at(far, 80), at(far, 53)), (&world.far, at(host, 8080), at(host, 5353))]
        {
            from.tcp_stream(&tcp, 2_000_001, 20 * SECOND).unwrap_or_else(|error| panic!("{tcp}: {error}"));
            assert!(datagrams(from, &udp), "{udp}");
        }
    }
}

#[test]
fn an_uplink_that_takes_less() {
    require_root!();
    let world = world(1400, 1500);
    all_get_through(&world);
    assert!(world.lab.dropped("web", "too_big").unwrap() > 0);
}

#[test]
fn a_router_far_away_that_takes_less() {
    require_root!();
    all_get_through(&world(1500, 1300));
}

#[test]
fn an_uplink_and_a_router_that_take_less() {
    require_root!();
    all_get_through(&world(1400, 1280));
}

fn set(socket: &Socket, level: i32, option: i32, value: i32) {
    // SAFETY: the value is an integer that lives through the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), 4) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Sends one datagram with a TTL from a socket of its own.
fn probe(ns: &Ns, to: &str, ttl: i32) {
    let socket = ns.udp_connect(None, to).unwrap();
    if to.starts_with('[') {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, ttl);
    } else {
        set(&socket, libc::IPPROTO_IP, libc::IP_TTL, ttl);
    }
    socket.send(&[7; 40]).unwrap();
}

/// Pings with a TTL.
fn probe_by_ping(ns: &Ns, to: &str, ttl: i32) {
    use socket2::{Domain, Protocol, Type};
    let is_v6 = to.contains(':');
    let (domain, protocol) =
        if is_v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
    let socket = ns.socket(domain, Type::RAW, Some(protocol)).unwrap();
    socket.connect(&SocketAddr::new(to.parse().unwrap(), 0).into()).unwrap();
    if is_v6 {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, ttl);
    } else {
        set(&socket, libc::IPPROTO_IP, libc::IP_TTL, ttl);
    }
    let kind = if is_v6 { 128 } else { 8 };
    // The checksum of an echo request that is else zeroes, but for its identifier.
    let identifier = u16::from(u8::try_from(ttl).unwrap()) + 20_000;
    let checksum = (!(0x0800 + identifier)).to_be_bytes();
    let [high, low] = identifier.to_be_bytes();
    socket.send(&[kind, 0, checksum[0], checksum[1], high, low, 0, 0]).unwrap();
}

/// Who reports an error of these ICMP types next, or answers a ping.
fn reporter(heard: &Raw) -> Option<(IpAddr, u8)> {
    let mut reporter = None;
    heard.find(PATIENCE, |packet| {
        let kind = match &packet.transport {
            Some(TransportSlice::Icmpv4(icmp)) => icmp.type_u8(),
            Some(TransportSlice::Icmpv6(icmp)) => icmp.type_u8(),
            _ => return false,
        };
        let (source, wanted) = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => (ip.header().source_addr().into(), [0, 3, 11]),
            Some(NetSlice::Ipv6(ip)) => (ip.header().source_addr().into(), [129, 1, 3]),
            _ => return false,
        };
        reporter = Some((source, kind));
        wanted.contains(&kind)
    });
    reporter
}

/// Types of the ICMP errors "time exceeded" and "unreachable", and of an echo.
const EXCEEDED: [u8; 2] = [11, 3];
const UNREACHABLE: [u8; 2] = [3, 1];
const ECHO: [u8; 2] = [0, 129];

#[test]
fn traceroute_from_an_endpoint() {
    require_root!();
    let world = world(1500, 1500);
    let heard = world.web.raw("eth0").unwrap();
    for family in [0, 1] {
        for (index, hop) in [GATEWAY, OUTSIDE, FAR].iter().enumerate() {
            let ttl = i32::try_from(index + 1).unwrap();
            let address: IpAddr = hop[family].parse().unwrap();
            probe(&world.web, &at(FAR[family], 33_434), ttl);
            let kind = if ttl == 3 { UNREACHABLE } else { EXCEEDED };
            assert_eq!(reporter(&heard), Some((address, kind[family])), "a datagram, {ttl}");
            probe_by_ping(&world.web, FAR[family], ttl);
            let kind = if ttl == 3 { ECHO } else { EXCEEDED };
            assert_eq!(reporter(&heard), Some((address, kind[family])), "a ping, {ttl}");
        }
    }
}

#[test]
fn traceroute_from_outside_to_a_published_port() {
    require_root!();
    let world = world(1500, 1500);
    let heard = world.far.raw("eth0").unwrap();
    for family in [0, 1] {
        for (ttl, hop) in [(1, FAR_ROUTER[family]), (2, HOST[family])] {
            probe(&world.far, &at(HOST[family], 5353), ttl);
            assert_eq!(reporter(&heard), Some((hop.parse().unwrap(), EXCEEDED[family])), "{ttl}");
        }
        let arrives = world.far.udp_ask(&at(HOST[family], 5353), PATIENCE).unwrap();
        assert_eq!(arrives.by, "web");
    }
}
