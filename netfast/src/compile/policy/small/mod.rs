//! A change of one endpoint, compiled without looking at the others.
//!
//! What policies ask ([`Book`]) stays as long as they do. Who is of which class and has which rule set, and how many are
//! ([`Roll`]), changes by what one endpoint was and what it becomes: a class or a set that nobody had gets a fresh number
//! and rows, and one that nobody has any more loses them. Its rows are then those that a compile of the whole world, given
//! these numbers, would make; the tests see to that. What would change more than that is left to such a compile: a policy
//! that speaks of somebody for the first time, or of nobody any more, and whatever involves policies of the cluster or
//! audits.

mod book;
mod catalogue;
mod roll;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};

use netfast_common::policy::{OPEN, RuleKey, RuleRow};
use netfast_common::rows::Subject;

pub use self::book::Book;
pub(super) use self::catalogue::{Draft, Ways};
pub use self::roll::Roll;
use self::roll::{Class, Set};
#[cfg(test)]
pub(super) use self::shelf::things_read;
use super::Assigned;
use super::classes::Signature;
use super::sets::Recipe;
use crate::model::Endpoint;

/// An endpoint with its addresses.
#[derive(Clone, Debug)]
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
    /// The places of the policies that speak of it.
    spoken_of: Vec<usize>,
    /// Of the IPv4 and the IPv6 address.
    signatures: [Option<Signature>; 2],
    /// For what comes in and what goes out.
    recipes: [Option<Recipe>; 2],
}

impl Book<'_> {
    /// What becomes of the tables when `before` becomes `after`; and `roll` is the one after that. `None`: that takes a
    /// compile of the whole world, and the roll is void.
    pub fn change(
        &self,
        roll: &mut Roll,
        before: Option<Member<'_>>,
        after: Option<Member<'_>>,
    ) -> Option<Change> {
        let is_there = after.is_some();
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
        for signature in was.signatures.iter().flatten() {
            roll.leave(signature)?;
        }
        for recipe in was.recipes.iter().flatten() {
            roll.drop_set(recipe)?;
        }
        let (gone, gone_sets) = roll.take_unused();

        let is_fresh = |class: &&Class| fresh_identities.contains(&class.number);
        let (fresh, staying): (Vec<&Class>, Vec<&Class>) = roll.identities.iter().partition(is_fresh);
        let is_fresh = |set: &&Set| fresh_sets.contains(&set.number);
        let (new_sets, staying_sets): (Vec<&Set>, Vec<&Set>) = roll.sets.iter().partition(is_fresh);
        let mut counted = roll.rows;
        let mut added = BTreeMap::new();
        let mut add = |key, row| {
            counted += 1;
            added.entry(key).or_insert(row);
        };
        self.rows_of_classes(&fresh, &staying_sets, &mut add)?;
        self.rows_of_sets(&new_sets, &roll.identities.iter().collect::<Vec<_>>(), &mut add)?;
        let mut removed = BTreeSet::new();
        let mut remove = |key, _| {
            counted = counted.saturating_sub(1);
            removed.insert(key);
        };
        // In the world before, where the fresh ones had no rows.
        let gone: Vec<&Class> = gone.iter().collect();
        let before: Vec<&Class> = staying.into_iter().chain(gone.iter().copied()).collect();
        self.rows_of_classes(&gone, &staying_sets, &mut remove)?;
        self.rows_of_sets(&gone_sets.iter().collect::<Vec<_>>(), &before, &mut remove)?;
        if counted > self.max_rows {
            return None;
        }
        let removed = removed.into_iter().collect();
        roll.rows = counted;
        let [identity4, identity6] = identities;
        let [ingress, egress] = sets;
        let subject =
            Subject { ingress, egress, audit_ingress: OPEN, audit_egress: OPEN, identity4, identity6 };
        Some(Change { subject: is_there.then_some(subject), added, removed })
    }
}
