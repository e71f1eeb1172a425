//! The policies in force, with their rules numbered.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::bits::Bits;
use super::endpoints::{Endpoints, PortName};
use super::numbers::Draft;
use super::peers::{Mark, PeerList};
use super::{Direction, PolicyRef, RuleInfo};
use crate::model::{Name, Policy, PortMatch, Ports, World};

/// What a rule is, apart from where it is written. Within a policy two equal rules are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct RuleName {
    namespace: Name,
    policy: Name,
    pub(super) direction: Direction,
    /// The mark of its peers; `None`: everyone.
    pub(super) peers: Option<u32>,
    /// Its ports; `None`: every port of every protocol.
    pub(super) ports: Option<BTreeSet<PortMatch>>,
}

impl RuleName {
    /// The port names it uses.
    pub(super) fn port_names(&self) -> impl Iterator<Item = PortName> {
        self.ports.iter().flatten().filter_map(|port| match &port.ports {
            Ports::Named(name) => Some(PortName { protocol: port.protocol, name: name.clone() }),
            Ports::Any | Ports::Range(_) => None,
        })
    }
}

/// A policy that selects somebody.
#[derive(Debug)]
pub(super) struct InForce<'w> {
    pub(super) policy: &'w Policy,
    /// The endpoints it isolates.
    pub(super) selected: Bits,
    /// `None`: it does not isolate for ingress.
    pub(super) ingress: Option<Chapter>,
    /// `None`: it does not isolate for egress.
    pub(super) egress: Option<Chapter>,
}

impl InForce<'_> {
    /// What it says of one direction.
    pub(super) fn chapter(&self, direction: Direction) -> Option<&Chapter> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }
}

/// What one policy allows in one direction.
#[derive(Debug, Default)]
pub(super) struct Chapter {
    /// Numbers of the rules.
    pub(super) rules: BTreeSet<u32>,
    /// Port names the rules use.
    pub(super) port_names: BTreeSet<PortName>,
}

/// All policies in force. A policy that selects nobody changes nothing and is left out.
#[derive(Debug)]
pub(super) struct Rulebook<'w> {
    pub(super) policies: Vec<InForce<'w>>,
    pub(super) info: BTreeMap<u32, RuleInfo>,
    /// Peers of the rules, by the number of their mark.
    pub(super) peers: BTreeMap<u32, PeerList>,
    /// Port names that egress rules use: what they stand for depends on the destination.
    pub(super) egress_names: BTreeSet<PortName>,
}

impl<'w> Rulebook<'w> {
    pub(super) fn new(
        world: &'w World,
        endpoints: &Endpoints<'_>,
        marks: &mut Draft<'_, Mark>,
        rules: &mut Draft<'_, RuleName>,
    ) -> Self {
        let mut book = Self {
            policies: Vec::new(),
            info: BTreeMap::new(),
            peers: BTreeMap::new(),
            egress_names: BTreeSet::new(),
        };
        for policy in &world.policies {
            let selected = endpoints.select_in(&policy.namespace, &policy.selector);
            if selected.is_empty() {
                continue;
            }
            let ingress = book.chapter(policy, Direction::Ingress, marks, rules);
            let egress = book.chapter(policy, Direction::Egress, marks, rules);
            book.egress_names.extend(egress.iter().flat_map(|chapter| chapter.port_names.iter().cloned()));
            book.policies.push(InForce { policy, selected, ingress, egress });
        }
        book
    }

    fn chapter(
        &mut self,
        policy: &Policy,
        direction: Direction,
        marks: &mut Draft<'_, Mark>,
        rules: &mut Draft<'_, RuleName>,
    ) -> Option<Chapter> {
        let written = match direction {
            Direction::Ingress => policy.ingress.as_ref()?,
            Direction::Egress => policy.egress.as_ref()?,
        };
        let mut chapter = Chapter::default();
        for rule in written {
            let peers = rule.peers.as_ref().map(|peers| {
                let list = PeerList::new(&policy.namespace, peers);
                let mark = marks.number(Mark::Peer(list.clone()));
                self.peers.insert(mark, list);
                mark
            });
            let name = RuleName {
                namespace: policy.namespace.clone(),
                policy: policy.name.clone(),
                direction,
                peers,
                ports: rule.ports.as_ref().map(|ports| ports.iter().cloned().collect()),
            };
            chapter.port_names.extend(name.port_names());
            let number = rules.number(name);
            chapter.rules.insert(number);
            self.info.entry(number).or_insert_with(|| RuleInfo {
                policy: PolicyRef::from(policy),
                direction,
                source: rule.source.clone(),
            });
        }
        Some(chapter)
    }
}
