//! Rule sets: what policies say of one direction of an endpoint, and their rows.

use std::collections::{BTreeMap, BTreeSet};

use netfast_common::policy::{ANY_IDENTITY, RuleKey, RuleRow};
use serde::{Deserialize, Serialize};

use super::Direction;
use super::classes::{Signature, members};
use super::endpoints::{PortName, Served};
use super::numbers::Register;
use super::peers::Mark;
use super::ports::blocks;
use super::rulebook::RuleName;
use super::tiers::{self, Group};
use crate::model::{Ports, Tier};

/// What a rule set is made of: rules that add up, and those that come before and after them. Endpoints with equal recipes share a set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Recipe {
    /// Numbers of the rules.
    pub(super) rules: BTreeSet<u32>,
    /// What the port names of ingress rules stand for at the endpoint. Names it does not know are left out.
    pub(super) served: BTreeSet<Served>,
    /// What policies of the cluster have to say.
    #[serde(default, skip_serializing_if = "Tiers::are_silent")]
    pub(super) tiers: Tiers,
}

/// The rules of policies of the cluster that concern a set, each tier's in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Tiers {
    /// Numbers of the rules that are asked first.
    pub(super) admin: Vec<u32>,
    /// Numbers of the rules that are asked last.
    pub(super) baseline: Vec<u32>,
    /// No other policy isolates the endpoint: what no tier decides is allowed.
    pub(super) is_open: bool,
}

impl Tiers {
    /// Whether the set is one that only isolates.
    pub(super) fn are_silent(&self) -> bool {
        *self == Self::default()
    }
}

impl Recipe {
    /// The recipe of an endpoint that nothing isolates.
    pub(super) fn open() -> Self {
        Self { tiers: Tiers { is_open: true, ..Tiers::default() }, ..Self::default() }
    }

    /// Adds the rules of the next policy of the cluster. Where a policy isolates the endpoint its word is the last.
    pub(super) fn add_steps(&mut self, tier: Tier, rules: &[u32], served: impl Iterator<Item = Served>) {
        match tier {
            Tier::Admin => self.tiers.admin.extend(rules),
            Tier::Baseline if self.tiers.is_open => self.tiers.baseline.extend(rules),
            Tier::Baseline => return,
        }
        self.served.extend(served);
    }

    /// Numbers of all its rules.
    fn numbers(&self) -> impl Iterator<Item = &u32> {
        self.rules.iter().chain(&self.tiers.admin).chain(&self.tiers.baseline)
    }
}

/// What recipes refer to, as one compile numbered it.
#[derive(Debug)]
pub(super) struct Pantry<'r> {
    rules: BTreeMap<u32, &'r RuleName>,
    /// All identities.
    identities: BTreeSet<u32>,
    /// Identities that have each mark.
    members: BTreeMap<u32, Vec<u32>>,
    /// What each port name stands for at whom.
    names: BTreeMap<&'r PortName, Vec<(&'r BTreeSet<u16>, u32)>>,
}

impl<'r> Pantry<'r> {
    pub(super) fn new(
        marks: &'r Register<Mark>,
        rules: &'r Register<RuleName>,
        identities: &Register<Signature>,
    ) -> Self {
        let serving = marks.iter().filter_map(|(mark, number)| match mark {
            Mark::Serves(served) => Some((served, number)),
            Mark::Peer(_) => None,
        });
        Self::of(serving, rules.by_number(), &identities.iter().collect::<Vec<_>>())
    }

