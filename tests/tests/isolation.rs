//! What no endpoint may do: reach another network, pose as somebody else, or inherit a dead one's connections.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use netfast_tests::{HOST_V4, Lab, Ns, OUTSIDE_V4, require_root, udp_ask_on};
use socket2::{Domain, Protocol, Type};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
  other: {subnet: 10.78.0.0/24, subnet6: 'fd78::/64'}
endpoints:
  web: {network: lab, ip: 10.77.0.10, ip6: 'fd77::10', publish: ['8080:80']}
  client: {network: lab}
  foreigner: {network: other}
";

fn lab() -> Lab {
    let lab = Lab::new().unwrap();
    lab.up(MANIFEST).unwrap();
    lab
}

fn at(address: std::net::IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

#[test]
fn networks_do_not_reach_each_other() {
    require_root!();
    let lab = lab();
    let (web, foreigner) = (lab.endpoint_ns("web").unwrap(), lab.endpoint_ns("foreigner").unwrap());
    let _server = web.tcp_serve("[::]:80").unwrap();
    let mut before = 0;
    for address in lab.addresses("web").unwrap() {
        let kind = foreigner.tcp_ask(&at(address, 80), SHORT).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::TimedOut);
        assert!(foreigner.ping(&address.to_string(), SHORT).is_err());
        let now = lab.dropped("foreigner", "other_network").unwrap();
        assert!(now >= before + 2, "{:?}", lab.drops("foreigner"));
        before = now;
    }
    // Nor does a neighbour of the other network by leaving out the router.
    foreigner.ip("addr add 10.77.0.77/24 dev eth0").unwrap();
    foreigner.ip("neigh add 10.77.0.10 lladdr 02:00:00:00:00:01 dev eth0").unwrap();
    assert!(foreigner.ping("10.77.0.10", SHORT).is_err());
}

/// Sends an ICMP echo request from `source`, which need not be the namespace's own.
fn forge(ns: &Ns, source: Ipv4Addr, destination: Ipv4Addr) {
    let socket = ns.socket(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
    let mut packet = [0_u8; 28];
    packet[0] = 0x45;
    packet[3] = 28;
    packet[8] = 64;
    packet[9] = 1;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    packet[20] = 8;
    packet[22..24].copy_from_slice(&(!(0x0800_u16)).to_be_bytes());
    let to = SocketAddr::new(destination.into(), 0);
    socket.send_to(&packet, &to.into()).unwrap();
}

/// How many echo requests a namespace has got.
fn echos(ns: &Ns) -> u64 {
    let text = ns.finish("cat", &["/proc/self/net/snmp"], SECOND).unwrap().stdout;
    let mut lines = text.lines().filter(|line| line.starts_with("Icmp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let index = names.split_whitespace().position(|name| name == "InEchos").unwrap();
    values.split_whitespace().nth(index).unwrap().parse().unwrap()
}

#[test]
fn a_false_source_address_goes_nowhere() {
    require_root!();
    let lab = lab();
    let (web, client) = (lab.endpoint_ns("web").unwrap(), lab.endpoint_ns("client").unwrap());
    let web_address = Ipv4Addr::new(10, 77, 0, 10);
    let own: Ipv4Addr = lab.addresses("client").unwrap()[0].to_string().parse().unwrap();
    client.ping("10.77.0.10", SECOND).unwrap();
    // As itself: the tool works.
    let before = echos(&web);
    forge(&client, own, web_address);
    client.ping("10.77.0.10", SECOND).unwrap();
    assert_eq!(echos(&web), before + 2);
    let (before, dropped) = (echos(&web), lab.dropped("client", "spoofed_address").unwrap());
    for source in ["10.77.0.99", "10.77.0.1", HOST_V4, OUTSIDE_V4, "8.8.8.8"] {
        forge(&client, source.parse().unwrap(), web_address);
        forge(&client, source.parse().unwrap(), OUTSIDE_V4.parse().unwrap());
    }
    client.ping("10.77.0.10", SECOND).unwrap();
    assert_eq!(echos(&web), before + 1);
    assert_eq!(lab.dropped("client", "spoofed_address").unwrap(), dropped + 10);
}

#[test]
fn an_address_or_mac_that_an_endpoint_gives_itself_goes_nowhere() {
    require_root!();
    let lab = lab();
    let (web, client) = (lab.endpoint_ns("web").unwrap(), lab.endpoint_ns("client").unwrap());
    let _servers = ["10.77.0.10:53", "[fd77::10]:53"].map(|address| web.udp_serve(address).unwrap());
    let rightful = lab.addresses("client").unwrap();
    let false_ones = [("10.77.0.99/24", "10.77.0.10:53"), ("fd77::99/64", "[fd77::10]:53")];
    for (rightful, (own, server)) in rightful.into_iter().zip(false_ones) {
        let from = SocketAddr::new(rightful, 4000);
        let rightful = client.udp_connect(Some(from), server).unwrap();
        udp_ask_on(&rightful, 50, SECOND).unwrap();
        let before = lab.dropped("client", "spoofed_address").unwrap();
        client.address("eth0", own).unwrap();
        let from = SocketAddr::new(own.split('/').next().unwrap().parse().unwrap(), 4000);
        let socket = client.udp_connect(Some(from), server).unwrap();
        assert_eq!(udp_ask_on(&socket, 50, SHORT).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(lab.dropped("client", "spoofed_address").unwrap() > before, "{:?}", lab.drops("client"));
        udp_ask_on(&rightful, 50, SECOND).unwrap();
    }
    client.ip("link set dev eth0 address 02:00:00:00:00:99").unwrap();
    assert!(client.udp_ask("10.77.0.10:53", SHORT).is_err());
    assert!(lab.dropped("client", "spoofed_mac").unwrap() > 0, "{:?}", lab.drops("client"));
}

#[test]
fn the_outside_cannot_pose_as_an_endpoint() {
    require_root!();
    let lab = lab();
    let web = lab.endpoint_ns("web").unwrap();
    let _server = web.tcp_serve("[::]:80").unwrap();
    let client = lab.addresses("client").unwrap()[0];
    lab.outside.ip(&format!("addr add {client}/32 dev eth0")).unwrap();
    let from = Some(SocketAddr::new(client, 4000));
    let answer = lab.outside.tcp_connect_from(from, &format!("{HOST_V4}:8080"), SHORT);
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::TimedOut);
    let status = lab.netfast_json(&["status"]).unwrap();
    assert!(status["counters"]["drops"]["spoofed_address"]["packets"].as_u64().unwrap() > 0);
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), SECOND).unwrap().by, "web");
}

