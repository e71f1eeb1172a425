//! Every path a packet can take, by each family and protocol, without policies, allowed by them, and denied by them.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use netfast_tests::{HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, Raw, require_root};

/// Long enough for a busy machine: what is to arrive is not to fail the test by coming late.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a packet that is to be dropped is waited for.
const SHORT: Duration = Duration::from_millis(150);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
  other: {subnet: 10.78.0.0/24, subnet6: 'fd78::/64'}
  open: {subnet: 10.79.0.0/24, subnet6: 'fd79::/64', routed: true}
endpoints:
  web: {network: lab, ip: 10.77.0.10, ip6: 'fd77::10', publish: ['8080:80', '5353:53/udp']}
  client: {network: lab, ip: 10.77.0.20, ip6: 'fd77::20'}
  foreigner: {network: other, ip: 10.78.0.20, ip6: 'fd78::20'}
  public: {network: open, ip: 10.79.0.20, ip6: 'fd79::20'}
";

/// Everybody may do by rules what they may do without any.
const ALLOW: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: &peers
  - from: &who
    - podSelector: {}
    - ipBlock: {cidr: 192.0.2.0/24}
    - ipBlock: {cidr: '2001:db8:99::/64'}
    - ipBlock: {cidr: 10.77.0.1/32}
    - ipBlock: {cidr: 'fd77::1/128'}
  egress:
  - to: *who
";

fn nothing(direction: &str) -> String {
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: nothing}}
spec: {{podSelector: {{}}, policyTypes: [{direction}]}}
"
    )
}

/// Who sends or receives.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Endpoint(&'static str),
    Host,
    Outside,
}
use Who::{Endpoint, Host, Outside};