    /// One with these things only. `serving` are the marks of those who serve a port of some name.
    pub(super) fn of(
        serving: impl Iterator<Item = (&'r Served, u32)>,
        rules: BTreeMap<u32, &'r RuleName>,
        identities: &[(&Signature, u32)],
    ) -> Self {
        let mut names: BTreeMap<&PortName, Vec<(&BTreeSet<u16>, u32)>> = BTreeMap::new();
        for (Served { name, ports }, number) in serving {
            names.entry(name).or_default().push((ports, number));
        }
        let members = members(identities);
        let identities = identities.iter().map(|(_, identity)| *identity).collect();
        Self { rules, identities, members, names }
    }

    /// The identities that are peers of a rule.
    pub(super) fn peers(&self, rule: &RuleName) -> &[u32] {
        rule.peers.map_or(&[ANY_IDENTITY], |mark| self.having(mark))
    }

    /// The identities that have a mark.
    fn having(&self, mark: u32) -> &[u32] {
        self.members.get(&mark).map_or(&[], Vec::as_slice)
    }

    /// The ports a name stands for, with the identities for which it does.
    fn serving(&self, name: &PortName) -> impl Iterator<Item = (&BTreeSet<u16>, &[u32])> {
        self.names.get(name).into_iter().flatten().map(|(ports, mark)| (*ports, self.having(*mark)))
    }

    /// Whether `recipe`, which both know, has the same rows with both for every identity that both know. Rows of others
    /// disturb nobody: who has a new identity, or one that is gone, is in one of the two worlds only.
    /// `renamed` are the port names that stand for something else there.
    fn agrees(&self, other: &Self, renamed: &BTreeSet<PortName>, recipe: &Recipe) -> bool {
        let same = |mine: &[u32], theirs: &[u32]| {
            mine == theirs
                || mine.iter().filter(|i| other.knows(**i)).eq(theirs.iter().filter(|i| self.knows(**i)))
        };
        recipe.numbers().all(|number| match (self.rules.get(number), other.rules.get(number)) {
            (Some(mine), Some(theirs)) if mine == theirs => {
                same(self.peers(mine), other.peers(theirs))
                    && (mine.direction == Direction::Ingress
                        || !mine.port_names().any(|name| renamed.contains(&name)))
            }
            _ => false,
        })
    }

    /// The port names that do not stand for the same with both, at an identity that both know.
    fn renamed(&self, other: &Self) -> BTreeSet<PortName> {
        let shared = |mine: &Self, theirs: &Self, name: &PortName| -> BTreeSet<(BTreeSet<u16>, u32)> {
            let serving = mine.serving(name);
            let each = serving.flat_map(|(ports, who)| who.iter().map(move |identity| (ports, *identity)));
            each.filter(|(_, i)| theirs.knows(*i)).map(|(ports, i)| (ports.clone(), i)).collect()
        };
        let names = self.names.keys().chain(other.names.keys()).copied();
        names.filter(|name| shared(self, other, name) != shared(other, self, name)).cloned().collect()
    }

    fn knows(&self, identity: u32) -> bool {
        identity == ANY_IDENTITY || self.identities.contains(&identity)
    }

    /// The rules of a recipe that add up, by number.
    fn rules(&self, recipe: &Recipe) -> impl Iterator<Item = (u32, &'r RuleName)> {
        recipe.rules.iter().filter_map(|number| Some((*number, self.rule(*number)?)))
    }

    /// The rule with a number.
    pub(super) fn rule(&self, number: u32) -> Option<&'r RuleName> {
        self.rules.get(&number).copied()
    }

    /// Tells `row` the identity and the tail of each row that a rule makes in a set.
    fn each_row(&self, rule: &RuleName, recipe: &Recipe, mut row: impl FnMut(u32, Tail)) {
        for tail in tails(rule) {
            for peer in self.peers(rule) {
                row(*peer, tail);
            }
        }
        for name in rule.port_names() {
            let protocol = name.protocol.number();
            for (ports, peers) in self.named(&name, rule, recipe) {
                for port in ports {
                    for peer in &peers {
                        row(*peer, Tail { protocol, port: *port, len: RuleKey::FULL });
                    }
                }
            }
        }
    }

    /// Tells `row` the identity, key and content of each row of a set that no tier speaks of. Of two with one key, the first
    /// stands.
    pub(super) fn rows_of(
        &self,
        set: u32,
        recipe: &Recipe,
        mut row: impl FnMut(u32, (RuleKey, u32), RuleRow),
    ) {
        for (number, rule) in self.rules(recipe) {
            self.each_row(rule, recipe, |identity, Tail { protocol, port, len }| {
                let key = RuleKey::new(set, identity, protocol, port);
                row(identity, (key, len), RuleRow::allow(number));
            });
        }
    }

    /// How many rows a rule makes in a set, without making them.
    fn count_rows(&self, rule: &RuleName, recipe: &Recipe) -> usize {
        let named = rule.port_names().map(|name| {
            let named = self.named(&name, rule, recipe);
            named.iter().map(|(ports, peers)| ports.len() * peers.len()).sum::<usize>()
        });
        tails(rule).len() * self.peers(rule).len() + named.sum::<usize>()
    }

    /// The ports a name in `rule` stands for, and with whom: at the endpoint itself for what comes in, at the
    /// destination for what goes out. There the row must name the destination's identity even if the rule has no
    /// peers, as another destination has other ports or is outside and has none.
    pub(super) fn named<'a>(
        &'a self,
        name: &'a PortName,
        rule: &'a RuleName,
        recipe: &'a Recipe,
    ) -> Vec<(&'a BTreeSet<u16>, Vec<u32>)> {
        match rule.direction {
            Direction::Ingress => {
                let served = recipe.served.iter().filter(|served| served.name == *name);
                served.map(|served| (&served.ports, self.peers(rule).to_vec())).collect()
            }
            Direction::Egress => {
                let peer = |identity: &u32| {
                    rule.peers.is_none_or(|mark| self.having(mark).binary_search(identity).is_ok())
                };
                let serving = self.serving(name);
                serving.map(|(ports, who)| (ports, who.iter().copied().filter(peer).collect())).collect()
            }
        }
    }
}

