//! The devices that lead outside: several at once, and such that come and go.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::time::Duration;

use netfast_tests::{
    HOST_V4, HOST_V6, Lab, OUTSIDE_V4, OUTSIDE_V6, Running, SECOND, eventually, require_root,
};
use serde_json::{Value, json};

const S: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(200);

const TOPOLOGY: &str = r#"
networks: {lab: {subnet: 10.77.0.0/24, subnet6: "fd77::/64"}}
endpoints:
  web: {publish: ["8080:80", "5300:53/udp"]}
"#;

/// `netfast up` in the foreground.
fn foreground(lab: &Lab, topology: &str) -> Running {
    let file = lab.file("netfast.yaml", topology).unwrap();
    let mut up = lab.start(&["up", "-f", &file]).unwrap();
    up.wait_for("Ctrl-C takes it down", 20 * S).unwrap();
    up
}

fn uplinks(lab: &Lab) -> Vec<Value> {
    let status = lab.netfast_json(&["status"]).unwrap();
    status["uplinks"].as_array().unwrap().clone()
}

fn uplink(lab: &Lab, device: &str) -> Option<Value> {
    uplinks(lab).into_iter().find(|uplink| uplink["device"] == device)
}

fn socket(ip: &str, port: u16) -> String {
    std::net::SocketAddr::new(ip.parse().unwrap(), port).to_string()
}

#[test]
fn each_uplink_masquerades_with_its_own_address_and_answers_where_it_was_asked() {
    require_root!();
    let lab = Lab::new().unwrap();
    let beyond = lab.second_uplink("uplink1").unwrap();
    lab.up(TOPOLOGY).unwrap();
    assert_eq!(uplinks(&lab).len(), 2);
    let web = lab.endpoint_ns("web").unwrap();
    let _outside = lab.outside.tcp_serve("[::]:80").unwrap();
    let _beyond = beyond.tcp_serve("[::]:80").unwrap();
    let _web = web.tcp_serve("[::]:80").unwrap();
    let _udp = web.udp_serve("0.0.0.0:53").unwrap();
    let ways = [
        ("outside", &lab.outside, OUTSIDE_V4, HOST_V4),
        ("outside", &lab.outside, OUTSIDE_V6, HOST_V6),
        ("beyond", &beyond, SECOND.outside[0], SECOND.host[0]),
        ("beyond", &beyond, SECOND.outside[1], SECOND.host[1]),
    ];
    for (name, world, outside, host) in ways {
        let reply = web.tcp_ask(&socket(outside, 80), S).unwrap();
        assert_eq!((reply.by.as_str(), reply.seen_source.ip().to_string()), (name, host.to_owned()));
        // From outside, over either.
        let reply = world.tcp_ask(&socket(host, 8080), S).unwrap();
        assert_eq!((reply.by.as_str(), reply.seen_source.ip().to_string()), ("web", outside.to_owned()));
    }
    for (world, host) in [(&lab.outside, HOST_V4), (&beyond, SECOND.host[0])] {
        assert_eq!(world.udp_ask(&socket(host, 5300), S).unwrap().by, "web");
    }
    // A client to whom the host's best route leads by the other uplink is answered by the one it came in at. For IPv6
    // the kernel needs a rule by source to find a way there, as the host's own replies do.
    lab.host.ip(&format!("route add default via {} metric 2000", SECOND.outside[0])).unwrap();
    lab.host.ip(&format!("-6 route add default via {} table 101", SECOND.outside[1])).unwrap();
    lab.host.ip(&format!("-6 rule add from {} lookup 101", SECOND.host[1])).unwrap();
    for (address, host) in [("203.0.113.9/32", SECOND.host[0]), ("2001:db8:77::9/128", SECOND.host[1])] {
        beyond.address("eth0", address).unwrap();
        let from = address.split('/').next().unwrap();
        let from = Some(socket(from, 0).parse().unwrap());
        let mut client = beyond.tcp_connect_from(from, &socket(host, 8080), S).unwrap();
        assert_eq!(client.ask().unwrap().by, "web");
    }
}

#[test]
fn without_a_default_route_it_comes_up_and_follows_when_one_comes() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.host.ip("route del default").unwrap();
    lab.host.ip("-6 route del default").unwrap();
    lab.outside.ip("addr add 203.0.113.9/32 dev lo").unwrap();
    lab.up(TOPOLOGY).unwrap();
    let web = lab.endpoint_ns("web").unwrap();
    let _tcp = lab.outside.tcp_serve("0.0.0.0:80").unwrap();
    web.tcp_ask("203.0.113.9:80", SHORT).unwrap_err();
    assert!(lab.dropped("web", "no_route").unwrap() > 0);
    lab.host.ip(&format!("route add default via {OUTSIDE_V4}")).unwrap();
    assert_eq!(web.tcp_ask("203.0.113.9:80", S).unwrap().by, "outside");
}

