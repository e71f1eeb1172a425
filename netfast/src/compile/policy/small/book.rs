//! What the policies say, apart from whom they meet; written so that of thousands of policies and rules only those are read
//! that one endpoint has to do with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netfast_common::policy::{RuleKey, RuleRow};
use serde::{Deserialize, Serialize};

use super::catalogue::{Catalogue, Draft, Ways};
use super::roll::{Class, Set};
use super::shelf::Shelf;
use super::{Member, Seen};
use crate::compile::policy::classes::Signature;
use crate::compile::policy::endpoints::{PortName, Served};
use crate::compile::policy::peers::{Mark, PeerList};
use crate::compile::policy::rulebook::{Chapter, RuleName, Rulebook};
use crate::compile::policy::sets::Pantry;
use crate::compile::policy::{Direction, Numbers};
use crate::model::{Labels, Name, Policy, Selector, World, namespace_labels};

/// What the policies say, apart from whom they meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book<'a> {
    /// By their places in the world.
    #[serde(borrow)]
    policies: Shelf<'a, Speaker>,
    /// Of whom they may speak.
    #[serde(borrow)]
    spoken_of: Catalogue<'a>,
    /// Rules by their numbers.
    #[serde(borrow)]
    rules: Shelf<'a, RuleName>,
    /// Whom rules ask for, by mark.
    #[serde(borrow)]
    peers: Shelf<'a, PeerList>,
    /// Who those may be.
    #[serde(borrow)]
    asked_for: Catalogue<'a>,
    /// Numbers of the rules that ask for a mark.
    #[serde(borrow)]
    asking: Shelf<'a, Vec<u32>>,
    /// Numbers of the rules for what goes out to anybody who serves a port of some name.
    asking_names: Vec<u32>,
    /// The marks of those who serve a port of a name that rules for what goes out use.
    serving: Vec<(u32, Served)>,
    namespaces: BTreeMap<Name, Labels>,
    egress_names: BTreeSet<PortName>,
    pub(super) max_rows: usize,
}

/// A policy, whether it speaks of anybody or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Speaker {
    namespace: Name,
    selector: Selector,
    ingress: Option<Chapter>,
    egress: Option<Chapter>,
}

impl Book<'static> {
    /// The book of a world; `None`: its policies can only be compiled as a whole.
    pub(in crate::compile::policy) fn new(
        world: &World,
        book: &Rulebook<'_>,
        numbers: &Numbers,
        max_rows: usize,
    ) -> Option<Self> {
        if !world.cluster_policies.is_empty() || book.has_audits() {
            return None;
        }
        let (policies, spoken_of) = speakers(&world.policies, book)?;
        let rules = numbers.rules.by_number();
        let marks = numbers.marks.by_number();
        let mut asking: BTreeMap<u32, Vec<u32>> = marks.keys().map(|mark| (*mark, Vec::new())).collect();
        let mut asking_names = Vec::new();
        for (number, rule) in &rules {
            match rule.peers {
                Some(mark) => asking.entry(mark).or_default().push(*number),
                None if rule.direction == Direction::Egress && rule.port_names().next().is_some() => {
                    asking_names.push(*number);
                }
                None => {}
            }
        }
        let mut asked_for = Draft::default();
        let (mut peers, mut serving) = (Vec::new(), Vec::new());
        for (number, mark) in marks {
            match mark {
                Mark::Peer(list) => {
                    list.enter(number, &mut asked_for);
                    peers.push((number, list));
                }
                Mark::Serves(served) => serving.push((number, served.clone())),
            }
        }
        Some(Self {
            policies,
            spoken_of,
            rules: Shelf::of(rules.into_iter())?,
            peers: Shelf::of(peers.into_iter())?,
            asked_for: asked_for.finish(),
            asking: Shelf::of(asking.iter().map(|(mark, rules)| (*mark, rules)))?,
            asking_names,
            serving,
            namespaces: world.namespaces.clone(),
            egress_names: book.egress_names.clone(),
            max_rows,
        })
    }
}

/// The policies, and of whom they may speak.
fn speakers(
    policies: &[Policy],
    book: &Rulebook<'_>,
) -> Option<(Shelf<'static, Speaker>, Catalogue<'static>)> {
    let mut in_force = book.policies.iter().peekable();
    let mut spoken_of = Draft::default();
    let mut speakers = Vec::new();
    for (number, policy) in (0..).zip(policies) {
        let speaks = in_force.next_if(|other| std::ptr::eq(other.policy, policy));
        spoken_of.selector(number, Ways::within(&policy.namespace, &policy.selector));
        let speaker = Speaker {
            namespace: policy.namespace.clone(),
            selector: policy.selector.clone(),
            ingress: speaks.and_then(|speaks| speaks.ingress.clone()),
            egress: speaks.and_then(|speaks| speaks.egress.clone()),
        };
        speakers.push((number, speaker));
    }
    let shelf = Shelf::of(speakers.iter().map(|(number, speaker)| (*number, speaker)))?;
    Some((shelf, spoken_of.finish()))
}