/// The tail of a rule row's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) protocol: u8,
    pub(super) port: u16,
    /// Bits of the whole key.
    pub(super) len: u32,
}

/// The protocols and ports of a rule, but for those it names.
fn tails(rule: &RuleName) -> Vec<Tail> {
    let Some(ports) = &rule.ports else {
        return vec![Tail { protocol: 0, port: 0, len: RuleKey::ANY_PROTOCOL }];
    };
    let mut tails = Vec::new();
    for port in ports {
        let protocol = port.protocol.number();
        match &port.ports {
            Ports::Any => tails.push(Tail { protocol, port: 0, len: RuleKey::ANY_PORT }),
            Ports::Range(range) => tails.extend(blocks(*range).into_iter().map(|(port, len)| Tail {
                protocol,
                port,
                len: RuleKey::ANY_PORT + len,
            })),
            Ports::Named(_) => {}
        }
    }
    tails
}

/// Numbers the sets. A set whose rows would differ from those it had, for an identity that is in both worlds, gets a fresh
/// number: rows that may be in use are never replaced.
pub(super) fn number(
    recipes: &BTreeSet<&Recipe>,
    pantry: &Pantry<'_>,
    previous: &Register<Recipe>,
    previous_pantry: &Pantry<'_>,
) -> Register<Recipe> {
    let mut draft = previous.successor();
    let renamed = pantry.renamed(previous_pantry);
    for &recipe in recipes {
        match previous.get(recipe) {
            Some(number) if pantry.agrees(previous_pantry, &renamed, recipe) => {
                draft.keep(recipe.clone(), number)
            }
            _ => draft.fresh(recipe.clone()),
        };
    }
    draft.finish()
}

/// The rows of all sets. Where several rules of a set allow the same, the one with the lowest number stands.
///
/// # Errors
/// When there are more than `limit`, before any is made: a few rules that speak of many peers each can come to
/// more than the memory of the machine.
pub(super) fn rows(sets: &Register<Recipe>, pantry: &Pantry<'_>, limit: usize) -> Result<Made, Excess> {
    let (tiered, plain): (Vec<_>, Vec<_>) = sets.iter().partition(|(recipe, _)| !recipe.tiers.are_silent());
    let tiered: Vec<_> =
        tiered.into_iter().map(|(recipe, set)| (set, tiers::resolve(recipe, pantry))).collect();
    let mut by_rule: BTreeMap<u32, usize> = BTreeMap::new();
    for (recipe, _) in &plain {
        for (number, rule) in pantry.rules(recipe) {
            *by_rule.entry(number).or_default() += pantry.count_rows(rule, recipe);
        }
    }
    for group in tiered.iter().flat_map(|(_, groups)| groups) {
        for (_, row) in &group.tails {
            *by_rule.entry(row.number()).or_default() += group.identities.len();
        }
    }
    let total = by_rule.values().sum();
    if total > limit {
        let largest = by_rule.into_iter().max_by_key(|(_, rows)| *rows).unwrap_or_default();
        return Err(Excess { total, largest });
    }

    let mut rows = BTreeMap::new();
    for (recipe, set) in plain {
        pantry.rows_of(set, recipe, |_, key, row| {
            rows.entry(key).or_insert(row);
        });
    }
    for (set, groups) in tiered {
        for Group { identities, tails } in groups {
            for (Tail { protocol, port, len }, row) in tails {
                let key = |identity| RuleKey::new(set, identity, protocol, port);
                rows.extend(identities.iter().map(|identity| ((key(*identity), len), row)));
            }
        }
    }
    Ok(Made { rows, total })
}

/// The rows of all sets.
#[derive(Debug)]
pub(super) struct Made {
    /// By key and prefix length.
    pub(super) rows: BTreeMap<(RuleKey, u32), RuleRow>,
    /// What they are counted as, which may be more.
    pub(super) total: usize,
}

/// More rows than there may be.
#[derive(Debug)]
pub(super) struct Excess {
    /// Rows of all sets.
    pub(super) total: usize,
    /// The rule that makes most of them, and how many.
    pub(super) largest: (u32, usize),
}
