//! The numbers that stand in the maps, as the last change of everything and those of single endpoints since have left
//! them.

use anyhow::Result;

use crate::compile::policy::{Book, Change, Member, Numbers, Roll};
use crate::store::{Companion, LockedStore, Store, Written};

/// The numbers there are.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn read(store: &Store) -> Result<Numbers> {
    let mut numbers: Numbers = store.numbers()?.unwrap_or_default();
    match store.companion(Companion::Roll)?.and_then(|written| written.read::<Roll>()) {
        Some(roll) => roll.update(&mut numbers),
        // Another netfast's, or damaged: changes of single endpoints may have given numbers that only it knows.
        None if store.has_companion(Companion::Roll) => numbers.skip(),
        None => {}
    }
    Ok(numbers)
}

/// What a change of one endpoint goes by.
#[derive(Debug)]
pub(super) struct Small {
    book: Written,
    /// Who is who.
    pub roll: Roll,
}

impl Small {
    /// What there is; `None`: nothing of the kind.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn read(store: &Store) -> Result<Option<Self>> {
        let Some(book) = store.companion(Companion::Book)? else { return Ok(None) };
        let roll = store.companion(Companion::Roll)?.and_then(|written| written.read());
        Ok(roll.map(|roll| Self { book, roll }))
    }

    /// What becomes of the tables when `before` becomes `after`; the roll is the one after that. `None`: that takes a compile
    /// of the whole world, and the roll is void.
    pub(super) fn change(&mut self, before: Option<Member<'_>>, after: Option<Member<'_>>) -> Option<Change> {
        self.book.read::<Book<'_>>()?.change(&mut self.roll, before, after)
    }
}

/// Writes down the numbers of a compile of everything, before what they stand for is in a map: a number that stands in one
/// is never given to something else.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn save(
    store: &LockedStore,
    before: &Numbers,
    now: &Numbers,
    small: Option<&(Book<'_>, Roll)>,
) -> Result<()> {
    // Without companions all must be in the one file.
    if now != before || small.is_none() {
        store.save_numbers(now)?;
    }
    match small {
        Some((book, roll)) => {
            store.save_companion(Companion::Book, book)?;
            store.save_companion(Companion::Roll, roll)?;
        }
        // Those of an earlier world would look as if they could not be read.
        None => store.remove_companions()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::policy::compile_to_change;
    use crate::model::World;
    use crate::store::{LOCK_TIMEOUT, Paths, PathsOptions};

    /// A roll that cannot be read may have given numbers that stand in the maps: none of them is given again.
    #[test]
    fn a_roll_that_cannot_be_read_takes_its_numbers_along() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| Some(dir.path().join(name));
        let options =
            PathsOptions { state_dir: at("state"), run_dir: at("run"), bpffs: at("bpf"), cgroup: None };
        let store = Store::new(Paths::resolve(options).unwrap()).lock(LOCK_TIMEOUT).unwrap();
        let compile =
            |numbers: &Numbers| compile_to_change(&World::default(), &[].into(), numbers, 1000).unwrap();
        let (tables, small) = compile(&Numbers::default());
        save(&store, &Numbers::default(), &tables.numbers, small.as_ref()).unwrap();
        let known = read(&store).unwrap();
        assert_eq!(known, tables.numbers);
        assert!(Small::read(&store).unwrap().is_some());
        let roll = dir.path().join("run/roll");
        let whole = std::fs::read(&roll).unwrap();
        std::fs::write(&roll, &whole[..whole.len() - 1]).unwrap();
        assert!(Small::read(&store).unwrap().is_none());
        let mut skipped = tables.numbers.clone();
        skipped.skip();
        assert_ne!(skipped, tables.numbers);
        assert_eq!(read(&store).unwrap(), skipped);
        // Once all is in the one file, nothing is left to be passed over.
        save(&store, &skipped, &skipped, None).unwrap();
        assert_eq!(read(&store).unwrap(), skipped);
    }
}