impl Book<'_> {
    /// What the policies make of an endpoint; `None`: that takes a compile of the whole world.
    pub(super) fn see(&self, Member { endpoint, assigned }: Member<'_>) -> Option<Seen> {
        if !assigned.more.is_empty() {
            // Their identities stand among those of prefixes.
            return None;
        }
        let namespace = &endpoint.id.namespace;
        let labels = namespace_labels(&self.namespaces, namespace);
        let addresses = [assigned.ip.map(IpAddr::V4), assigned.ip6.map(IpAddr::V6)];
        let mut served: BTreeMap<PortName, BTreeSet<u16>> = BTreeMap::new();
        for port in &endpoint.ports {
            if let Some(name) = &port.name {
                let name = PortName { protocol: port.protocol, name: name.clone() };
                served.entry(name).or_default().insert(port.port);
            }
        }
        let mut common = self.marks_of_ports(&served)?;
        let mut by_block = Vec::new();
        for mark in self.asked_for.find(&labels, &endpoint.labels, addresses.into_iter().flatten()) {
            let list = self.peers.get(mark)?;
            if list.selects(namespace, &labels, &endpoint.labels) {
                common.push(mark);
            } else if list.has_blocks() {
                by_block.push((mark, list));
            }
        }
        let signature = |addr: IpAddr| {
            let blocks = by_block.iter().filter(|(_, list)| list.holds(addr)).map(|(mark, _)| *mark);
            let mut signature: Signature = common.iter().copied().chain(blocks).collect();
            signature.sort_unstable();
            signature
        };
        let mut seen = Seen { signatures: addresses.map(|addr| addr.map(signature)), ..Seen::default() };
        for number in self.spoken_of.find(&labels, &endpoint.labels, std::iter::empty()) {
            let policy = self.policies.get(number)?;
            if policy.namespace != *namespace || !policy.selector.matches(&endpoint.labels) {
                continue;
            }
            seen.spoken_of.push(number as usize);
            let [ingress, egress] = &mut seen.recipes;
            if let Some(chapter) = &policy.ingress {
                let recipe = ingress.get_or_insert_default();
                recipe.rules.extend(&chapter.rules);
                let known = chapter
                    .port_names
                    .iter()
                    .filter_map(|name| Some(Served { name: name.clone(), ports: served.get(name)?.clone() }));
                recipe.served.extend(known);
            }
            if let Some(chapter) = &policy.egress {
                egress.get_or_insert_default().rules.extend(&chapter.rules);
            }
        }
        Some(seen)
    }

    /// The marks of an endpoint that serves these ports. `None`: it serves under a name what nobody else has served under that
    /// name, which is a mark of its own.
    fn marks_of_ports(&self, served: &BTreeMap<PortName, BTreeSet<u16>>) -> Option<Vec<u32>> {
        let mut asked_for: BTreeSet<&PortName> =
            served.keys().filter(|name| self.egress_names.contains(*name)).collect();
        let mut marks = Vec::new();
        for (mark, Served { name, ports }) in &self.serving {
            if served.get(name) == Some(ports) {
                marks.push(*mark);
                asked_for.remove(name);
            }
        }
        asked_for.is_empty().then_some(marks)
    }

    /// Tells of the rows that sets have for some classes. `None`: the book is not whole.
    pub(super) fn rows_of_classes(
        &self,
        classes: &[&Class],
        sets: &[&Set],
        mut row: impl FnMut((RuleKey, u32), RuleRow),
    ) -> Option<()> {
        for class in classes {
            let mut concerned: BTreeSet<u32> = self.asking_names.iter().copied().collect();
            for mark in &class.signature {
                concerned.extend(self.asking.get(*mark)?);
            }
            let rules = self.rules(concerned)?;
            let pantry = self.pantry(&rules, &[class]);
            for set in sets {
                let asked = set.recipe_of(|number| rules.contains_key(&number));
                pantry.rows_of(set.number, &asked, |identity, key, made| {
                    if identity == class.number {
                        row(key, made);
                    }
                });
            }
        }
        Some(())
    }

    /// Tells of the rows of some sets for all classes. `None`: the book is not whole.
    pub(super) fn rows_of_sets(
        &self,
        sets: &[&Set],
        classes: &[&Class],
        mut row: impl FnMut((RuleKey, u32), RuleRow),
    ) -> Option<()> {
        if sets.is_empty() {
            return Some(());
        }
        let rules = self.rules(sets.iter().flat_map(|set| set.rules.iter().copied()).collect())?;
        let pantry = self.pantry(&rules, classes);
        for set in sets {
            let recipe = set.recipe_of(|_| true);
            pantry.rows_of(set.number, &recipe, |_, key, made| row(key, made));
        }
        Some(())
    }

    fn rules(&self, numbers: BTreeSet<u32>) -> Option<BTreeMap<u32, RuleName>> {
        numbers.into_iter().map(|number| Some((number, self.rules.get(number)?))).collect()
    }

    fn pantry<'p>(&'p self, rules: &'p BTreeMap<u32, RuleName>, classes: &[&Class]) -> Pantry<'p> {
        let serving = self.serving.iter().map(|(mark, served)| (served, *mark));
        let marks: BTreeSet<u32> = rules
            .values()
            .filter_map(|rule| rule.peers)
            .chain(self.serving.iter().map(|(m, _)| *m))
            .collect();
        // Of what nobody asks for, nobody need know.
        let known: Vec<(Signature, u32)> = classes
            .iter()
            .map(|class| {
                (class.signature.iter().copied().filter(|mark| marks.contains(mark)).collect(), class.number)
            })
            .collect();
        let classes: Vec<_> = known.iter().map(|(signature, number)| (signature, *number)).collect();
        Pantry::of(serving, rules.iter().map(|(number, rule)| (*number, rule)).collect(), &classes)
    }
}
