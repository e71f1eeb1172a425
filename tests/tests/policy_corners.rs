//! What `NetworkPolicy` leaves open, and how it is decided here: `docs/policy.md` says so, these packets show it.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use netfast_tests::{HOST_V4, HOST_V6, Lab, Ns, Reply, require_root};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

const WITHOUT: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  web: {ports: ['http=80/tcp'], publish: ['8080:80']}
  client: {}
policies: [policy.yaml]
";

/// Nobody may send or receive.
const CLOSED: &str = "{policyTypes: [Ingress, Egress]}";

/// Both endpoints under one policy with this `spec`. Servers of TCP are at `web` and on the host.
struct World {
    lab: Lab,
    web: Ns,
    client: Ns,
    _servers: Vec<Box<dyn Send>>,
}

impl World {
    fn new(spec: &str) -> Self {
        let lab = Lab::new().unwrap();
        put_in_force(&lab, spec);
        let [web, client] = ["web", "client"].map(|endpoint| lab.endpoint_ns(endpoint).unwrap());
        let servers: Vec<Box<dyn Send>> = vec![
            Box::new(web.tcp_serve("[::]:80").unwrap()),
            Box::new(web.tcp_serve("[::]:81").unwrap()),
            Box::new(lab.host.tcp_serve("[::]:7000").unwrap()),
        ];
        Self { lab, web, client, _servers: servers }
    }

    /// The two addresses of `web`.
    fn addresses(&self) -> [std::net::IpAddr; 2] {
        self.lab.addresses("web").unwrap()
    }

    /// The two addresses of `web`, with a port.
    fn web(&self, port: u16) -> [String; 2] {
        self.addresses().map(|address| SocketAddr::new(address, port).to_string())
    }
}

fn put_in_force(lab: &Lab, spec: &str) {
    let policy = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: all}}\nspec: {spec}\n"
    );
    lab.file("policy.yaml", &policy).unwrap();
    lab.up(WITHOUT).unwrap();
}

