//! Who is who: the classes and rule sets there are, and how many have each.

use std::collections::{BTreeMap, BTreeSet};

use netfast_common::policy::RuleRow;
use netfast_common::rows::Subject;
use serde::{Deserialize, Serialize};

use super::Seen;
use crate::compile::policy::Numbers;
use crate::compile::policy::classes::Signature;
use crate::compile::policy::endpoints::Served;
use crate::compile::policy::numbers::Register;
use crate::compile::policy::rulebook::Rulebook;
use crate::compile::policy::sets::Recipe;
use crate::model::World;

/// Who is who.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// How many endpoints each policy speaks of.
    spoken_of: Vec<usize>,
    last_identity: u32,
    pub(super) identities: Vec<Class>,
    last_set: u32,
    pub(super) sets: Vec<Set>,
    /// Rows of all rules.
    pub(super) rows: usize,
}

/// A class of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Class {
    pub(super) signature: Signature,
    pub(super) number: u32,
    places: usize,
}

/// A rule set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Set {
    /// Numbers of its rules, ascending.
    pub(super) rules: Vec<u32>,
    served: Vec<Served>,
    pub(super) number: u32,
    users: usize,
}

impl Set {
    fn new(recipe: &Recipe, number: u32, users: usize) -> Self {
        let rules = recipe.rules.iter().copied().collect();
        Self { rules, served: recipe.served.iter().cloned().collect(), number, users }
    }

    /// Its recipe, with some of its rules.
    pub(super) fn recipe_of(&self, is_asked: impl Fn(u32) -> bool) -> Recipe {
        let rules: BTreeSet<u32> = self.rules.iter().copied().filter(|number| is_asked(*number)).collect();
        let served = if rules.is_empty() { BTreeSet::new() } else { self.served.iter().cloned().collect() };
        Recipe { rules, served, ..Recipe::default() }
    }

    fn is_of(&self, recipe: &Recipe) -> bool {
        self.rules.len() == recipe.rules.len()
            && self.rules.iter().eq(&recipe.rules)
            && self.served.iter().eq(&recipe.served)
    }
}

impl Roll {
    /// The roll of a world that was compiled: `of_place` are the identities of all places, `subjects` all endpoints as
    /// policy sees them, `rows` how many rows all rules make.
    pub(in crate::compile::policy) fn new(
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
                .map(|(recipe, number)| Set::new(recipe, number, count(&users, number)))
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
            let (rules, served) = (rules.into_iter().collect(), served.into_iter().collect());
            (Recipe { rules, served, ..Recipe::default() }, number)
        });
        numbers.sets = Register::of(self.last_set, sets.collect());
    }

    /// Counts whom each policy speaks of. `None`: one comes into force, or is in force no more.
    pub(super) fn count_speakers(&mut self, was: &Seen, is: &Seen) -> Option<()> {
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
    pub(super) fn enter(&mut self, signature: &Signature, fresh: &mut BTreeSet<u32>) -> Option<u32> {
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
    pub(super) fn leave(&mut self, signature: &Signature) -> Option<()> {
        let class = self.identities.iter_mut().find(|class| class.signature == *signature)?;
        class.places = class.places.checked_sub(1)?;
        Some(())
    }

    /// One more user of a set. `None`: there is no number left.
    pub(super) fn use_set(&mut self, recipe: &Recipe, fresh: &mut BTreeSet<u32>) -> Option<u32> {
        if let Some(set) = self.sets.iter_mut().find(|set| set.is_of(recipe)) {
            set.users += 1;
            return Some(set.number);
        }
        let number = self.last_set.checked_add(1).filter(|number| *number <= RuleRow::MAX_NUMBER)?;
        self.last_set = number;
        self.sets.push(Set::new(recipe, number, 1));
        fresh.insert(number);
        Some(number)
    }

    /// One user of a set less. `None`: there was none, which must not be.
    pub(super) fn drop_set(&mut self, recipe: &Recipe) -> Option<()> {
        let set = self.sets.iter_mut().find(|set| set.is_of(recipe))?;
        set.users = set.users.checked_sub(1)?;
        Some(())
    }

    /// Takes out the classes and the sets that nobody has any more.
    pub(super) fn take_unused(&mut self) -> (Vec<Class>, Vec<Set>) {
        let classes = self.identities.extract_if(.., |class| class.places == 0);
        let classes = classes.collect();
        (classes, self.sets.extract_if(.., |set| set.users == 0).collect())
    }
}
