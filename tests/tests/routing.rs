//! Which of the host's routes and rules endpoints' packets obey.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics where it fails, in its helpers too"
)]

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netfast_tests::{Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, SECOND, TcpServer, require_root};

const S: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

const TOPOLOGY: &str = r#"
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: "fd77::/64"}
  other: {subnet: 10.78.0.0/24, subnet6: "fd78::/64"}
endpoints:
  a: {network: lab, ip: 10.77.0.2, ip6: "fd77::2"}
  b: {network: other}
"#;

/// Addresses that both worlds outside have.
const FAR: [&str; 2] = ["203.0.113.9", "2001:db8:77::9"];

/// The host with two uplinks, its default routes by the first; both worlds answer at [`FAR`].
struct Two {
    lab: Lab,
    a: Ns,
    b: Ns,
    _beyond: Ns,
    _servers: [TcpServer; 2],
}

impl Two {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let beyond = lab.second_uplink("uplink1").unwrap();
        for ns in [&lab.outside, &beyond] {
            ns.ip(&format!("addr add {}/32 dev lo", FAR[0])).unwrap();
            ns.ip(&format!("-6 addr add {}/128 dev lo", FAR[1])).unwrap();
        }
        let servers = [&lab.outside, &beyond].map(|ns| ns.tcp_serve("[::]:80").unwrap());
        lab.up(TOPOLOGY).unwrap();
        let [a, b] = ["a", "b"].map(|name| lab.endpoint_ns(name).unwrap());
        Self { lab, a, b, _beyond: beyond, _servers: servers }
    }

    /// Runs `ip` on the host for both families: `{far}`, `{net}` and `{via}` are the far address, the network of `a`,
    /// and the second uplink's gateway.
    fn ip(&self, args: &str) {
        for (n, family) in ["-4", "-6"].into_iter().enumerate() {
            let args = args
                .replace("{far}", FAR[n])
                .replace("{net}", ["10.77.0.0/24", "fd77::/64"][n])
                .replace("{via}", SECOND.outside[n])
                .replace("{first}", [OUTSIDE_V4, OUTSIDE_V6][n]);
            self.lab.host.ip(&format!("{family} {args}")).unwrap();
        }
    }

    /// Who answers `from` at the far address, over both families; all packets of a conversation take one way.
    #[track_caller]
    fn answers(from: &Ns, wanted: &str) {
        for (n, far) in FAR.into_iter().enumerate() {
            let address = SocketAddr::new(far.parse().unwrap(), 80).to_string();
            let mut talk = from.tcp_connect(&address, S).expect(far);
            talk.swap(100_000).unwrap();
            let reply = talk.ask().unwrap();
            let host: IpAddr = match wanted {
                "beyond" => SECOND.host[n].parse().unwrap(),
                _ => [netfast_tests::HOST_V4, netfast_tests::HOST_V6][n].parse().unwrap(),
            };
            assert_eq!((reply.by.as_str(), reply.seen_source.ip()), (wanted, host), "{far}");
        }
    }

    #[track_caller]
    fn nobody_answers(from: &Ns) {
        for far in FAR {
            let address = SocketAddr::new(far.parse().unwrap(), 80).to_string();
            let error = from.tcp_ask(&address, SHORT).map(|reply| reply.by).unwrap_err();
            let unreachable =
                [ErrorKind::TimedOut, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable];
            assert!(
                unreachable.contains(&error.kind()) || error.raw_os_error().is_some(),
                "{far}: {error:?}"
            );
        }
    }
}

#[test]
fn a_rule_by_the_endpoints_network() {
    require_root!();
    let two = Two::new();
    Two::answers(&two.a, "outside");
    two.ip("route add default via {via} table 100");
    two.ip("rule add from {net} lookup 100");
    Two::answers(&two.a, "beyond");
    Two::answers(&two.b, "outside");
}

#[test]
fn a_rule_by_the_endpoints_device() {
    require_root!();
    let two = Two::new();
    let device = two.lab.inspect("a").unwrap()["host_ifname"].as_str().unwrap().to_owned();
    two.ip("route add default via {via} table 100");
    two.ip(&format!("rule add iif {device} lookup 100"));
    Two::answers(&two.a, "beyond");
    Two::answers(&two.b, "outside");
}

#[test]
fn a_rule_by_the_destination() {
    require_root!();
    let two = Two::new();
    two.ip("route add default via {via} table 100");
    two.ip("rule add to {far} lookup 100");
    Two::answers(&two.a, "beyond");
    Two::answers(&two.b, "beyond");
}

#[test]
fn the_default_route_with_the_least_metric() {
    require_root!();
    let two = Two::new();
    // IPv4's first route has metric 0.
    two.ip("route del default");
    two.ip("route add default via {first} metric 200");
    two.ip("route add default via {via} metric 300");
    Two::answers(&two.a, "outside");
    two.ip("route add default via {via} metric 100");
    Two::answers(&two.a, "beyond");
}

#[test]
fn a_rule_by_mark_is_for_packets_the_host_marks() {
    require_root!();
    let two = Two::new();
    two.ip("route add default via {via} table 100");
    two.ip("rule add fwmark 7 lookup 100");
    // Nothing marks an endpoint's packets before they are routed.
    Two::answers(&two.a, "outside");
}

#[test]
fn routes_that_lead_nowhere_are_obeyed() {
    require_root!();
    for kind in ["blackhole", "unreachable", "prohibit"] {
        let two = Two::new();
        let address = |far: &str| SocketAddr::new(far.parse().unwrap(), 80).to_string();
        let mut talks: Vec<_> = FAR.iter().map(|far| two.a.tcp_connect(&address(far), S).unwrap()).collect();
        for talk in &mut talks {
            assert_eq!(talk.ask().unwrap().by, "outside");
        }
        let before = two.lab.dropped("a", "no_route").unwrap();
        two.ip(&format!("route add {kind} {{far}}"));
        Two::nobody_answers(&two.a);
        assert!(two.lab.dropped("a", "no_route").unwrap() > before, "{kind}: {:?}", two.lab.drops("a"));
        // For what is connected already, too.
        for talk in &mut talks {
            assert!(talk.ask().is_err(), "{kind}");
        }
    }
}
