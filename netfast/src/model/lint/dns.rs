//! Egress that leaves no way to ask for names.

use std::collections::BTreeMap;

use super::{Finding, Lint, cover};
use crate::model::{Name, Policy, Ports, Protocol, Rule, World};

/// The port of name servers.
const DNS: u16 = 53;

/// Where more policies of a namespace let endpoints ask, all are taken to be let.
const MAX_COMPARED: usize = 200;

pub(super) fn look(world: &World, found: &mut Vec<Finding>) {
    let mut helping: BTreeMap<&Name, Vec<&Policy>> = BTreeMap::new();
    for policy in world.policies.iter().filter(|policy| policy.egress.iter().flatten().any(may_ask)) {
        helping.entry(&policy.namespace).or_default().push(policy);
    }
    for policy in &world.policies {
        let Some(rules) = policy.egress.as_deref().filter(|rules| !rules.is_empty()) else { continue };
        let others = helping.get(&policy.namespace).map_or(&[][..], Vec::as_slice);
        // Another policy may let some of the endpoints ask.
        if rules.iter().any(may_ask)
            || others.len() > MAX_COMPARED
            || others.iter().any(|other| !are_apart(other, policy))
        {
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
