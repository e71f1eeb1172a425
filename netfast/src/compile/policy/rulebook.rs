//! The policies in force, with their rules numbered.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::bits::Bits;
use super::endpoints::{Endpoints, PortName};
use super::numbers::Draft;
use super::peers::{Mark, PeerList};
use super::{Direction, PolicyRef, RuleInfo};
use crate::model::{Action, ClusterPolicy, Name, Policy, PortMatch, Ports, Rule, Tier, TierRule, World};

/// What a rule is, apart from where it is written. Within a policy two equal rules are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct RuleName {
    /// `None`: the policy is one of the cluster.
    namespace: Option<Name>,
    policy: Name,
    pub(super) direction: Direction,
    /// Of a policy of the cluster; all others accept.
    #[serde(default)]
    pub(super) action: Action,
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
    /// It is under audit.
    pub(super) audit: bool,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chapter {
    /// Numbers of the rules.
    pub(super) rules: BTreeSet<u32>,
    /// Port names the rules use.
    pub(super) port_names: BTreeSet<PortName>,
}

/// A policy of the cluster that selects somebody.
#[derive(Debug)]
pub(super) struct ClusterInForce {
    pub(super) tier: Tier,
    /// It is under audit.
    pub(super) audit: bool,
    /// The endpoints it concerns.
    pub(super) selected: Bits,
    pub(super) ingress: Steps,
    pub(super) egress: Steps,
}

/// What one policy of the cluster decides in one direction.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// Numbers of the rules in their order, each once.
    pub(super) rules: Vec<u32>,
    /// Port names the rules use.
    pub(super) port_names: BTreeSet<PortName>,
}

/// All policies in force. A policy that selects nobody changes nothing and is left out.
#[derive(Debug)]
pub(super) struct Rulebook<'w> {
    pub(super) policies: Vec<InForce<'w>>,
    /// Those of the cluster, in the order in which they are asked.
    pub(super) cluster: Vec<ClusterInForce>,
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
            cluster: Vec::new(),
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
            let audit = world.audit || policy.audit;
            book.policies.push(InForce { policy, audit, selected, ingress, egress });
        }
        let mut in_order: Vec<&ClusterPolicy> = world.cluster_policies.iter().collect();
        in_order.sort_by_key(|policy| policy.place());
        for policy in in_order {
            let selected = endpoints.select_across(&policy.namespaces, &policy.endpoints);
            if selected.is_empty() {
                continue;
            }
            let ingress = book.steps(policy, Direction::Ingress, marks, rules);
            let egress = book.steps(policy, Direction::Egress, marks, rules);
            book.egress_names.extend(egress.port_names.iter().cloned());
            let audit = world.audit || policy.audit;
            book.cluster.push(ClusterInForce { tier: policy.tier, audit, selected, ingress, egress });
        }
        book
    }

    /// Whether any is under audit.
    pub(super) fn has_audits(&self) -> bool {
        self.policies.iter().any(|policy| policy.audit) || self.cluster.iter().any(|policy| policy.audit)
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
            let name = RuleName {
                namespace: Some(policy.namespace.clone()),
                policy: policy.name.clone(),
                direction,
                action: Action::Accept,
                peers: self.peers(Some(&policy.namespace), rule, marks),
                ports: ports(rule),
            };
            chapter.port_names.extend(name.port_names());
            let number = rules.number(name);
            chapter.rules.insert(number);
            self.info.entry(number).or_insert_with(|| RuleInfo {
                policy: PolicyRef::from(policy),
                direction,
                source: rule.source.clone(),
                name: None,
            });
        }
        Some(chapter)
    }

    fn steps(
        &mut self,
        policy: &ClusterPolicy,
        direction: Direction,
        marks: &mut Draft<'_, Mark>,
        rules: &mut Draft<'_, RuleName>,
    ) -> Steps {
        let written = match direction {
            Direction::Ingress => &policy.ingress,
            Direction::Egress => &policy.egress,
        };
        let mut steps = Steps::default();
        for TierRule { name: own, action, rule } in written {
            let name = RuleName {
                namespace: None,
                policy: policy.name.clone(),
                direction,
                action: *action,
                peers: self.peers(None, rule, marks),
                ports: ports(rule),
            };
            steps.port_names.extend(name.port_names());
            let number = rules.number(name);
            // Said once more it decides nothing.
            if !steps.rules.contains(&number) {
                steps.rules.push(number);
            }
            self.info.entry(number).or_insert_with(|| RuleInfo {
                policy: PolicyRef::from(policy),
                direction,
                source: rule.source.clone(),
                name: own.clone(),
            });
        }
        steps
    }

    /// The mark of a rule's peers; `None`: everyone.
    fn peers(&mut self, namespace: Option<&Name>, rule: &Rule, marks: &mut Draft<'_, Mark>) -> Option<u32> {
        let list = PeerList::new(namespace, rule.peers.as_ref()?);
        let mark = marks.number(Mark::Peer(list.clone()));
        self.peers.insert(mark, list);
        Some(mark)
    }
}

fn ports(rule: &Rule) -> Option<BTreeSet<PortMatch>> {
    rule.ports.as_ref().map(|ports| ports.iter().cloned().collect())
}
