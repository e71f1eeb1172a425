//! Near misses: what the rules that isolate an end allow in the place of a connection.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Direction, PolicyRef, RuleInfo};
use crate::model::{
    Endpoint, EndpointId, Labels, Operator, Peer, Policy, PortMatch, Ports, Requirement, Rule, Selector,
    World,
};

/// A connection as the policies of one of its ends see it.
#[derive(Clone, Copy, Debug)]
pub struct Encounter<'a> {
    /// The end.
    pub own: &'a EndpointId,
    /// Whether that receives or sends.
    pub direction: Direction,
    /// The other end, if it is an endpoint.
    pub peer: Option<&'a EndpointId>,
    /// The other end's address.
    pub addr: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// The receiver's port; 0 for protocols without.
    pub port: u16,
}

/// What one rule has against a connection: its ports, its peers, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The rule.
    pub rule: RuleInfo,
    /// The ports it allows, none of which is the connection's; `None`: it allows that port.
    pub ports: Option<Vec<String>>,
    /// The peers it allows, each with the reason why it is not the other end; `None`: it allows that peer.
    pub peers: Option<Vec<String>>,
}

impl Miss {
    /// Whether the rule allows either the port or the peer.
    pub const fn is_near(&self) -> bool {
        self.ports.is_none() || self.peers.is_none()
    }
}

/// How many things a line lists before it only counts.
const LISTED: usize = 4;

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: &[String], separator: &str| match items.get(..LISTED) {
            Some(first) if items.len() > LISTED => {
                format!("{}{separator}{} more", first.join(separator), items.len() - LISTED)
            }
            _ => items.join(separator),
        };
        write!(f, "{} in {} ", self.rule.policy, self.rule.source)?;
        match (&self.ports, &self.peers) {
            (None, None) => f.write_str("allows it"),
            (Some(ports), None) => write!(f, "allows this peer, on {} only", list(ports, ", ")),
            (None, Some(peers)) => write!(f, "allows this port, but not this peer: {}", list(peers, "; ")),
            (Some(ports), Some(_)) => {
                write!(f, "allows neither this port nor this peer, on {} only", list(ports, ", "))
            }
        }
    }
}

/// The policies of `world` that isolate an endpoint in a direction, with their rules.
fn isolating<'w>(
    world: &'w World,
    own: &'w Endpoint,
    direction: Direction,
) -> impl Iterator<Item = (&'w Policy, &'w [Rule])> {
    let policies = world.policies.iter();
    // One under audit isolates nobody.
    policies.filter(|policy| !world.audit && !policy.audit).filter_map(move |policy| {
        let rules = match direction {
            Direction::Ingress => policy.ingress.as_ref()?,
            Direction::Egress => policy.egress.as_ref()?,
        };
        let is_own = policy.namespace == own.id.namespace && policy.selector.matches(&own.labels);
        is_own.then_some((policy, rules.as_slice()))
    })
}

/// What every rule that isolates the end says of a connection, in the order of the rules.
pub fn misses(world: &World, encounter: &Encounter<'_>) -> Vec<Miss> {
    let Some(own) = world.endpoints.get(encounter.own) else { return Vec::new() };
    let peer = encounter.peer.and_then(|id| world.endpoints.get(id));
    let server = if encounter.direction == Direction::Ingress { Some(own) } else { peer };
    let miss = |policy: &Policy, rule: &Rule| Miss {
        rule: info(policy, rule, encounter.direction),
        ports: rule.ports.as_ref().and_then(|ports| other_ports(ports, server, encounter)),
        peers: rule.peers.as_ref().and_then(|peers| other_peers(world, policy, peers, peer, encounter.addr)),
    };
    isolating(world, own, encounter.direction)
        .flat_map(|(policy, rules)| rules.iter().map(move |rule| miss(policy, rule)))
        .collect()
}

/// A block of a rule that holds an address, or would but for an exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The block.
    pub cidr: IpNet,
    /// The exception that holds the address.
    pub except: Option<IpNet>,
    /// The rule.
    pub rule: RuleInfo,
}

