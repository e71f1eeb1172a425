//! Short ways to write worlds down.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::compile::policy::{Assigned, Family, Numbers, Side, Tables, compile};
use crate::model::{
    Action, ClusterPolicy, Endpoint, EndpointId, Labels, Name, NamedPort, Operator, Peer, Policy, PortMatch,
    PortRange, Ports, Protocol, Requirement, Rule, Selector, Source, Tier, TierRule, World,
};

pub(in crate::compile::policy) type Addresses = BTreeMap<EndpointId, Assigned>;

pub(in crate::compile::policy) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// `namespace/name`.
pub(in crate::compile::policy) fn id(text: &str) -> EndpointId {
    let (namespace, own) = text.split_once('/').unwrap();
    EndpointId { namespace: name(namespace), name: name(own) }
}

/// `key=value,key=value`.
pub(in crate::compile::policy) fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// A selector of labels that must all be there.
pub(in crate::compile::policy) fn having(text: &str) -> Selector {
    let requirement =
        |(key, value): (String, String)| Requirement { key, operator: Operator::In([value].into()) };
    Selector { requirements: labels(text).into_iter().map(requirement).collect() }
}

pub(in crate::compile::policy) fn requiring(key: &str, operator: Operator) -> Selector {
    Selector { requirements: vec![Requirement { key: key.to_owned(), operator }] }
}

pub(in crate::compile::policy) fn endpoint(
    id: EndpointId,
    labels: Labels,
    ports: Vec<NamedPort>,
) -> Endpoint {
    Endpoint { labels, ports, ..Endpoint::new(id, name("net")) }
}

pub(in crate::compile::policy) fn named_port(name: &str, port: u16, protocol: Protocol) -> NamedPort {
    NamedPort { name: Some(name.to_owned()), port, protocol }
}

pub(in crate::compile::policy) fn rule(peers: Option<Vec<Peer>>, ports: Option<Vec<PortMatch>>) -> Rule {
    Rule { source: Source::default(), peers, ports }
}

pub(in crate::compile::policy) fn policy(
    namespace: &str,
    own: &str,
    selector: Selector,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
) -> Policy {
    let source = Source { file: "test.yaml".to_owned(), line: 1 };
    Policy { namespace: name(namespace), name: name(own), source, selector, ingress, egress, audit: false }
}

/// A rule of a policy of the cluster.
pub(in crate::compile::policy) fn step(
    action: Action,
    peers: Vec<Peer>,
    ports: Option<Vec<PortMatch>>,
) -> TierRule {
    TierRule { name: None, action, rule: rule(Some(peers), ports) }
}

/// A policy of the cluster, which concerns the endpoints `endpoints` matches in all namespaces.
pub(in crate::compile::policy) fn cluster_policy(
    own: &str,
    (tier, priority): (Tier, u16),
    endpoints: Selector,
    ingress: Vec<TierRule>,
    egress: Vec<TierRule>,
) -> ClusterPolicy {
    let source = Source { file: "cluster.yaml".to_owned(), line: 1 };
    let namespaces = Selector::default();
    let audit = false;
    ClusterPolicy { name: name(own), source, tier, priority, namespaces, endpoints, ingress, egress, audit }
}

/// Endpoints of the policy's own namespace.
pub(in crate::compile::policy) fn pods(selector: Selector) -> Peer {
    Peer::Endpoints { namespaces: None, endpoints: selector }
}

/// Endpoints of some namespaces.
pub(in crate::compile::policy) fn pods_of(namespaces: Selector, endpoints: Selector) -> Peer {
    Peer::Endpoints { namespaces: Some(namespaces), endpoints }
}

pub(in crate::compile::policy) fn block(cidr: &str, except: &[&str]) -> Peer {
    let except = except.iter().map(|net| net.parse().unwrap()).collect();
    Peer::Block { cidr: cidr.parse().unwrap(), except }
}

pub(in crate::compile::policy) fn tcp(first: u16, last: u16) -> PortMatch {
    PortMatch { protocol: Protocol::Tcp, ports: Ports::Range(PortRange { first, last }) }
}

pub(in crate::compile::policy) fn called(port: &str, protocol: Protocol) -> PortMatch {
    PortMatch { protocol, ports: Ports::Named(port.to_owned()) }
}

/// A world with addresses, compiled as it stands.
#[derive(Clone, Debug, Default)]
pub(in crate::compile::policy) struct Scene {
    pub(in crate::compile::policy) world: World,
    pub(in crate::compile::policy) addresses: Addresses,
}

impl Scene {
    /// Adds an endpoint. `addresses` are separated by commas.
    pub(in crate::compile::policy) fn with(
        mut self,
        endpoint_id: &str,
        with: &str,
        addresses: &str,
        ports: &[NamedPort],
    ) -> Self {
        let mut assigned = Assigned::default();
        for addr in addresses.split(',') {
            match addr.parse().unwrap() {
                IpAddr::V4(addr) => assigned.ip = Some(addr),
                IpAddr::V6(addr) => assigned.ip6 = Some(addr),
            }
        }
        let id = id(endpoint_id);
        self.addresses.insert(id.clone(), assigned);
        self.world.endpoints.insert(id.clone(), endpoint(id, labels(with), ports.to_vec()));
        self
    }

    pub(in crate::compile::policy) fn and(mut self, policy: Policy) -> Self {
        self.world.policies.push(policy);
        self
    }

    pub(in crate::compile::policy) fn under(mut self, policy: ClusterPolicy) -> Self {
        self.world.cluster_policies.push(policy);
        self
    }

    pub(in crate::compile::policy) fn compile(&self) -> Tables {
        self.compile_after(&Numbers::default())
    }

    pub(in crate::compile::policy) fn compile_after(&self, previous: &Numbers) -> Tables {
        compile(&self.world, &self.addresses, previous, 1_000_000).unwrap()
    }

    /// Whether a TCP connection may be made. Ends are `namespace/name`, with `@6` for the IPv6 address, or addresses, those of the own host with `host:`.
    pub(in crate::compile::policy) fn allows(&self, from: &str, to: &str, port: u16) -> bool {
        self.allows_protocol(from, to, Protocol::Tcp.number(), port)
    }

    pub(in crate::compile::policy) fn allows_protocol(
        &self,
        from: &str,
        to: &str,
        protocol: u8,
        port: u16,
    ) -> bool {
        self.compile().verdict(&side(from), &side(to), protocol, port).unwrap().allowed
    }
}

pub(in crate::compile::policy) fn side(text: &str) -> Side {
    if let Ok(addr) = text.parse() {
        return Side::Outside(addr);
    }
    if let Some(addr) = text.strip_prefix("host:") {
        return Side::Host(addr.parse().unwrap());
    }
    match text.strip_suffix("@6") {
        Some(text) => Side::Endpoint(id(text), Family::V6),
        None => Side::Endpoint(id(text), Family::V4),
    }
}
