//! Packets between endpoints of one network: redirected from one namespace into the other, past the bridge.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::net::SocketAddr;
use std::time::Duration;

use netfast_tests::{Counters, Lab, Ns, require_root, udp_ask_on};

const SECOND: Duration = Duration::from_secs(1);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: fd77::/64}
endpoints:
  left: {}
  right: {}
";

/// Two endpoints, and their addresses.
fn two() -> (Lab, Ns, Ns) {
    let lab = Lab::new().unwrap();
    lab.up(MANIFEST).unwrap();
    let (left, right) = (lab.endpoint_ns("left").unwrap(), lab.endpoint_ns("right").unwrap());
    (lab, left, right)
}

fn at(address: std::net::IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// The host's end of an endpoint's veth, and the bridge.
fn devices(lab: &Lab, endpoint: &str) -> (String, String) {
    let veth = lab.inspect(endpoint).unwrap()["host_ifname"].as_str().unwrap().to_owned();
    let status = lab.netfast_json(&["status"]).unwrap();
    let bridge = status["networks"][0]["bridge"].as_str().unwrap().to_owned();
    (veth, bridge)
}

fn counters(lab: &Lab, device: &str) -> Counters {
    lab.host.counters().unwrap()[device]
}

#[test]
fn tcp_and_udp_show_both_ends_real_addresses() {
    require_root!();
    let (lab, left, right) = two();
    let (mine, theirs) = (lab.addresses("left").unwrap(), lab.addresses("right").unwrap());
    let _tcp = right.tcp_serve("[::]:80").unwrap();
    for (mine, theirs) in mine.into_iter().zip(theirs) {
        let _udp = right.udp_serve(&at(theirs, 53)).unwrap();
        let replies = [left.tcp_ask(&at(theirs, 80), SECOND), left.udp_ask(&at(theirs, 53), SECOND)];
        for (reply, port) in replies.into_iter().zip([80, 53]) {
            let reply = reply.unwrap();
            assert_eq!(reply.by, "right");
            assert_eq!(reply.seen_source, SocketAddr::new(mine, reply.local.port()));
            assert_eq!(reply.seen_source, reply.local);
            assert_eq!(reply.seen_destination, SocketAddr::new(theirs, port));
            assert_eq!(reply.remote, reply.seen_destination);
        }
        assert_eq!(
            left.tcp_ask(&at(theirs, 81), SECOND).unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
        assert_eq!(
            left.udp_ask(&at(theirs, 54), SECOND).unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
    }
}

#[test]
fn pings_are_answered_both_ways_at_once_after_up() {
    require_root!();
    let (lab, left, right) = two();
    // In this order: the first packet of each family is the one that needs a neighbour.
    for (from, to) in [(&left, "right"), (&right, "left")] {
        for address in lab.addresses(to).unwrap() {
            from.ping(&address.to_string(), SECOND).unwrap();
        }
    }
}

#[test]
fn a_stream_arrives_whole() {
    require_root!();
    let (lab, left, right) = two();
    let _server = right.tcp_serve("[::]:80").unwrap();
    for address in lab.addresses("right").unwrap() {
        left.tcp_stream(&at(address, 80), 10_000_001, 20 * SECOND).unwrap();
    }
}

#[test]
fn neither_the_bridge_nor_the_receivers_host_device_sees_a_packet() {
    require_root!();
    let (lab, left, right) = two();
    let (veth, bridge) = devices(&lab, "right");
    for address in lab.addresses("right").unwrap() {
        let _server = right.udp_serve(&at(address, 53)).unwrap();
        let socket = left.udp_connect(None, &at(address, 53)).unwrap();
        udp_ask_on(&socket, 100, SECOND).unwrap();
        let before = (counters(&lab, &veth), counters(&lab, &bridge), right.counters().unwrap()["eth0"]);
        for _ in 0..1000 {
            udp_ask_on(&socket, 100, SECOND).unwrap();
        }
        let after = (counters(&lab, &veth), counters(&lab, &bridge), right.counters().unwrap()["eth0"]);
        // Towards `right` nothing; its own answers come in there once, which is where the program takes them from.
        let unseen = after.0.tx_packets - before.0.tx_packets;
        assert!(unseen < 20, "{unseen} packets went through {veth}");
        let bridged = after.1.rx_packets - before.1.rx_packets + after.1.tx_packets - before.1.tx_packets;
        assert!(bridged < 20, "{bridged} packets went through {bridge}");
        assert!(after.2.rx_packets - before.2.rx_packets >= 1000, "right's own device counts what it gets");
    }
}

#[test]
fn without_its_program_the_bridge_carries_the_same_traffic() {
    require_root!();
    let (lab, left, right) = two();
    let (veth, _) = devices(&lab, "right");
    let _tcp = right.tcp_serve("[::]:80").unwrap();
    // Now the ends know each other's MAC, as nobody will tell them any more.
    for address in lab.addresses("right").unwrap() {
        left.ping(&address.to_string(), SECOND).unwrap();
    }
    let links = lab.netfast_json(&["status"]).unwrap()["links"].clone();
    let has_tcx = links.as_array().unwrap().iter().any(|link| link["hook"] == "tcx");
    for endpoint in ["left", "right"] {
        let about = lab.inspect(endpoint).unwrap();
        let index = about["host_ifindex"].as_u64().unwrap();
        let pin = lab.dir().join(format!("bpffs/v1/links/{index}-from_endpoint"));
        let done = if has_tcx {
            lab.host.finish("rm", &[&pin.display().to_string()], SECOND).unwrap()
        } else {
            let device = about["host_ifname"].as_str().unwrap();
            lab.host.finish("tc", &["filter", "del", "dev", device, "ingress"], SECOND).unwrap()
        };
        assert!(done.success(), "{}", done.stderr);
    }
    for address in lab.addresses("right").unwrap() {
        let before = counters(&lab, &veth);
        for _ in 0..50 {
            left.ping(&address.to_string(), SECOND).unwrap();
        }
        let reply = left.tcp_ask(&at(address, 80), SECOND).unwrap();
        assert_eq!(reply.seen_source, reply.local);
        assert!(counters(&lab, &veth).tx_packets - before.tx_packets >= 50);
    }
}

#[test]
fn neighbours_resolve_though_the_bridge_floods_nothing() {
    require_root!();
    let (lab, left, right) = two();
    let (veth, bridge) = devices(&lab, "right");
    let port = lab.host.ip(&format!("-details link show dev {veth}")).unwrap();
    for off in ["flood off", "mcast_flood off"] {
        assert!(port.contains(off), "{off} is not among {port}");
    }
    let mac = lab.inspect("right").unwrap()["mac"].as_str().unwrap().to_owned();
    // So that `right` asks nothing itself.
    for address in lab.addresses("right").unwrap() {
        left.ping(&address.to_string(), SECOND).unwrap();
    }
    let before = right.counters().unwrap()["eth0"].rx_packets;
    for address in lab.addresses("right").unwrap() {
        left.ip("neigh flush all").unwrap();
        left.ping(&address.to_string(), SECOND).unwrap();
        let entry = left.ip(&format!("neigh show {address}")).unwrap();
        assert!(entry.contains(&format!("lladdr {mac}")), "{entry}");
    }
    // No request went to where the address lives: what arrived are the two pings.
    let got = right.counters().unwrap()["eth0"].rx_packets - before;
    assert_eq!(got, 2);
    // The gateway is the host's bridge.
    let link = lab.host.ip(&format!("link show dev {bridge}")).unwrap();
    for gateway in ["10.77.0.1", "fd77::1"] {
        left.ping(gateway, SECOND).unwrap();
        let entry = left.ip(&format!("neigh show {gateway}")).unwrap();
        let mac = entry.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap();
        assert!(link.contains(mac), "{entry} is not {link}");
    }
    // Nobody's address stays nobody's.
    assert!(left.ping("10.77.0.99", SECOND / 4).is_err());
    assert!(!left.ip("neigh show 10.77.0.99").unwrap().contains("lladdr"));
}

#[test]
fn fragments_arrive_whole() {
    require_root!();
    let (lab, left, right) = two();
    for address in lab.addresses("right").unwrap() {
        let _server = right.udp_serve(&at(address, 53)).unwrap();
        left.ping_sized(&address.to_string(), 4_000, SECOND).unwrap();
        left.udp_ask_sized(&at(address, 53), 4_000, SECOND).unwrap();
        left.udp_ask_sized(&at(address, 53), 60_000, SECOND).unwrap();
    }
}
