//! Network policies, judged by packets that arrive or do not.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use netfast_tests::{HOST_V4, HOST_V6, Lab, Ns, Reply, require_root, udp_ask_on};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

const WITHOUT: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  web: {labels: {app: web}, ports: ['http=80/tcp', 'dns=53/udp'], publish: ['8080:80', '8081:81']}
  client: {labels: {role: client}}
  stranger: {}
";

/// Lets clients and the outside use `web`, by the names of its ports.
const INGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector: {matchLabels: {role: client}}
    ports:
    - {protocol: TCP, port: http}
    - {protocol: UDP, port: dns}
  - from:
    - ipBlock: {cidr: 192.0.2.0/24}
    - ipBlock: {cidr: '2001:db8:99::/64'}
    ports:
    - {protocol: TCP, port: 80}
";

/// Lets the stranger use port 81 of `web`, nothing else.
const EGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: clients}
spec:
  podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}
  policyTypes: [Egress]
  egress:
  - to:
    - podSelector: {matchLabels: {app: web}}
    ports:
    - {protocol: TCP, port: 81}
";

struct World {
    lab: Lab,
    web: Ns,
    client: Ns,
    stranger: Ns,
    _servers: Vec<Box<dyn Send>>,
}

/// A lab under `policy`, with servers at `web` and outside.
fn world(policy: &str) -> World {
    let lab = Lab::new().unwrap();
    apply(&lab, policy);
    let [web, client, stranger] =
        ["web", "client", "stranger"].map(|endpoint| lab.endpoint_ns(endpoint).unwrap());
    let mut servers: Vec<Box<dyn Send>> = Vec::new();
    for port in [80, 81] {
        servers.push(Box::new(web.tcp_serve(&format!("[::]:{port}")).unwrap()));
        servers.push(Box::new(lab.outside.tcp_serve(&format!("[::]:{port}")).unwrap()));
    }
    for address in lab.addresses("web").unwrap() {
        servers.push(Box::new(web.udp_serve(&SocketAddr::new(address, 53).to_string()).unwrap()));
    }
    World { lab, web, client, stranger, _servers: servers }
}

fn apply(lab: &Lab, policy: &str) {
    if policy.is_empty() {
        return lab.up(WITHOUT).unwrap();
    }
    lab.file("policy.yaml", policy).unwrap();
    lab.up(&format!("{WITHOUT}policies: [policy.yaml]\n")).unwrap();
}

/// The two addresses of `web`, with a port.
fn web(world: &World, port: u16) -> [String; 2] {
    world.lab.addresses("web").unwrap().map(|address| SocketAddr::new(address, port).to_string())
}

