//! Rule sets: what one direction of an isolated endpoint allows, and its rows.

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
use crate::model::Ports;

/// What a rule set is made of. Endpoints with equal recipes share a set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Recipe {
    /// Numbers of the rules.
    pub(super) rules: BTreeSet<u32>,
    /// What the port names of ingress rules stand for at the endpoint. Names it does not know are left out.
    pub(super) served: BTreeSet<Served>,
}

/// What recipes refer to, as one compile numbered it.
#[derive(Debug)]
pub(super) struct Pantry<'r> {
    rules: BTreeMap<u32, &'r RuleName>,
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
        let mut names: BTreeMap<&PortName, Vec<(&BTreeSet<u16>, u32)>> = BTreeMap::new();
        for (mark, number) in marks.iter() {
            if let Mark::Serves(Served { name, ports }) = mark {
                names.entry(name).or_default().push((ports, number));
            }
        }
        Self { rules: rules.by_number(), members: members(identities), names }
    }

    /// The identities that are peers of a rule.
    fn peers(&self, rule: &RuleName) -> &[u32] {
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

    /// Whether `recipe`, which both know, has the same rows with both.
    fn agrees(&self, other: &Self, recipe: &Recipe) -> bool {
        recipe.rules.iter().all(|number| match (self.rules.get(number), other.rules.get(number)) {
            (Some(mine), Some(theirs)) if mine == theirs => {
                self.peers(mine) == other.peers(theirs)
                    && (mine.direction == Direction::Ingress
                        || mine.port_names().all(|name| self.serving(&name).eq(other.serving(&name))))
            }
            _ => false,
        })
    }

    /// Adds the rows of a set. Where several rules allow the same, the one with the lowest number stands.
    fn write(&self, set: u32, recipe: &Recipe, rows: &mut BTreeMap<(RuleKey, u32), RuleRow>) {
        for (number, rule) in recipe.rules.iter().filter_map(|n| Some((*n, *self.rules.get(n)?))) {
            let mut allow = |identity, Shape { protocol, port, len }| {
                let key = RuleKey::new(set, identity, protocol, port);
                rows.entry((key, len)).or_insert(RuleRow { rule: number });
            };
            for shape in shapes(rule) {
                for peer in self.peers(rule) {
                    allow(*peer, shape);
                }
            }
            for name in rule.port_names() {
                let protocol = name.protocol.number();
                for (ports, peers) in self.named(&name, rule, recipe) {
                    for port in ports {
                        for peer in &peers {
                            allow(*peer, Shape { protocol, port: *port, len: RuleKey::FULL });
                        }
                    }
                }
            }
        }
    }

    /// The ports a name in `rule` stands for, and with whom: at the endpoint itself for what comes in, at the
    /// destination for what goes out. There the row must name the destination's identity even if the rule has no
    /// peers, as another destination has other ports or is outside and has none.
    fn named<'a>(
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
#[derive(Clone, Copy, Debug)]
struct Shape {
    protocol: u8,
    port: u16,
    /// Bits of the whole key.
    len: u32,
}

/// The protocols and ports of a rule, but for those it names.
fn shapes(rule: &RuleName) -> Vec<Shape> {
    let Some(ports) = &rule.ports else {
        return vec![Shape { protocol: 0, port: 0, len: RuleKey::ANY_PROTOCOL }];
    };
    let mut shapes = Vec::new();
    for port in ports {
        let protocol = port.protocol.number();
        match &port.ports {
            Ports::Any => shapes.push(Shape { protocol, port: 0, len: RuleKey::ANY_PORT }),
            Ports::Range(range) => shapes.extend(blocks(*range).into_iter().map(|(port, len)| Shape {
                protocol,
                port,
                len: RuleKey::ANY_PORT + len,
            })),
            Ports::Named(_) => {}
        }
    }
    shapes
}

/// Numbers the sets. A set whose rows would differ from those it had gets a fresh number: rows that may be in use
/// are never replaced.
pub(super) fn number(
    recipes: &BTreeSet<&Recipe>,
    pantry: &Pantry<'_>,
    previous: &Register<Recipe>,
    previous_pantry: &Pantry<'_>,
) -> Register<Recipe> {
    let mut draft = previous.successor();
    for &recipe in recipes {
        match previous.get(recipe) {
            Some(number) if pantry.agrees(previous_pantry, recipe) => draft.keep(recipe.clone(), number),
            _ => draft.fresh(recipe.clone()),
        };
    }
    draft.finish()
}

/// The rows of all sets.
pub(super) fn rows(sets: &Register<Recipe>, pantry: &Pantry<'_>) -> BTreeMap<(RuleKey, u32), RuleRow> {
    let mut rows = BTreeMap::new();
    for (recipe, set) in sets.iter() {
        pantry.write(set, recipe, &mut rows);
    }
    rows
}
