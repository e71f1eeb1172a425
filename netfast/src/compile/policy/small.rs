//! A change of one endpoint, compiled without looking at the others.
//!
//! What policies ask ([`Book`]) stays as long as they do. Who is of which class and has which rule set, and how many are
//! ([`Roll`]), changes by what one endpoint was and what it becomes: a class or a set that nobody had gets a fresh number
//! and rows, and one that nobody has any more loses them. Its rows are then those that a compile of the whole world, given
//! these numbers, would make; the tests see to that. What would change more than that is left to such a compile: a policy
//! that speaks of somebody for the first time, or of nobody any more, and whatever involves policies of the cluster or
//! audits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netfast_common::policy::{OPEN, RuleKey, RuleRow};
use netfast_common::rows::Subject;
use serde::{Deserialize, Serialize};

use super::classes::Signature;
use super::endpoints::{PortName, Served};
use super::numbers::Register;
use super::peers::Mark;
use super::rulebook::{Chapter, RuleName, Rulebook};
use super::sets::{Pantry, Recipe};
use super::{Assigned, Direction, Numbers};
use crate::model::{Endpoint, Labels, Name, Selector, World, namespace_labels};

/// What the policies say, apart from whom they meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    policies: Vec<Speaker>,
    /// By number.
    rules: Vec<(u32, RuleName)>,
    /// By number.
    marks: Vec<(u32, Mark)>,
    namespaces: BTreeMap<Name, Labels>,
    egress_names: BTreeSet<PortName>,
    max_rows: usize,
}

/// A policy, whether it speaks of anybody or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Speaker {
    namespace: Name,
    selector: Selector,
    ingress: Option<Chapter>,
    egress: Option<Chapter>,
}

/// Who is who.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// How many endpoints each policy speaks of.
    spoken_of: Vec<usize>,
    last_identity: u32,
    identities: Vec<Class>,
    last_set: u32,
    sets: Vec<Set>,
    /// Rows of all rules.
    rows: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Class {
    signature: Signature,
    number: u32,
    places: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Set {
    rules: BTreeSet<u32>,
    served: BTreeSet<Served>,
    number: u32,
    users: usize,
}

/// An endpoint with its addresses.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// What was asked for.
    pub endpoint: &'a Endpoint,
    /// The addresses it was given.
    pub assigned: Assigned,
}

/// What becomes of the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The endpoint as policy sees it; `None`: it is gone.
    pub subject: Option<Subject>,
    /// Rows to write, of classes and sets that nobody has yet.
    pub added: BTreeMap<(RuleKey, u32), RuleRow>,
    /// Rows to remove, of classes and sets that nobody has any more.
    pub removed: Vec<(RuleKey, u32)>,
}

/// What the policies make of an endpoint.
#[derive(Debug, Default)]
struct Seen {
    spoken_of: Vec<usize>,
    /// Of the IPv4 and the IPv6 address.
    signatures: [Option<Signature>; 2],
    /// For what comes in and what goes out.
    recipes: [Option<Recipe>; 2],
}

impl Book {
    /// The book of a world; `None`: its policies can only be compiled as a whole.
    pub(super) fn new(
        world: &World,
        book: &Rulebook<'_>,
        numbers: &Numbers,
        max_rows: usize,
    ) -> Option<Self> {
        if !world.cluster_policies.is_empty() || book.has_audits() {
            return None;
        }
        let mut in_force = book.policies.iter().peekable();
        let policies = world.policies.iter().map(|policy| {
            let speaks = in_force.next_if(|other| std::ptr::eq(other.policy, policy));
            Speaker {
                namespace: policy.namespace.clone(),
                selector: policy.selector.clone(),
                ingress: speaks.and_then(|speaks| speaks.ingress.clone()),
                egress: speaks.and_then(|speaks| speaks.egress.clone()),
            }
        });
        let policies = policies.collect();
        Some(Self {
            policies,
            rules: (numbers.rules.by_number().into_iter()).map(|(n, rule)| (n, rule.clone())).collect(),
            marks: (numbers.marks.by_number().into_iter()).map(|(n, mark)| (n, mark.clone())).collect(),
            namespaces: world.namespaces.clone(),
            egress_names: book.egress_names.clone(),
            max_rows,
        })
    }

