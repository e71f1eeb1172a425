//! Egress that leaves no way to ask for names.

use super::{Finding, Lint, cover};
use crate::model::{Policy, Ports, Protocol, Rule, World};

/// The port of name servers.
const DNS: u16 = 53;

pub(super) fn look(world: &World, found: &mut Vec<Finding>) {
    for policy in &world.policies {
        let Some(rules) = policy.egress.as_deref().filter(|rules| !rules.is_empty()) else { continue };
        if rules.iter().any(may_ask) || is_helped(world, policy) {
            continue;
        }
        let message = format!(
            "{}/{} leaves no way to ask for names: no rule for egress allows port 53 of UDP",
            policy.namespace, policy.name
        );
        let finding = Finding::new(Lint::BlockedDns, &rules[0].source, message);
        found.push(
            finding.help("add a rule with ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]"),
        );
    }
}

/// Whether another policy may let some of the endpoints ask.
fn is_helped(world: &World, policy: &Policy) -> bool {
    world.policies.iter().any(|other| {
        other.namespace == policy.namespace
            && !are_apart(other, policy)
            && other.egress.iter().flatten().any(may_ask)
    })
}

/// Whether no endpoint can be selected by both.
fn are_apart(a: &Policy, b: &Policy) -> bool {
    let mut both = a.selector.clone();
    both.requirements.extend(b.selector.requirements.iter().cloned());
    cover::is_impossible(&both)
}

/// Whether a rule may lead to a name server. A port with a name may be one.
fn may_ask(rule: &Rule) -> bool {
    rule.ports.as_ref().is_none_or(|ports| {
        ports.iter().filter(|port| port.protocol == Protocol::Udp).any(|port| match &port.ports {
            Ports::Any | Ports::Named(_) => true,
            Ports::Range(range) => range.contains(DNS),
        })
    })
}