#[test]
fn who_takes_over_an_address_does_not_inherit_connections() {
    require_root!();
    let lab = lab();
    let (web, client) = (lab.endpoint_ns("web").unwrap(), lab.endpoint_ns("client").unwrap());
    let own = SocketAddr::new(lab.addresses("client").unwrap()[0], 4000);
    let _servers = (web.tcp_serve("10.77.0.10:80").unwrap(), web.udp_serve("10.77.0.10:53").unwrap());
    let mut tcp = client.tcp_connect_from(Some(own), "10.77.0.10:80", SHORT).unwrap();
    let udp = client.udp_connect(None, "10.77.0.10:53").unwrap();
    let mut from_outside = lab.outside.tcp_connect(&format!("{HOST_V4}:8080"), SHORT).unwrap();
    tcp.ask().unwrap();
    udp_ask_on(&udp, 50, SECOND).unwrap();
    from_outside.ask().unwrap();

    let (before, rest) = MANIFEST.split_once("  web:").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    let without = format!("{before}{after}");
    lab.up(&without).unwrap();
    assert!(tcp.ask().is_err());
    assert!(udp_ask_on(&udp, 50, SHORT).is_err());
    assert!(from_outside.ask().is_err());

    lab.up(&MANIFEST.replace("  web:", "  heir:")).unwrap();
    let heir = lab.endpoint_ns("heir").unwrap();
    // The old connections' packets reach the heir as those of strangers, which it refuses.
    for conversation in [&mut tcp, &mut from_outside] {
        assert!(conversation.ask().is_err());
    }
    let _heirs = (heir.tcp_serve("10.77.0.10:80").unwrap(), heir.udp_serve("10.77.0.10:53").unwrap());
    assert_eq!(udp_ask_on(&udp, 50, SECOND).unwrap().by, "heir");
    drop(tcp);
    let mut again = client.tcp_connect_from(None, "10.77.0.10:80", SECOND).unwrap();
    assert_eq!(again.ask().unwrap().by, "heir");
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), SECOND).unwrap().by, "heir");
}