/// The blocks that hold the other end's address, in the rules that isolate the end.
pub fn blocks(world: &World, encounter: &Encounter<'_>) -> Vec<Held> {
    let Some(own) = world.endpoints.get(encounter.own) else { return Vec::new() };
    let mut held = Vec::new();
    for (policy, rules) in isolating(world, own, encounter.direction) {
        for rule in rules {
            for peer in rule.peers.iter().flatten() {
                let Peer::Block { cidr, except } = peer else { continue };
                if cidr.contains(&encounter.addr) {
                    let except = except.iter().find(|hole| hole.contains(&encounter.addr)).copied();
                    held.push(Held { cidr: *cidr, except, rule: info(policy, rule, encounter.direction) });
                }
            }
        }
    }
    held
}

fn info(policy: &Policy, rule: &Rule, direction: Direction) -> RuleInfo {
    RuleInfo { policy: PolicyRef::from(policy), direction, source: rule.source.clone(), name: None }
}

/// The ports, in words, if the connection's is none of them.
fn other_ports(
    ports: &[PortMatch],
    server: Option<&Endpoint>,
    Encounter { protocol, port, .. }: &Encounter<'_>,
) -> Option<Vec<String>> {
    let holds = |wanted: &PortMatch| {
        wanted.protocol.number() == *protocol
            && match &wanted.ports {
                Ports::Any => true,
                Ports::Range(range) => range.contains(*port),
                Ports::Named(name) => called(server, wanted, name).any(|number| number == *port),
            }
    };
    let text = |wanted: &PortMatch| {
        let protocol = wanted.protocol;
        match &wanted.ports {
            Ports::Any => protocol.to_string(),
            Ports::Range(range) => format!("{range}/{protocol}"),
            Ports::Named(name) => {
                let numbers: Vec<_> = called(server, wanted, name).map(|n| n.to_string()).collect();
                match (numbers.as_slice(), server) {
                    ([], Some(server)) => {
                        format!("{name}/{protocol} (no port of {} is called so)", server.id)
                    }
                    ([], None) => format!("{name}/{protocol} (only endpoints have names for ports)"),
                    (numbers, _) => format!("{name} ({}/{protocol})", numbers.join(", ")),
                }
            }
        }
    };
    (!ports.iter().any(holds)).then(|| ports.iter().map(text).collect())
}

/// The numbers of the ports that an endpoint calls `name`.
fn called<'a>(
    server: Option<&'a Endpoint>,
    wanted: &PortMatch,
    name: &str,
) -> impl Iterator<Item = u16> + 'a {
    let protocol = wanted.protocol;
    let name = name.to_owned();
    let ports = server.into_iter().flat_map(|endpoint| &endpoint.ports);
    ports
        .filter(move |port| port.protocol == protocol && port.name.as_ref() == Some(&name))
        .map(|port| port.port)
}

/// The peers and why each is another one, if none of them is the other end.
fn other_peers(
    world: &World,
    policy: &Policy,
    peers: &[Peer],
    end: Option<&Endpoint>,
    addr: IpAddr,
) -> Option<Vec<String>> {
    peers.iter().map(|peer| against(world, policy, peer, end, addr)).collect()
}

/// Why a peer is not the other end; `None`: it is.
fn against(
    world: &World,
    policy: &Policy,
    peer: &Peer,
    end: Option<&Endpoint>,
    addr: IpAddr,
) -> Option<String> {
    match peer {
        Peer::Block { cidr, .. } if !cidr.contains(&addr) => Some(format!("its address is not in {cidr}")),
        Peer::Block { cidr, except } => {
            let hole = except.iter().find(|hole| hole.contains(&addr))?;
            Some(format!("its address is in {hole}, which is excepted from {cidr}"))
        }
        Peer::Endpoints { namespaces, endpoints } => {
            let Some(end) = end else {
                return Some("it is no endpoint, and selectors match nothing else".to_owned());
            };
            let namespace = &end.id.namespace;
            match namespaces {
                None if *namespace != policy.namespace => {
                    return Some(format!(
                        "it is in namespace {namespace}, and a podSelector alone means namespace {}",
                        policy.namespace
                    ));
                }
                Some(selector) => {
                    let missed = missed(selector, &world.namespace_labels(namespace));
                    if let Some(missed) = missed {
                        return Some(format!("its namespace {namespace} {missed}"));
                    }
                }
                None => {}
            }
            missed(endpoints, &end.labels).map(|missed| format!("it {missed}"))
        }
    }
}