#[track_caller]
fn dropped(answer: io::Result<Reply>) {
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn ingress_lets_in_whom_it_names() {
    require_root!();
    let world = world(INGRESS);
    for server in web(&world, 80) {
        let reply = world.client.tcp_ask(&server, SECOND).unwrap();
        assert_eq!((reply.by.as_str(), reply.seen_source), ("web", reply.local));
        // Replies are part of what was allowed, both ways.
        world.client.tcp_stream(&server, 1_000_001, 10 * SECOND).unwrap();
    }
    for server in web(&world, 53) {
        assert_eq!(world.client.udp_ask(&server, SECOND).unwrap().by, "web");
    }
    // Not isolated in the other direction: it may ask whom it likes.
    for address in world.lab.addresses("stranger").unwrap() {
        world.web.ping(&address.to_string(), SECOND).unwrap();
    }
    let isolation = world.lab.inspect("web").unwrap()["isolation"].clone();
    assert_eq!(isolation["ingress"]["policies"], serde_json::json!(["default/web"]));
    assert_eq!(isolation["egress"]["isolated"], false);
}

#[test]
fn ingress_drops_and_counts_everybody_else() {
    require_root!();
    let world = world(INGRESS);
    let count = || world.lab.dropped("web", "policy_ingress").unwrap();
    let mut before = count();
    let mut counted = |what: &str| {
        let now = count();
        assert!(now > before, "{what} is not counted: {:?}", world.lab.drops("web"));
        before = now;
    };
    for server in web(&world, 80) {
        dropped(world.stranger.tcp_ask(&server, SHORT));
        counted("a stranger");
    }
    for server in web(&world, 81) {
        dropped(world.client.tcp_ask(&server, SHORT));
        counted("another port");
    }
    for server in web(&world, 53) {
        dropped(world.stranger.udp_ask(&server, SHORT));
        counted("a stranger's datagram");
    }
    for address in world.lab.addresses("web").unwrap() {
        assert!(world.client.ping(&address.to_string(), SHORT).is_err());
        counted("a ping");
    }
    // By the published port neither.
    dropped(world.stranger.tcp_ask(&format!("{HOST_V4}:8080"), SHORT));
    counted("a stranger by the published port");
    assert_eq!(world.lab.dropped("stranger", "policy_egress").unwrap(), 0);
}

#[test]
fn blocks_let_in_the_outside() {
    require_root!();
    let world = world(INGRESS);
    for host in [HOST_V4.to_owned(), format!("[{HOST_V6}]")] {
        assert_eq!(world.lab.outside.tcp_ask(&format!("{host}:8080"), SECOND).unwrap().by, "web");
        dropped(world.lab.outside.tcp_ask(&format!("{host}:8081"), SHORT));
    }
    world.lab.outside.address("eth0", "198.51.100.7/32").unwrap();
    let from = Some("198.51.100.7:4000".parse().unwrap());
    world.lab.host.ip("route add 198.51.100.7/32 dev uplink0").unwrap();
    let other = world.lab.outside.tcp_connect_from(from, &format!("{HOST_V4}:8080"), SHORT);
    assert_eq!(other.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(world.lab.dropped("web", "policy_ingress").unwrap() > 0);
}

#[test]
fn the_own_host_is_always_let_in() {
    require_root!();
    let world = world(INGRESS);
    for server in web(&world, 81).into_iter().chain(["127.0.0.1:8081".to_owned(), "[::1]:8081".to_owned()]) {
        assert_eq!(world.lab.host.tcp_ask(&server, SECOND).unwrap().by, "web");
    }
    for server in web(&world, 53) {
        assert_eq!(world.lab.host.udp_ask(&server, SECOND).unwrap().by, "web");
    }
    for address in world.lab.addresses("web").unwrap() {
        world.lab.host.ping(&address.to_string(), SECOND).unwrap();
    }
}

#[test]
fn egress_lets_out_to_whom_it_names() {
    require_root!();
    let world = world(EGRESS);
    for server in web(&world, 81) {
        world.stranger.tcp_stream(&server, 1_000_001, 10 * SECOND).unwrap();
    }
    let mut before = 0;
    let elsewhere = ["192.0.2.2:80", "[2001:db8:99::2]:81"].map(str::to_owned);
    for server in web(&world, 80).into_iter().chain(elsewhere) {
        dropped(world.stranger.tcp_ask(&server, SHORT));
        let now = world.lab.dropped("stranger", "policy_egress").unwrap();
        assert!(now > before, "{server}: {:?}", world.lab.drops("stranger"));
        before = now;
    }
    for server in web(&world, 53) {
        dropped(world.stranger.udp_ask(&server, SHORT));
    }
    // It answers whom it could not ask.
    for address in world.lab.addresses("stranger").unwrap() {
        world.web.ping(&address.to_string(), SECOND).unwrap();
    }
    assert_eq!(world.lab.dropped("web", "policy_egress").unwrap(), 0);
}

#[test]
fn a_change_cuts_living_flows_and_removal_lets_through_again() {
    require_root!();
    let world = world("");
    for (family, server) in web(&world, 80).into_iter().enumerate() {
        let mut allowed = world.client.tcp_connect(&server, SHORT).unwrap();
        let mut tcp = world.stranger.tcp_connect(&server, SHORT).unwrap();
        let udp = world.stranger.udp_connect(None, &web(&world, 53)[family]).unwrap();
        tcp.ask().unwrap();
        allowed.ask().unwrap();
        udp_ask_on(&udp, 50, SECOND).unwrap();
        apply(&world.lab, INGRESS);
        assert_eq!(tcp.ask().unwrap_err().kind(), ErrorKind::TimedOut);
        dropped(udp_ask_on(&udp, 50, SHORT));
        dropped(world.stranger.tcp_ask(&server, SHORT));
        // What is still allowed goes on without a break.
        allowed.ask().unwrap();
        apply(&world.lab, "");
        assert_eq!(udp_ask_on(&udp, 50, SECOND).unwrap().by, "web");
        assert_eq!(world.stranger.tcp_ask(&server, SECOND).unwrap().by, "web");
        allowed.ask().unwrap();
        // What was cut and has not given up goes on, once its last segment is sent again.
        assert!((0..20).any(|_| tcp.ask().is_ok()));
    }
}