    /// What becomes of the tables when `before` becomes `after`; and `roll` is the one after that. `None`: that takes a
    /// compile of the whole world, and the roll is void.
    pub fn change(
        &self,
        roll: &mut Roll,
        before: Option<Member<'_>>,
        after: Option<Member<'_>>,
    ) -> Option<Change> {
        let was = before.map_or_else(|| Some(Seen::default()), |member| self.see(member))?;
        let is = after.map_or_else(|| Some(Seen::default()), |member| self.see(member))?;
        roll.count_speakers(&was, &is)?;

        let mut fresh_identities = BTreeSet::new();
        let mut identities = [0; 2];
        for (identity, signature) in identities.iter_mut().zip(&is.signatures) {
            if let Some(signature) = signature {
                *identity = roll.enter(signature, &mut fresh_identities)?;
            }
        }
        let mut fresh_sets = BTreeSet::new();
        let mut sets = [OPEN; 2];
        for (set, recipe) in sets.iter_mut().zip(&is.recipes) {
            if let Some(recipe) = recipe {
                *set = roll.use_set(recipe, &mut fresh_sets)?;
            }
        }
        let with_all = roll.clone();
        for signature in was.signatures.iter().flatten() {
            roll.leave(signature)?;
        }
        for recipe in was.recipes.iter().flatten() {
            roll.drop_set(recipe)?;
        }
        let gone: Vec<Class> = roll.identities.extract_if(.., |class| class.places == 0).collect();
        let gone_sets: Vec<Set> = roll.sets.extract_if(.., |set| set.users == 0).collect();

        let mut change = Change::default();
        let mut counted = roll.rows;
        let fresh: Vec<&Class> =
            roll.identities.iter().filter(|class| fresh_identities.contains(&class.number)).collect();
        let staying: Vec<&Set> = roll.sets.iter().filter(|set| !fresh_sets.contains(&set.number)).collect();
        self.rows_of_classes(&fresh, &staying, |key, row| {
            counted += 1;
            change.added.entry(key).or_insert(row);
        });
        let new: Vec<&Set> = roll.sets.iter().filter(|set| fresh_sets.contains(&set.number)).collect();
        self.rows_of_sets(&new, &roll.identities, |key, row| {
            counted += 1;
            change.added.entry(key).or_insert(row);
        });
        let mut removed = BTreeSet::new();
        // In the world before, where the fresh ones had no rows.
        let old_sets: Vec<&Set> =
            with_all.sets.iter().filter(|set| !fresh_sets.contains(&set.number)).collect();
        let gone_refs: Vec<&Class> = gone.iter().collect();
        let kept_sets: Vec<&Set> = (old_sets.into_iter())
            .filter(|set| !gone_sets.iter().any(|other| other.number == set.number))
            .collect();
        self.rows_of_classes(&gone_refs, &kept_sets, |key, _| {
            counted = counted.saturating_sub(1);
            removed.insert(key);
        });
        let old_identities: Vec<Class> = (with_all.identities.iter())
            .filter(|class| !fresh_identities.contains(&class.number))
            .cloned()
            .collect();
        self.rows_of_sets(&gone_sets.iter().collect::<Vec<_>>(), &old_identities, |key, _| {
            counted = counted.saturating_sub(1);
            removed.insert(key);
        });
        change.removed = removed.into_iter().collect();
        roll.rows = counted;
        if roll.rows > self.max_rows {
            return None;
        }
        let [identity4, identity6] = identities;
        let [ingress, egress] = sets;
        change.subject = after.map(|_| Subject {
            ingress,
            egress,
            audit_ingress: OPEN,
            audit_egress: OPEN,
            identity4,
            identity6,
        });
        Some(change)
    }

