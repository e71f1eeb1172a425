//! Classes of addresses that no policy in force can tell apart: identities.

use std::collections::{BTreeMap, BTreeSet};

use super::bits::Bits;
use super::numbers::Register;
use super::peers::Mark;

/// The marks of a class, ascending.
pub(super) type Signature = Vec<u32>;

/// The classes of all places.
#[derive(Debug)]
pub(super) struct Classes {
    /// Identity of each place.
    pub(super) of_place: Vec<u32>,
    pub(super) register: Register<Signature>,
}

impl Classes {
    /// Sorts `count` places, whose marks are given, into classes.
    ///
    /// A class with the marks it had keeps its number. So does one whose marks differ only by marks that are new
    /// or gone, since to all rules that stay it is the same: a new policy does not renumber the world. Of the
    /// parts of a split class one keeps the number.
    pub(super) fn new(
        count: usize,
        marked: &BTreeMap<u32, Bits>,
        previous_marks: &Register<Mark>,
        previous: &Register<Signature>,
    ) -> Self {
        let mut signatures: Vec<Signature> = vec![Vec::new(); count];
        for (mark, places) in marked {
            for place in places.iter() {
                signatures[place].push(*mark);
            }
        }
        let distinct: BTreeSet<&Signature> = signatures.iter().collect();

        let staying: BTreeSet<u32> =
            previous_marks.iter().map(|(_, mark)| mark).filter(|mark| marked.contains_key(mark)).collect();
        let in_common =
            |s: &Signature| -> Signature { s.iter().copied().filter(|m| staying.contains(m)).collect() };
        let mut orphans: BTreeMap<Signature, Vec<u32>> = BTreeMap::new();
        for (signature, number) in previous.iter().filter(|(signature, _)| !distinct.contains(signature)) {
            orphans.entry(in_common(signature)).or_default().push(number);
        }

        let mut draft = previous.successor();
        for signature in distinct {
            if previous.get(signature).is_some() {
                draft.number(signature.clone());
            } else if let Some(number) = orphans.get_mut(&in_common(signature)).and_then(Vec::pop) {
                draft.keep(signature.clone(), number);
            } else {
                draft.fresh(signature.clone());
            }
        }
        let register = draft.finish();
        let of_place = signatures.iter().filter_map(|signature| register.get(signature)).collect();
        Self { of_place, register }
    }
}

/// The identities that have each mark, ascending.
pub(super) fn members(identities: &[(&Signature, u32)]) -> BTreeMap<u32, Vec<u32>> {
    let mut members: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for &(signature, identity) in identities {
        for mark in signature {
            members.entry(*mark).or_default().push(identity);
        }
    }
    for identities in members.values_mut() {
        identities.sort_unstable();
    }
    members
}