#[track_caller]
fn dropped(answer: io::Result<Reply>) {
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn an_endpoint_always_reaches_itself() {
    require_root!();
    let world = World::new(CLOSED);
    let own = ["127.0.0.1:80", "[::1]:80"].map(str::to_owned);
    // Through its published port, too: that way its packets do leave it.
    let published = [format!("{HOST_V4}:8080"), format!("[{HOST_V6}]:8080")];
    for server in own.into_iter().chain(world.web(80)).chain(published) {
        assert_eq!(world.web.tcp_ask(&server, SECOND).unwrap().by, "web", "{server}");
    }
    dropped(world.client.tcp_ask(&world.web(80)[0], SHORT));
}

#[test]
fn the_own_host_is_let_in_and_is_a_peer_like_others_for_what_goes_out() {
    require_root!();
    let world = World::new(CLOSED);
    for (server, address) in world.web(80).iter().zip(world.addresses()) {
        assert_eq!(world.lab.host.tcp_ask(server, SECOND).unwrap().by, "web");
        world.lab.host.ping(&address.to_string(), SECOND).unwrap();
    }
    let host = ["10.77.0.1:7000", "[fd77::1]:7000", &format!("{HOST_V4}:7000")].map(str::to_owned);
    for server in &host {
        let before = world.lab.dropped("web", "policy_egress").unwrap();
        dropped(world.web.tcp_ask(server, SHORT));
        assert!(world.lab.dropped("web", "policy_egress").unwrap() > before, "{server}");
    }
    // It has no labels: only blocks of addresses, and rules without peers, mean it.
    put_in_force(&world.lab, "{policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}");
    dropped(world.web.tcp_ask(&host[0], SHORT));
    let blocks = format!(
        "{{ipBlock: {{cidr: 10.77.0.1/32}}}}, {{ipBlock: {{cidr: 'fd77::1/128'}}}}, {{ipBlock: {{cidr: {HOST_V4}/32}}}}"
    );
    put_in_force(&world.lab, &format!("{{policyTypes: [Egress], egress: [{{to: [{blocks}]}}]}}"));
    for server in &host {
        world.web.tcp_ask(server, SECOND).unwrap();
    }
}

#[test]
fn a_ping_asks_for_a_rule_without_ports() {
    require_root!();
    let world = World::new("{ingress: [{from: [{podSelector: {}}]}]}");
    for address in world.addresses() {
        world.client.ping(&address.to_string(), SECOND).unwrap();
    }
    // A port that says nothing is every port of TCP, and nothing else.
    put_in_force(&world.lab, "{ingress: [{ports: [{}]}]}");
    for (address, server) in world.addresses().into_iter().zip(world.web(81)) {
        assert!(world.client.ping(&address.to_string(), SHORT).is_err());
        assert_eq!(world.client.tcp_ask(&server, SECOND).unwrap().by, "web");
    }
    let _udp = world.web.udp_serve(&world.web(53)[0]).unwrap();
    dropped(world.client.udp_ask(&world.web(53)[0], SHORT));
}

#[test]
fn a_rule_for_another_protocol_closes_this_one() {
    require_root!();
    let world = World::new("{ingress: [{ports: [{protocol: SCTP}, {protocol: SCTP, port: 80}]}]}");
    for server in world.web(80) {
        dropped(world.client.tcp_ask(&server, SHORT));
    }
}

#[test]
fn neighbours_are_found_whatever_policies_say() {
    require_root!();
    let world = World::new(CLOSED);
    world.client.ip("neigh flush dev eth0").unwrap();
    world.client.ip("-6 neigh flush dev eth0").unwrap();
    for (server, address) in world.web(80).iter().zip(world.addresses()) {
        dropped(world.client.tcp_ask(server, SHORT));
        let found = world.client.ip(&format!("neigh get {address} dev eth0")).unwrap();
        assert!(found.contains("lladdr"), "{found}");
    }
}

#[test]
fn errors_about_what_was_allowed_pass() {
    require_root!();
    // It may not send anything of its own.
    let world = World::new(
        "{policyTypes: [Ingress, Egress], ingress: [{}], egress: [{to: [{podSelector: {}}], ports: [{protocol: UDP, port: 9}]}]}",
    );
    for server in world.web(9) {
        let answer = world.client.udp_ask(&server, SECOND);
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::ConnectionRefused, "{server}");
    }
    for address in world.addresses() {
        assert!(world.client.ping(&address.to_string(), SHORT).is_err());
    }
}

#[test]
fn a_connection_without_its_beginning_is_judged_as_a_new_one() {
    require_root!();
    let allowed = "{ingress: [{ports: [{port: 80}]}]}";
    let world = World::new(allowed);
    for server in world.web(80) {
        let mut conversation = world.client.tcp_connect(&server, SECOND).unwrap();
        conversation.ask().unwrap();
        world.lab.netfast_ok(&["flow", "flush", "--all"]).unwrap();
        conversation.ask().unwrap();
        put_in_force(&world.lab, CLOSED);
        world.lab.netfast_ok(&["flow", "flush", "--all"]).unwrap();
        assert_eq!(conversation.ask().unwrap_err().kind(), ErrorKind::TimedOut);
        put_in_force(&world.lab, allowed);
    }
}

#[test]
fn neither_policies_nor_rules_have_an_order() {
    require_root!();
    let document = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        )
    };
    let closed = document("closed", CLOSED);
    let open = document(
        "open",
        "{policyTypes: [Ingress, Egress], ingress: [{ports: [{port: 443}]}, {ports: [{port: 80}]}], egress: [{}]}",
    );
    let world = World::new(CLOSED);
    for text in [format!("{closed}{open}"), format!("{open}{closed}")] {
        put_in_force(&world.lab, CLOSED);
        dropped(world.client.tcp_ask(&world.web(80)[0], SHORT));
        world.lab.file("policy.yaml", &text).unwrap();
        world.lab.up(WITHOUT).unwrap();
        for server in world.web(80) {
            assert_eq!(world.client.tcp_ask(&server, SECOND).unwrap().by, "web");
        }
        dropped(world.client.tcp_ask(&world.web(81)[0], SHORT));
    }
}
