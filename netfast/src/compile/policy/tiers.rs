//! Rules of which some take precedence over others, as rows of which one decides.
//!
//! The kernel finds one row for a peer's identity and else one for everybody. So for each identity that any rule of a
//! set speaks of, the rows must say what becomes of every protocol and port; those for everybody are for the rest.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use netfast_common::policy::{ANY_IDENTITY, RuleKey, RuleRow};

use super::Direction;
use super::cover::{Step, cover};
use super::rulebook::RuleName;
use super::sets::{Pantry, Recipe, Tail};
use crate::model::{Action, Ports, Protocol};

/// Identities for which a set has the same rows, and those: a tail and what it says.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) identities: Vec<u32>,
    pub(super) tails: Vec<(Tail, RuleRow)>,
}

/// All ports, 0 among them: that of protocols which are known by name but have none in a packet.
const ALL_PORTS: RangeInclusive<u16> = 0..=u16::MAX;

/// Which rules are asked before which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Admin,
    Policy,
    Baseline,
}

/// A part of a rule that speaks of the same peers on all its ports.
#[derive(Debug)]
struct Clause {
    stage: Stage,
    number: u32,
    action: Action,
    /// `None`: everyone.
    peers: Option<Vec<u32>>,
    /// `None`: every port of every protocol.
    ports: Option<Vec<(u8, RangeInclusive<u16>)>>,
}

impl Clause {
    /// Whether it speaks of a port; `None`: of protocols that no rule can name.
    fn holds(&self, service: Option<(u8, u16)>) -> bool {
        match (&self.ports, service) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ports), Some((protocol, port))) => {
                ports.iter().any(|(own, range)| *own == protocol && range.contains(&port))
            }
        }
    }
}

/// The rows of the set that `recipe` makes.
pub(super) fn resolve(recipe: &Recipe, pantry: &Pantry<'_>) -> Vec<Group> {
    let clauses = clauses(recipe, pantry);
    let mut speaking: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut of_everyone = Vec::new();
    for (index, clause) in clauses.iter().enumerate() {
        match &clause.peers {
            None => of_everyone.push(index),
            Some(peers) => peers.iter().for_each(|peer| speaking.entry(*peer).or_default().push(index)),
        }
    }
    // Those of whom the same clauses speak are alike.
    let mut alike: BTreeMap<Vec<usize>, Vec<u32>> = BTreeMap::new();
    for (identity, mut of_it) in speaking {
        of_it.extend(&of_everyone);
        of_it.sort_unstable();
        of_it.dedup();
        alike.entry(of_it).or_default().push(identity);
    }
    let tails = |of_them: &[usize]| {
        let of_them: Vec<&Clause> = of_them.iter().map(|index| &clauses[*index]).collect();
        tails(&of_them, recipe.tiers.is_open)
    };
    let rest = tails(&of_everyone);
    let mut groups: Vec<Group> =
        alike.into_iter().map(|(of_them, identities)| Group { identities, tails: tails(&of_them) }).collect();
    groups.retain(|group| group.tails != rest);
    groups.push(Group { identities: vec![ANY_IDENTITY], tails: rest });
    groups
}

/// What the rules of a recipe say, in the order in which they are asked.
fn clauses(recipe: &Recipe, pantry: &Pantry<'_>) -> Vec<Clause> {
    let tiers = &recipe.tiers;
    let in_order = (tiers.admin.iter().map(|number| (Stage::Admin, *number)))
        .chain(recipe.rules.iter().map(|number| (Stage::Policy, *number)))
        .chain(tiers.baseline.iter().map(|number| (Stage::Baseline, *number)));
    let mut clauses = Vec::new();
    for (stage, number) in in_order {
        let Some(rule) = pantry.rule(number) else { continue };
        let clause = |peers, ports| Clause { stage, number, action: rule.action, peers, ports };
        let peers = rule.peers.is_some().then(|| pantry.peers(rule).to_vec());
        match numbered(rule) {
            Some(ports) if ports.is_empty() => {}
            ports => clauses.push(clause(peers.clone(), ports)),
        }
        for name in rule.port_names() {
            let protocol = name.protocol.number();
            for (ports, serving) in pantry.named(&name, rule, recipe) {
                let of_everyone = rule.direction == Direction::Ingress && peers.is_none();
                let ports = ports.iter().map(|port| (protocol, *port..=*port)).collect();
                clauses.push(clause((!of_everyone).then_some(serving), Some(ports)));
            }
        }
    }
    clauses
}

/// The ports of a rule, but for those it names; `None`: every port of every protocol.
fn numbered(rule: &RuleName) -> Option<Vec<(u8, RangeInclusive<u16>)>> {
    let ports = rule.ports.as_ref()?;
    let numbered = ports.iter().filter_map(|port| {
        let range = match &port.ports {
            Ports::Any => ALL_PORTS,
            Ports::Range(range) => range.first..=range.last,
            Ports::Named(_) => return None,
        };
        Some((port.protocol.number(), range))
    });
    Some(numbered.collect())
}

/// What becomes of every protocol and port of somebody of whom these clauses speak.
fn tails(clauses: &[&Clause], is_open: bool) -> Vec<(Tail, RuleRow)> {
    let others = decide(clauses, is_open, None);
    let mut tails = vec![(Tail { protocol: 0, port: 0, len: RuleKey::ANY_PROTOCOL }, others)];
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(Protocol::number) {
        let prefixes = cover(&steps(clauses, is_open, protocol), others);
        tails.extend(
            prefixes
                .into_iter()
                .map(|(port, len, row)| (Tail { protocol, port, len: RuleKey::ANY_PORT + len }, row)),
        );
    }
    tails
}

/// What becomes of the ports of a protocol, from each port on at which that may change.
fn steps(clauses: &[&Clause], is_open: bool, protocol: u8) -> Vec<Step<RuleRow>> {
    let own = clauses.iter().flat_map(|clause| clause.ports.iter().flatten()).filter(|(p, _)| *p == protocol);
    let mut bounds: Vec<u16> = own
        .flat_map(|(_, range)| [Some(*range.start()), range.end().checked_add(1)])
        .chain([Some(0)])
        .flatten()
        .collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut steps: Vec<Step<RuleRow>> = Vec::with_capacity(bounds.len());
    for port in bounds {
        let row = decide(clauses, is_open, Some((protocol, port)));
        if steps.last().is_none_or(|(_, last)| *last != row) {
            steps.push((port, row));
        }
    }
    steps
}

/// Which rule decides, and how.
fn decide(clauses: &[&Clause], is_open: bool, service: Option<(u8, u16)>) -> RuleRow {
    let first = |stage| clauses.iter().find(|clause| clause.stage == stage && clause.holds(service));
    let by_tier = |stage| {
        first(stage).and_then(|clause| match clause.action {
            Action::Accept => Some(RuleRow::allow(clause.number)),
            Action::Deny => Some(RuleRow::deny(clause.number)),
            Action::Pass => None,
        })
    };
    if let Some(row) = by_tier(Stage::Admin) {
        row
    } else if is_open {
        by_tier(Stage::Baseline).unwrap_or(RuleRow::allow(0))
    } else {
        first(Stage::Policy).map_or(RuleRow::deny(0), |clause| RuleRow::allow(clause.number))
    }
}