/// What labels lack for a selector.
fn missed(selector: &Selector, labels: &Labels) -> Option<String> {
    let missed: Vec<_> = selector.requirements.iter().filter_map(|wanted| lack(wanted, labels)).collect();
    (!missed.is_empty()).then(|| missed.join(" and "))
}

/// What labels lack for a requirement; `None`: nothing.
fn lack(Requirement { key, operator }: &Requirement, labels: &Labels) -> Option<String> {
    let value = labels.get(key);
    match (operator, value) {
        (Operator::In(values), Some(value)) if !values.contains(value) => {
            Some(format!("has {key}={value}, not {}", wanted(key, values)))
        }
        (Operator::In(values), None) => Some(format!("lacks {}", wanted(key, values))),
        (Operator::NotIn(values), Some(value)) if values.contains(value) => {
            Some(format!("has {key}={value}, which is not wanted"))
        }
        (Operator::Exists, None) => Some(format!("lacks the label {key}")),
        (Operator::DoesNotExist, Some(value)) => Some(format!("has {key}={value}, and may not have {key}")),
        _ => None,
    }
}

fn wanted(key: &str, values: &BTreeSet<String>) -> String {
    values.iter().map(|value| format!("{key}={value}")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::build::{
        Scene, block, called, having, id, name, named_port, pods, pods_of, policy, requiring, rule, tcp,
    };
    use super::super::tests::generate::{probes, scene, services};
    use super::super::{Family, Side};
    use super::*;
    use crate::model::{Protocol, Source};

    fn world(peers: Vec<Peer>, ports: Vec<PortMatch>) -> World {
        let ports_of_db = [named_port("sql", 5432, Protocol::Tcp)];
        let mut scene = Scene::default()
            .with("x/web", "app=web", "10.0.0.1", &[])
            .with("y/web", "app=web,tier=front", "10.0.0.3", &[])
            .with("x/db", "app=db", "10.0.0.2", &ports_of_db);
        scene.world.namespaces.insert(name("y"), [("team".to_owned(), "blue".to_owned())].into());
        let mut rule = rule(Some(peers), Some(ports));
        rule.source = Source { file: "db.yaml".to_owned(), line: 12 };
        scene.and(policy("x", "db", having("app=db"), Some(vec![rule]), None)).world
    }

    fn said(peer: &str, peers: Vec<Peer>, ports: Vec<PortMatch>, port: u16) -> String {
        let world = world(peers, ports);
        let own = id("x/db");
        let peer_id = peer.contains('/').then(|| id(peer));
        let encounter = Encounter {
            own: &own,
            direction: Direction::Ingress,
            peer: peer_id.as_ref(),
            addr: peer.parse().unwrap_or_else(|_| "10.0.0.3".parse().unwrap()),
            protocol: 6,
            port,
        };
        let misses: Vec<_> = misses(&world, &encounter).iter().map(ToString::to_string).collect();
        misses.join("\n")
    }

    #[test]
    fn another_port_is_told() {
        let ports = vec![tcp(443, 443), called("sql", Protocol::Tcp), called("web", Protocol::Udp)];
        assert_eq!(
            said("x/web", vec![pods(having("app=web"))], ports, 80),
            "x/db in db.yaml:12 allows this peer, on 443/tcp, sql (5432/tcp), web/udp (no port of x/db is called so) only"
        );
    }

    #[test]
    fn another_peer_is_told_with_what_it_lacks() {
        let only = |peer| vec![peer];
        let of_team = |value: &str| pods_of(having(&format!("team={value}")), Selector::default());
        let one_of =
            |values: &[&str]| Operator::In(values.iter().map(|v| (*v).to_owned()).collect::<BTreeSet<_>>());
        for (peer, wanted, because) in [
            (
                "y/web",
                pods(Selector::default()),
                "it is in namespace y, and a podSelector alone means namespace x",
            ),
            ("x/web", of_team("red"), "its namespace x lacks team=red"),
            ("y/web", of_team("red"), "its namespace y has team=blue, not team=red"),
            ("x/web", pods(having("app=api,tier=front")), "it has app=web, not app=api and lacks tier=front"),
            ("x/web", pods(requiring("app", one_of(&["a", "b"]))), "it has app=web, not app=a or app=b"),
            ("x/web", pods(requiring("tier", Operator::Exists)), "it lacks the label tier"),
            ("x/web", pods(requiring("app", Operator::DoesNotExist)), "it has app=web, and may not have app"),
            (
                "x/web",
                pods(requiring("app", Operator::NotIn(["web".to_owned()].into()))),
                "it has app=web, which is not wanted",
            ),
            ("192.0.2.7", pods(Selector::default()), "it is no endpoint, and selectors match nothing else"),
            ("192.0.2.7", block("198.51.100.0/24", &[]), "its address is not in 198.51.100.0/24"),
            (
                "192.0.2.7",
                block("192.0.0.0/8", &["192.0.2.0/24"]),
                "its address is in 192.0.2.0/24, which is excepted from 192.0.0.0/8",
            ),
        ] {
            assert_eq!(
                said(peer, only(wanted), vec![tcp(80, 80)], 80),
                format!("x/db in db.yaml:12 allows this port, but not this peer: {because}")
            );
        }
    }

    #[test]
    fn long_lists_are_counted() {
        let ports = (1..=6).map(|n| tcp(n, n)).collect();
        let said = said("x/web", vec![pods(Selector::default())], ports, 80);
        assert!(said.ends_with("on 1/tcp, 2/tcp, 3/tcp, 4/tcp, 2 more only"), "{said}");
    }

    fn encounter<'a>(
        own: &'a Side,
        peer: &'a Side,
        scene: &Scene,
        direction: Direction,
    ) -> Option<Encounter<'a>> {
        let own = own.endpoint()?;
        let (peer, addr) = match peer {
            Side::Endpoint(id, family) => {
                let assigned = &scene.addresses[id];
                let addr = match family {
                    Family::V4 => assigned.ip?.into(),
                    Family::V6 => assigned.ip6?.into(),
                };
                (Some(id), addr)
            }
            Side::Further(id, addr) => (Some(id), *addr),
            Side::Outside(addr) | Side::Host(addr) => (None, *addr),
        };
        Some(Encounter { own, direction, peer, addr, protocol: 0, port: 0 })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_rule_without_a_miss_is_a_rule_that_allows(scene in scene(), services in services()) {
            // Only of these is it asked what their rules miss.
            let mut scene = scene;
            scene.world.cluster_policies.clear();
            let tables = scene.compile();
            for (from, to) in probes(&scene) {
                for (protocol, port) in &services {
                    let verdict = tables.verdict(&from, &to, *protocol, *port).unwrap();
                    let ends = [
                        (encounter(&from, &to, &scene, Direction::Egress), verdict.egress),
                        (encounter(&to, &from, &scene, Direction::Ingress), verdict.ingress),
                    ];
                    for (encounter, verdict) in ends {
                        let Some(encounter) = encounter else { continue };
                        let misses = misses(&scene.world, &Encounter { protocol: *protocol, port: *port, ..encounter });
                        let is_allowed = misses.iter().any(|miss| miss.ports.is_none() && miss.peers.is_none());
                        let expected = matches!(verdict, netfast_common::policy::Verdict::Allowed(_));
                        prop_assert_eq!(is_allowed, expected, "{:?} -> {:?} {}/{}", from, to, protocol, port);
                    }
                }
            }
        }
    }
}