    fn see(&self, Member { endpoint, assigned }: Member<'_>) -> Option<Seen> {
        let namespace = &endpoint.id.namespace;
        let mut served: BTreeMap<PortName, BTreeSet<u16>> = BTreeMap::new();
        for port in &endpoint.ports {
            if let Some(name) = &port.name {
                let name = PortName { protocol: port.protocol, name: name.clone() };
                served.entry(name).or_default().insert(port.port);
            }
        }
        let labels = namespace_labels(&self.namespaces, namespace);
        let mut asked_for: BTreeSet<&PortName> =
            served.keys().filter(|name| self.egress_names.contains(*name)).collect();
        let mut common = Vec::new();
        let mut by_block = Vec::new();
        for (number, mark) in &self.marks {
            match mark {
                Mark::Peer(list) if list.selects(namespace, &labels, &endpoint.labels) => {
                    common.push(*number);
                }
                Mark::Peer(list) if list.has_blocks() => by_block.push((*number, list)),
                Mark::Peer(_) => {}
                Mark::Serves(Served { name, ports }) => {
                    if served.get(name) == Some(ports) {
                        common.push(*number);
                        asked_for.remove(name);
                    }
                }
            }
        }
        // What it serves under a name nobody else has served under that name: a mark of its own.
        if !asked_for.is_empty() {
            return None;
        }
        let signature = |addr: IpAddr| {
            let blocks = by_block.iter().filter(|(_, list)| list.holds(addr)).map(|(number, _)| *number);
            let mut signature: Signature = common.iter().copied().chain(blocks).collect();
            signature.sort_unstable();
            signature
        };
        let signatures =
            [assigned.ip.map(IpAddr::V4), assigned.ip6.map(IpAddr::V6)].map(|addr| addr.map(signature));
        let mut seen = Seen { signatures, ..Seen::default() };
        for (number, policy) in self.policies.iter().enumerate() {
            if policy.namespace != *namespace || !policy.selector.matches(&endpoint.labels) {
                continue;
            }
            seen.spoken_of.push(number);
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

    /// Tells of the rows that sets have for some classes.
    fn rows_of_classes(
        &self,
        classes: &[&Class],
        sets: &[&Set],
        mut row: impl FnMut((RuleKey, u32), RuleRow),
    ) {
        for class in classes {
            let concerns = |rule: &RuleName| match rule.peers {
                Some(mark) => class.signature.binary_search(&mark).is_ok(),
                None => rule.direction == Direction::Egress && rule.port_names().next().is_some(),
            };
            let rules: BTreeMap<u32, &RuleName> =
                self.rules.iter().filter(|(_, rule)| concerns(rule)).map(|(n, rule)| (*n, rule)).collect();
            let pantry = self.pantry(rules.iter().map(|(n, rule)| (*n, *rule)), std::iter::once(*class));
            for set in sets {
                let recipe = set.recipe_of(|number| rules.contains_key(&number));
                pantry.rows_of(set.number, &recipe, |identity, key, made| {
                    if identity == class.number {
                        row(key, made);
                    }
                });
            }
        }
    }

    /// Tells of the rows of some sets for all classes.
    fn rows_of_sets(&self, sets: &[&Set], classes: &[Class], mut row: impl FnMut((RuleKey, u32), RuleRow)) {
        if sets.is_empty() {
            return;
        }
        let used: BTreeSet<u32> = sets.iter().flat_map(|set| set.rules.iter().copied()).collect();
        let rules = self.rules.iter().filter(|(n, _)| used.contains(n)).map(|(n, rule)| (*n, rule));
        let pantry = self.pantry(rules, classes.iter());
        for set in sets {
            let recipe = set.recipe_of(|_| true);
            pantry.rows_of(set.number, &recipe, |_, key, made| row(key, made));
        }
    }

    fn pantry<'a>(
        &'a self,
        rules: impl Iterator<Item = (u32, &'a RuleName)>,
        classes: impl Iterator<Item = &'a Class>,
    ) -> Pantry<'a> {
        let marks = self.marks.iter().map(|(number, mark)| (mark, *number));
        let classes: Vec<_> = classes.map(|class| (&class.signature, class.number)).collect();
        Pantry::of(marks, rules.collect(), &classes)
    }
}

impl Set {
    fn recipe_of(&self, is_asked: impl Fn(u32) -> bool) -> Recipe {
        let rules = self.rules.iter().copied().filter(|number| is_asked(*number)).collect();
        Recipe { rules, served: self.served.clone(), ..Recipe::default() }
    }

