//! Names of ports that nobody uses.

use std::collections::BTreeSet;

use super::{Chapter, Finding, Lint, chapters};
use crate::model::suggest::suggest;
use crate::model::{Endpoint, Peer, Policy, Ports, Rule, World};

pub(super) fn look(world: &World, found: &mut Vec<Finding>) {
    for policy in &world.policies {
        for Chapter { rules, direction, .. } in chapters(policy) {
            for rule in rules {
                look_at_rule(world, policy, direction, rule, found);
            }
        }
    }
}

fn look_at_rule(world: &World, policy: &Policy, direction: &str, rule: &Rule, found: &mut Vec<Finding>) {
    let has_name = |ports: &Ports| matches!(ports, Ports::Named(_));
    if !rule.ports.iter().flatten().any(|port| has_name(&port.ports)) {
        return;
    }
    let serving: Vec<&Endpoint> = world
        .endpoints
        .values()
        .filter(|endpoint| match direction {
            "ingress" => is_subject(policy, endpoint),
            _ => rule
                .peers
                .as_ref()
                .is_none_or(|peers| peers.iter().any(|peer| may_be(world, policy, peer, endpoint))),
        })
        .collect();
    // That there is nobody at all is another finding.
    if serving.is_empty() {
        return;
    }
    for port in rule.ports.iter().flatten() {
        let Ports::Named(name) = &port.ports else { continue };
        let known: BTreeSet<(&str, _)> = serving
            .iter()
            .flat_map(|endpoint| &endpoint.ports)
            .filter_map(|served| Some((served.name.as_deref()?, served.protocol)))
            .collect();
        if known.contains(&(name.as_str(), port.protocol)) {
            continue;
        }
        let who = if direction == "ingress" {
            "endpoint that the policy selects"
        } else {
            "endpoint among the peers"
        };
        let message = format!("no {who} has a port called {name} of {}", port.protocol.name().to_uppercase());
        let finding = Finding::new(Lint::PortNameUnknown, &rule.source, message);
        let other = known.iter().find(|(known, _)| known == name);
        let other_names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        found.push(match (other, suggest(name, &other_names)) {
            (Some((_, protocol)), _) => {
                finding.help(format!("it is one of {}", protocol.name().to_uppercase()))
            }
            (None, Some(near)) => finding.help(format!("did you mean {near}?")),
            (None, None) => finding,
        });
    }
}

fn is_subject(policy: &Policy, endpoint: &Endpoint) -> bool {
    endpoint.id.namespace == policy.namespace && policy.selector.matches(&endpoint.labels)
}

fn may_be(world: &World, policy: &Policy, peer: &Peer, endpoint: &Endpoint) -> bool {
    match peer {
        // Addresses may not be given out yet.
        Peer::Block { .. } => true,
        Peer::Endpoints { namespaces, endpoints } => {
            endpoints.matches(&endpoint.labels)
                && match namespaces {
                    None => endpoint.id.namespace == policy.namespace,
                    Some(selector) => selector.matches(&world.namespace_labels(&endpoint.id.namespace)),
                }
        }
    }
}
