//! All addresses of one family only.

use super::{Chapter, Finding, Lint, chapters};
use crate::model::{Peer, Policy, Rule, World};

pub(super) fn look(world: &World, found: &mut Vec<Finding>) {
    for policy in world.policies.iter().filter(|policy| selects_both_families(world, policy)) {
        for Chapter { rules, .. } in chapters(policy) {
            let has = |rule: &Rule, ipv4: bool, all: bool| {
                rule.peers.iter().flatten().any(|peer| match peer {
                    Peer::Block { cidr, .. } => {
                        cidr.addr().is_ipv4() == ipv4 && (!all || cidr.prefix_len() == 0)
                    }
                    Peer::Endpoints { .. } => false,
                })
            };
            for rule in rules {
                for (ipv4, this, other) in [(true, "0.0.0.0/0", "::/0"), (false, "::/0", "0.0.0.0/0")] {
                    let alone = has(rule, ipv4, true) && !rules.iter().any(|rule| has(rule, !ipv4, false));
                    if alone {
                        let family = if ipv4 { "IPv6" } else { "IPv4" };
                        let message =
                            format!("{this} holds no {family} address, and endpoints have some here");
                        let finding = Finding::new(Lint::OneFamily, &rule.source, message);
                        found.push(finding.help(format!("add ipBlock: {{cidr: \"{other}\"}}")));
                    }
                }
            }
        }
    }
}

/// Whether an endpoint that a policy selects has addresses of both families.
fn selects_both_families(world: &World, policy: &Policy) -> bool {
    world.endpoints.values().any(|endpoint| {
        endpoint.id.namespace == policy.namespace
            && policy.selector.matches(&endpoint.labels)
            && world
                .networks
                .get(&endpoint.network)
                .is_some_and(|network| network.subnet.is_some() && network.subnet6.is_some())
    })
}
