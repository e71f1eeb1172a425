//! Rules that change nothing, whatever endpoints there are.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Chapter, Finding, Lint, chapters, cover};
use crate::model::{Name, Peer, Policy, Rule, Selector, Source, World};

/// Rules of one selection are not compared with each other if they hold more than this: it takes the square of it.
const MAX_COMPARED: usize = 4_000;

/// A rule, and where it is from.
#[derive(Clone, Copy)]
struct Placed<'w> {
    policy: &'w Policy,
    rule: &'w Rule,
}

impl Placed<'_> {
    /// Where a rule is, as seen from another.
    fn near(self, other: Self) -> String {
        let Source { file, line } = &self.rule.source;
        let place = if *file == other.rule.source.file {
            format!("line {line}")
        } else {
            self.rule.source.to_string()
        };
        if std::ptr::eq(self.policy, other.policy) {
            format!("the rule at {place}")
        } else {
            format!("the rule of {}/{} at {place}", self.policy.namespace, self.policy.name)
        }
    }
}

pub(super) fn look(world: &World, found: &mut Vec<Finding>) {
    let mut of_selection: BTreeMap<(&Name, &Selector, &str), Vec<Placed<'_>>> = BTreeMap::new();
    for policy in &world.policies {
        if cover::is_impossible(&policy.selector) {
            let message = format!(
                "the podSelector of {}/{} asks for what no labels can be",
                policy.namespace, policy.name
            );
            found.push(Finding::new(Lint::ImpossibleSelector, &policy.source, message));
        }
        for Chapter { rules, direction, peers, .. } in chapters(policy) {
            for rule in rules {
                look_inside(rule, peers, found);
            }
            let list = of_selection.entry((&policy.namespace, &policy.selector, direction)).or_default();
            list.extend(rules.iter().map(|rule| Placed { policy, rule }));
        }
    }
    for rules in of_selection.values() {
        if rules.iter().map(|placed| size(placed.rule)).sum::<usize>() <= MAX_COMPARED {
            compare(rules, found);
        }
    }
}

/// How much there is to compare in a rule.
fn size(rule: &Rule) -> usize {
    let holes = rule.peers.iter().flatten().map(|peer| match peer {
        Peer::Block { except, .. } => except.len(),
        Peer::Endpoints { .. } => 0,
    });
    let peers = rule.peers.as_ref().map_or(0, Vec::len);
    1 + peers + rule.ports.as_ref().map_or(0, Vec::len) + holes.sum::<usize>()
}

/// Peers and ports of one rule.
fn look_inside(rule: &Rule, field: &str, found: &mut Vec<Finding>) {
    let peers = rule.peers.as_deref().unwrap_or_default();
    for (index, peer) in peers.iter().enumerate() {
        let selectors = match peer {
            Peer::Endpoints { namespaces, endpoints } => namespaces.iter().chain([endpoints]).collect(),
            Peer::Block { .. } => Vec::new(),
        };
        if selectors.into_iter().any(cover::is_impossible) {
            let message = format!("{field}[{index}] asks for what no labels can be");
            found.push(Finding::new(Lint::ImpossibleSelector, &rule.source, message));
        }
    }
    covered(peers, field, rule, cover::peer, found);
    covered(rule.ports.as_deref().unwrap_or_default(), "ports", rule, cover::port, found);
}

/// Items of a list that another item of it covers.
fn covered<T>(
    items: &[T],
    field: &str,
    rule: &Rule,
    covers: impl Fn(&T, &T) -> bool,
    found: &mut Vec<Finding>,
) {
    if size(rule) > MAX_COMPARED {
        return;
    }
    for (index, item) in items.iter().enumerate() {
        let other = items.iter().enumerate().position(|(other, broad)| {
            // Of two that are the same, the second is one too many.
            other != index && covers(broad, item) && (other < index || !covers(item, broad))
        });
        if let Some(other) = other {
            let same = covers(item, &items[other]);
            let (lint, how) = if same {
                (Lint::RepeatedRule, "is the same as")
            } else {
                (Lint::ShadowedRule, "adds nothing to")
            };
            let finding =
                Finding::new(lint, &rule.source, format!("{field}[{index}] {how} {field}[{other}]"));
            found.push(finding.help("drop it"));
        }
    }
}

/// Rules for the same endpoints and direction.
fn compare(rules: &[Placed<'_>], found: &mut Vec<Finding>) {
    for (index, narrow) in rules.iter().enumerate() {
        let broad = rules.iter().enumerate().find(|(other, broad)| {
            *other != index
                && cover::rule(broad.rule, narrow.rule)
                && (*other < index || !cover::rule(narrow.rule, broad.rule))
        });
        if let Some((_, broad)) = broad {
            let place = broad.near(*narrow);
            let finding = if cover::rule(narrow.rule, broad.rule) {
                Finding::new(
                    Lint::RepeatedRule,
                    &narrow.rule.source,
                    format!("this rule is the same as {place}"),
                )
            } else {
                let message = format!("this rule adds nothing to {place}, which allows more");
                Finding::new(Lint::ShadowedRule, &narrow.rule.source, message)
            };
            found.push(finding.help("drop one of them"));
            continue;
        }
        look_at_holes(*narrow, rules, found);
    }
}

/// Holes that another rule allows on the same ports.
fn look_at_holes(holed: Placed<'_>, rules: &[Placed<'_>], found: &mut Vec<Finding>) {
    for peer in holed.rule.peers.iter().flatten() {
        let Peer::Block { cidr, except } = peer else { continue };
        for hole in except {
            let fills = |placed: &&Placed<'_>| {
                cover::ports(placed.rule, holed.rule)
                    && placed.rule.peers.iter().flatten().any(|peer| fills(peer, hole))
            };
            if let Some(filling) = rules.iter().find(fills) {
                let by = if std::ptr::eq(filling.rule, holed.rule) {
                    "another peer of this rule".to_owned()
                } else {
                    filling.near(holed)
                };
                let message = format!("{hole}, left out of {cidr}, is allowed by {by}");
                let finding = Finding::new(Lint::FilledExcept, &holed.rule.source, message);
                found.push(finding.help("an except denies nothing, it only makes its own block smaller"));
            }
        }
    }
}

/// Whether a peer holds all of a hole.
fn fills(peer: &Peer, hole: &IpNet) -> bool {
    let whole = Peer::Block { cidr: *hole, except: Vec::new() };
    cover::peer(peer, &whole)
}