/// One way through the datapath.
struct Way {
    name: &'static str,
    from: Who,
    /// Where it is sent to, IPv4 and IPv6.
    to: [&'static str; 2],
    /// Whether that is a published port, which pings do not have.
    is_published: bool,
    server: Who,
    /// The source that the server sees, IPv4 and IPv6.
    seen: [&'static str; 2],
    /// Who drops it when nobody may receive, and when nobody may send.
    denied: [Option<&'static str>; 2],
}

const HOST: [&str; 2] = [HOST_V4, HOST_V6];
const OUTSIDE: [&str; 2] = [OUTSIDE_V4, OUTSIDE_V6];
const GATEWAY: [&str; 2] = ["10.77.0.1", "fd77::1"];
const WEB: [&str; 2] = ["10.77.0.10", "fd77::10"];
const CLIENT: [&str; 2] = ["10.77.0.20", "fd77::20"];
const FOREIGNER: [&str; 2] = ["10.78.0.20", "fd78::20"];
const PUBLIC: [&str; 2] = ["10.79.0.20", "fd79::20"];

#[rustfmt::skip]
const WAYS: [Way; 14] = [
    Way { name: "endpoint to endpoint", from: Endpoint("client"), to: WEB, is_published: false,
        server: Endpoint("web"), seen: CLIENT, denied: [Some("web"), Some("client")] },
    Way { name: "outside to a published port", from: Outside, to: HOST, is_published: true,
        server: Endpoint("web"), seen: OUTSIDE, denied: [Some("web"), None] },
    Way { name: "endpoint to outside", from: Endpoint("client"), to: OUTSIDE, is_published: false,
        server: Outside, seen: HOST, denied: [None, Some("client")] },
    Way { name: "host to endpoint", from: Host, to: WEB, is_published: false,
        server: Endpoint("web"), seen: GATEWAY, denied: [None, None] },
    Way { name: "host to a port published on the loopback", from: Host, to: ["127.0.0.1", "::1"],
        is_published: true, server: Endpoint("web"), seen: GATEWAY, denied: [None, None] },
    Way { name: "host to a port published on its own address", from: Host, to: HOST,
        is_published: true, server: Endpoint("web"), seen: GATEWAY, denied: [None, None] },
    Way { name: "endpoint to another's published port", from: Endpoint("client"), to: HOST, is_published: true,
        server: Endpoint("web"), seen: CLIENT, denied: [Some("web"), Some("client")] },
    Way { name: "endpoint to another's published port at the gateway", from: Endpoint("client"), to: GATEWAY,
        is_published: true, server: Endpoint("web"), seen: CLIENT, denied: [Some("web"), Some("client")] },
    Way { name: "endpoint of another network to a published port", from: Endpoint("foreigner"), to: HOST,
        is_published: true, server: Endpoint("web"), seen: FOREIGNER, denied: [Some("web"), Some("foreigner")] },
    Way { name: "endpoint to its own published port", from: Endpoint("web"), to: HOST, is_published: true,
        server: Endpoint("web"), seen: GATEWAY, denied: [None, None] },
    Way { name: "routed endpoint to outside", from: Endpoint("public"), to: OUTSIDE, is_published: false,
        server: Outside, seen: PUBLIC, denied: [None, Some("public")] },
    Way { name: "outside to a routed endpoint", from: Outside, to: PUBLIC, is_published: false,
        server: Endpoint("public"), seen: OUTSIDE, denied: [Some("public"), None] },
    Way { name: "endpoint to its gateway", from: Endpoint("client"), to: GATEWAY, is_published: false,
        server: Host, seen: CLIENT, denied: [None, Some("client")] },
    Way { name: "endpoint to the host", from: Endpoint("client"), to: HOST, is_published: false,
        server: Host, seen: CLIENT, denied: [None, Some("client")] },
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
}
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];

/// A lab with servers for TCP (port 80) and UDP (port 53) everywhere.
struct World {
    lab: Lab,
    endpoints: Vec<Ns>,
    _servers: Vec<Box<dyn Send>>,
}

impl World {
    fn new(policy: Option<&str>) -> Self {
        let lab = Lab::new().unwrap();
        lab.file("policy.yaml", policy.unwrap_or_default()).unwrap();
        let policies = if policy.is_some() { "policies: [policy.yaml]\n" } else { "" };
        lab.up(&format!("{MANIFEST}{policies}")).unwrap();
        lab.outside.ip(&format!("route add 10.79.0.0/24 via {HOST_V4}")).unwrap();
        lab.outside.ip(&format!("-6 route add fd79::/64 via {HOST_V6}")).unwrap();
        let endpoints =
            ["web", "client", "foreigner", "public"].map(|name| lab.endpoint_ns(name).unwrap()).into();
        let mut world = Self { lab, endpoints, _servers: Vec::new() };
        let mut servers: Vec<Box<dyn Send>> = Vec::new();
        for (who, addresses) in [
            (Endpoint("web"), vec![WEB]),
            (Endpoint("public"), vec![PUBLIC]),
            (Outside, vec![OUTSIDE]),
            (Host, vec![HOST, GATEWAY]),
        ] {
            let ns = world.ns(who);
            servers.push(Box::new(ns.tcp_serve("[::]:80").unwrap()));
            for address in addresses.iter().flatten() {
                servers.push(Box::new(ns.udp_serve(&at(address, 53)).unwrap()));
            }
        }
        world._servers = servers;
        world
    }

    fn ns(&self, who: Who) -> &Ns {
        match who {
            Host => &self.lab.host,
            Outside => &self.lab.outside,
            Endpoint(name) => self.endpoints.iter().find(|ns| ns.name() == name).unwrap(),
        }
    }

    /// Hears what arrives at a server.
    fn listen(&self, way: &Way) -> Raw {
        let device = match way.server {
            Endpoint(_) | Outside => "eth0".to_owned(),
            // The bridge.
            Host => {
                let status = self.lab.netfast_json(&["status"]).unwrap();
                let networks = status["networks"].as_array().unwrap();
                let lab = networks.iter().find(|network| network["name"] == "lab").unwrap();
                lab["bridge"].as_str().unwrap().to_owned()
            }
        };
        self.ns(way.server).raw(&device).unwrap()
    }
}

fn at(address: &str, port: u16) -> String {
    SocketAddr::new(address.parse().unwrap(), port).to_string()
}

/// The source of a packet, if it asks a server something by this protocol.
fn asker(packet: &SlicedPacket<'_>, protocol: Protocol) -> Option<IpAddr> {
    let asks = match (&packet.transport, protocol) {
        (Some(TransportSlice::Tcp(tcp)), Protocol::Tcp) => tcp.destination_port() == 80,
        (Some(TransportSlice::Udp(udp)), Protocol::Udp) => udp.destination_port() == 53,
        (Some(TransportSlice::Icmpv4(icmp)), Protocol::Icmp) => icmp.type_u8() == 8,
        (Some(TransportSlice::Icmpv6(icmp)), Protocol::Icmp) => icmp.type_u8() == 128,
        _ => false,
    };
    match &packet.net {
        Some(NetSlice::Ipv4(ip)) if asks => Some(ip.header().source_addr().into()),
        Some(NetSlice::Ipv6(ip)) if asks => Some(ip.header().source_addr().into()),
        _ => None,
    }
}

/// Asks by one way, and returns the source the server saw, if it answered.
fn ask(
    world: &World,
    way: &Way,
    family: usize,
    protocol: Protocol,
    timeout: Duration,
) -> Result<IpAddr, String> {
    let (from, to) = (world.ns(way.from), way.to[family]);
    let port = |own, published| if way.is_published { published } else { own };
    let reply = match protocol {
        Protocol::Tcp => from.tcp_ask(&at(to, port(80, 8080)), timeout),
        Protocol::Udp => from.udp_ask(&at(to, port(53, 5353)), timeout),
        Protocol::Icmp => {
            let heard = world.listen(way);
            from.ping(to, timeout).map_err(|error| error.to_string())?;
            let mut source = None;
            heard.find(timeout, |packet| {
                source = asker(packet, protocol);
                source.is_some()
            });
            return source.ok_or_else(|| "nobody saw the ping".to_owned());
        }
    };
    let reply = reply.map_err(|error| error.to_string())?;
    assert_eq!(reply.by, world.ns(way.server).name(), "{}", way.name);
    Ok(reply.seen_source.ip())
}

/// Goes all ways. `denied`: by which of [`Way::denied`] they are dropped, and for what reason.
#[track_caller]
fn check(policy: Option<&str>, denied: Option<(usize, &str)>) {
    let world = World::new(policy);
    let mut wrong = Vec::new();
    for way in &WAYS {
        let denier = denied.and_then(|(index, reason)| Some((way.denied[index]?, reason)));
        for (family, protocol) in [0, 1].into_iter().flat_map(|family| PROTOCOLS.map(|p| (family, p))) {
            if way.is_published && protocol == Protocol::Icmp {
                continue;
            }
            let verdict = match denier {
                None => reaches(&world, way, family, protocol),
                Some(denier) => is_dropped(&world, way, family, protocol, denier),
            };
            if let Err(error) = verdict {
                wrong.push(format!("{}, {protocol:?} to {}: {error}", way.name, way.to[family]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn reaches(world: &World, way: &Way, family: usize, protocol: Protocol) -> Result<(), String> {
    let seen = ask(world, way, family, protocol, PATIENCE)?;
    if seen.to_string() == way.seen[family] { Ok(()) } else { Err(format!("{seen} was seen")) }
}

fn is_dropped(
    world: &World,
    way: &Way,
    family: usize,
    protocol: Protocol,
    (denier, reason): (&str, &str),
) -> Result<(), String> {
    let heard = world.listen(way);
    let before = world.lab.drops(denier).unwrap();
    if let Ok(seen) = ask(world, way, family, protocol, SHORT) {
        return Err(format!("answered to {seen}"));
    }
    if heard.find(Duration::ZERO, |packet| asker(packet, protocol).is_some()).is_some() {
        return Err("it arrived".to_owned());
    }
    let mut after = world.lab.drops(denier).unwrap();
    // Reports of multicast groups, by which an endpoint's kernel interrupts at any time.
    after.remove("multicast");
    let mut grown = after.iter().filter(|(reason, count)| before.get(*reason).unwrap_or(&0) < *count);
    match grown.next() {
        Some((grown, _)) if grown == reason => Ok(()),
        other => Err(format!("{denier} counted {other:?}")),
    }
}

#[test]
fn without_policies() {
    require_root!();
    check(None, None);
}

#[test]
fn allowed_by_policies() {
    require_root!();
    check(Some(ALLOW), None);
}

#[test]
fn nobody_may_receive() {
    require_root!();
    check(Some(&nothing("Ingress")), Some((0, "policy_ingress")));
}

#[test]
fn nobody_may_send() {
    require_root!();
    check(Some(&nothing("Egress")), Some((1, "policy_egress")));
}