#[test]
fn the_foreground_follows_devices_and_addresses() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mut up = foreground(&lab, TOPOLOGY);
    let web = lab.endpoint_ns("web").unwrap();
    let _web = web.tcp_serve("[::]:80").unwrap();
    assert_eq!(uplinks(&lab).len(), 1);

    let beyond = lab.second_uplink("uplink1").unwrap();
    let _beyond = beyond.tcp_serve("[::]:80").unwrap();
    eventually("a new device is an uplink", || {
        uplink(&lab, "uplink1").is_some_and(|u| u["ip"] == SECOND.host[0] && u["ip6"] == SECOND.host[1])
    });
    let both_ways = |host: usize| {
        let to = socket(SECOND.outside[host], 80);
        eventually("out", || web.tcp_ask(&to, SHORT).is_ok_and(|r| r.by == "beyond"));
        eventually("in", || {
            beyond.tcp_ask(&socket(SECOND.host[host], 8080), SHORT).is_ok_and(|r| r.by == "web")
        });
    };
    both_ways(0);
    both_ways(1);

    // Another address instead.
    lab.host.ip("addr del 198.51.100.1/24 dev uplink1").unwrap();
    eventually("an address is gone", || uplink(&lab, "uplink1").is_some_and(|u| u["ip"].is_null()));
    lab.host.address("uplink1", "198.51.100.7/24").unwrap();
    eventually("an address has come", || uplink(&lab, "uplink1").is_some_and(|u| u["ip"] == "198.51.100.7"));
    let to = socket(SECOND.outside[0], 80);
    eventually("it is used", || {
        web.tcp_ask(&to, SHORT).is_ok_and(|reply| reply.seen_source.ip().to_string() == "198.51.100.7")
    });

    // Renamed, down and up.
    lab.host.ip("link set uplink1 down").unwrap();
    lab.host.ip("link set uplink1 name wan").unwrap();
    lab.host.ip("link set wan up").unwrap();
    eventually("it has another name", || uplink(&lab, "wan").is_some());
    eventually("it works by that", || web.tcp_ask(&to, SHORT).is_ok_and(|reply| reply.by == "beyond"));

    // Deleted and made again.
    lab.host.ip("link del wan").unwrap();
    eventually("it is gone", || uplinks(&lab).len() == 1);
    let beyond = lab.second_uplink("wan").unwrap();
    let _beyond = beyond.tcp_serve("[::]:80").unwrap();
    eventually("it is there again", || web.tcp_ask(&to, SHORT).is_ok_and(|reply| reply.by == "beyond"));
    eventually("all is well", || {
        lab.netfast_json(&["status"]).is_ok_and(|status| status["problems"] == json!([]))
    });
    assert!(!up.ended(), "{}", up.stderr());
}

#[test]
fn without_the_process_the_next_command_follows() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(TOPOLOGY).unwrap();
    let beyond = lab.second_uplink("uplink1").unwrap();
    let status = lab.netfast(&["status", "--check"]).unwrap();
    assert_eq!(status.status.code(), Some(3));
    assert!(status.stdout.contains("from_uplink is not attached to the uplink uplink1"), "{}", status.stdout);
    lab.netfast_ok(&["endpoint", "add", "late"]).unwrap();
    lab.netfast_ok(&["status", "--check"]).unwrap();
    let _beyond = beyond.tcp_serve("[::]:80").unwrap();
    let reply = lab.endpoint_ns("late").unwrap().tcp_ask(&socket(SECOND.outside[0], 80), S).unwrap();
    assert_eq!(reply.seen_source.ip().to_string(), SECOND.host[0]);
}

#[test]
fn a_device_without_ethernet_header_is_named() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.host.ip("tuntap add dev tun0 mode tun").unwrap();
    lab.host.ip("addr add 198.51.100.1/24 dev tun0").unwrap();
    let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    let done = lab.netfast(&["up", "-d", "-f", &file]).unwrap();
    let wanted = "published ports and masquerade do not cover the device tun0: it has no Ethernet header";
    assert!(done.success() && done.stderr.contains(wanted), "{done:?}");
    let status = lab.netfast_json(&["status"]).unwrap();
    assert_eq!(status["limits"], json!([wanted]));
    assert_eq!(uplinks(&lab).len(), 1);
    // It is no fault.
    let text = lab.netfast_ok(&["status", "--check"]).unwrap();
    assert!(text.contains(&format!("Not covered\n  {wanted}\n")), "{text}");
}