    fn is_of(&self, recipe: &Recipe) -> bool {
        self.rules == recipe.rules && self.served == recipe.served
    }
}

impl Roll {
    /// The roll of a world that was compiled: `of_place` are the identities of all places, `subjects` all endpoints as
    /// policy sees them, `rows` how many rows all rules make.
    pub(super) fn new(
        world: &World,
        book: &Rulebook<'_>,
        numbers: &Numbers,
        of_place: &[u32],
        subjects: &[Subject],
        rows: usize,
    ) -> Self {
        let mut places: BTreeMap<u32, usize> = BTreeMap::new();
        for identity in of_place {
            *places.entry(*identity).or_default() += 1;
        }
        let mut users: BTreeMap<u32, usize> = BTreeMap::new();
        for subject in subjects {
            for set in [subject.ingress, subject.egress] {
                *users.entry(set).or_default() += 1;
            }
        }
        let count = |counts: &BTreeMap<u32, usize>, number| counts.get(&number).copied().unwrap_or_default();
        let mut in_force = book.policies.iter().peekable();
        let spoken_of = world.policies.iter().map(|policy| {
            let speaks = in_force.next_if(|other| std::ptr::eq(other.policy, policy));
            speaks.map_or(0, |speaks| speaks.selected.iter().count())
        });
        Self {
            spoken_of: spoken_of.collect(),
            last_identity: numbers.identities.last(),
            identities: (numbers.identities.iter())
                .map(|(signature, number)| Class {
                    signature: signature.clone(),
                    number,
                    places: count(&places, number),
                })
                .collect(),
            last_set: numbers.sets.last(),
            sets: (numbers.sets.iter())
                .map(|(recipe, number)| Set {
                    rules: recipe.rules.clone(),
                    served: recipe.served.clone(),
                    number,
                    users: count(&users, number),
                })
                .collect(),
            rows,
        }
    }

    /// Puts the numbers of this roll in the place of those of the compile it began with.
    pub fn update(self, numbers: &mut Numbers) {
        let identities = self.identities.into_iter().map(|class| (class.signature, class.number));
        numbers.identities = Register::of(self.last_identity, identities.collect());
        let sets = self.sets.into_iter().map(|set| {
            let Set { rules, served, number, .. } = set;
            (Recipe { rules, served, ..Recipe::default() }, number)
        });
        numbers.sets = Register::of(self.last_set, sets.collect());
    }

    /// Counts whom each policy speaks of. `None`: one comes into force, or is in force no more.
    fn count_speakers(&mut self, was: &Seen, is: &Seen) -> Option<()> {
        for policy in &is.spoken_of {
            let count = self.spoken_of.get_mut(*policy)?;
            if *count == 0 {
                return None;
            }
            *count += 1;
        }
        for policy in &was.spoken_of {
            let count = self.spoken_of.get_mut(*policy)?;
            *count = count.checked_sub(1).filter(|left| *left > 0)?;
        }
        Some(())
    }

    /// One more place of a class. `None`: there is no number left.
    fn enter(&mut self, signature: &Signature, fresh: &mut BTreeSet<u32>) -> Option<u32> {
        if let Some(class) = self.identities.iter_mut().find(|class| class.signature == *signature) {
            class.places += 1;
            return Some(class.number);
        }
        let number = self.last_identity.checked_add(1).filter(|number| *number <= RuleRow::MAX_NUMBER)?;
        self.last_identity = number;
        self.identities.push(Class { signature: signature.clone(), number, places: 1 });
        fresh.insert(number);
        Some(number)
    }

    /// One place of a class less. `None`: there was none, which must not be.
    fn leave(&mut self, signature: &Signature) -> Option<()> {
        let class = self.identities.iter_mut().find(|class| class.signature == *signature)?;
        class.places = class.places.checked_sub(1)?;
        Some(())
    }

    fn use_set(&mut self, recipe: &Recipe, fresh: &mut BTreeSet<u32>) -> Option<u32> {
        if let Some(set) = self.sets.iter_mut().find(|set| set.is_of(recipe)) {
            set.users += 1;
            return Some(set.number);
        }
        let number = self.last_set.checked_add(1).filter(|number| *number <= RuleRow::MAX_NUMBER)?;
        self.last_set = number;
        let Recipe { rules, served, .. } = recipe.clone();
        self.sets.push(Set { rules, served, number, users: 1 });
        fresh.insert(number);
        Some(number)
    }

    fn drop_set(&mut self, recipe: &Recipe) -> Option<()> {
        let set = self.sets.iter_mut().find(|set| set.is_of(recipe))?;
        set.users = set.users.checked_sub(1)?;
        Some(())
    }
}
