//! Policies read naively, one connection at a time: what the compiled tables must agree with.

use std::net::IpAddr;

use super::build::Addresses;
use crate::compile::policy::{Direction, Family, Side};
use crate::model::{
    Action, ClusterPolicy, Endpoint, Name, Peer, Policy, PortMatch, Ports, Rule, Tier, World,
};

/// One end of a connection: an address, and the endpoint that has it.
struct End<'w> {
    addr: IpAddr,
    endpoint: Option<&'w Endpoint>,
}

/// Whether a new connection may be made; `None` if an endpoint lacks an address of the family.
pub(super) fn allows(
    world: &World,
    addresses: &Addresses,
    from: &Side,
    to: &Side,
    protocol: u8,
    port: u16,
) -> Option<bool> {
    let (from, to) = (end(world, addresses, from)?, end(world, addresses, to)?);
    let side = |direction| {
        let (own, peer) = match direction {
            Direction::Egress => (&from, &to),
            Direction::Ingress => (&to, &from),
        };
        let Some(subject) = own.endpoint else { return true };
        let holds = |namespace: Option<&Name>, rule: &Rule| {
            let by_peer = rule.peers.as_ref();
            let by_port = rule.ports.as_ref();
            by_peer.is_none_or(|peers| peers.iter().any(|p| is_peer(world, namespace, p, peer)))
                && by_port.is_none_or(|ports| ports.iter().any(|p| is_port(p, to.endpoint, protocol, port)))
        };
        let by_tier = |tier| -> Option<bool> {
            let mut policies: Vec<&ClusterPolicy> = world
                .cluster_policies
                .iter()
                .filter(|p| {
                    let namespace = world.namespace_labels(&subject.id.namespace);
                    p.tier == tier && p.namespaces.matches(&namespace) && p.endpoints.matches(&subject.labels)
                })
                .collect();
            policies.sort_by(|a, b| a.priority.cmp(&b.priority).then(a.name.cmp(&b.name)));
            let rules = policies.iter().flat_map(|p| match direction {
                Direction::Ingress => &p.ingress,
                Direction::Egress => &p.egress,
            });
            for rule in rules {
                if holds(None, &rule.rule) {
                    return match rule.action {
                        Action::Accept => Some(true),
                        Action::Deny => Some(false),
                        Action::Pass => None,
                    };
                }
            }
            None
        };
        if let Some(decided) = by_tier(Tier::Admin) {
            return decided;
        }
        let chapters: Vec<(&Policy, &Vec<Rule>)> = world
            .policies
            .iter()
            .filter(|p| p.namespace == subject.id.namespace && p.selector.matches(&subject.labels))
            .filter_map(|p| {
                let rules = match direction {
                    Direction::Ingress => p.ingress.as_ref(),
                    Direction::Egress => p.egress.as_ref(),
                };
                Some((p, rules?))
            })
            .collect();
        if chapters.is_empty() {
            return by_tier(Tier::Baseline).unwrap_or(true);
        }
        chapters.iter().any(|(policy, rules)| rules.iter().any(|rule| holds(Some(&policy.namespace), rule)))
    };
    Some(side(Direction::Egress) && side(Direction::Ingress))
}

fn end<'w>(world: &'w World, addresses: &Addresses, side: &Side) -> Option<End<'w>> {
    match side {
        Side::Outside(addr) | Side::Host(addr) => Some(End { addr: *addr, endpoint: None }),
        Side::Further(id, addr) => Some(End { addr: *addr, endpoint: Some(world.endpoints.get(id)?) }),
        Side::Endpoint(id, family) => {
            let assigned = addresses.get(id)?;
            let addr = match family {
                Family::V4 => assigned.ip?.into(),
                Family::V6 => assigned.ip6?.into(),
            };
            Some(End { addr, endpoint: Some(world.endpoints.get(id)?) })
        }
    }
}

fn is_peer(world: &World, own: Option<&Name>, peer: &Peer, end: &End<'_>) -> bool {
    match peer {
        Peer::Block { cidr, except } => {
            cidr.contains(&end.addr) && !except.iter().any(|hole| hole.contains(&end.addr))
        }
        Peer::Endpoints { namespaces, endpoints } => end.endpoint.is_some_and(|endpoint| {
            let namespace = &endpoint.id.namespace;
            endpoints.matches(&endpoint.labels)
                && match namespaces {
                    Some(selector) => selector.matches(&world.namespace_labels(namespace)),
                    None => own.is_none_or(|own| namespace == own),
                }
        }),
    }
}

fn is_port(wanted: &PortMatch, serving: Option<&Endpoint>, protocol: u8, port: u16) -> bool {
    wanted.protocol.number() == protocol
        && match &wanted.ports {
            Ports::Any => true,
            Ports::Range(range) => (range.first..=range.last).contains(&port),
            Ports::Named(name) => serving.is_some_and(|endpoint| {
                endpoint.ports.iter().any(|served| {
                    served.name.as_ref() == Some(name)
                        && served.port == port
                        && served.protocol == wanted.protocol
                })
            }),
        }
}
