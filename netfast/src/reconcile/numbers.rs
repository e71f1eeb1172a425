//! The numbers that stand in the maps, as the last change of everything and those of single endpoints since have left
//! them.

use anyhow::Result;

use crate::compile::policy::{Book, Numbers, Roll};
use crate::store::{Companion, LockedStore, Store};

/// The numbers there are.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn read(store: &Store) -> Result<Numbers> {
    let mut numbers: Numbers = store.numbers()?.unwrap_or_default();
    if let Some(roll) = store.companion::<Roll>(Companion::Roll)? {
        roll.update(&mut numbers);
    }
    Ok(numbers)
}

/// What a change of one endpoint goes by; `None`: there is nothing of the kind.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn small(store: &Store) -> Result<Option<(Book, Roll)>> {
    let book = store.companion(Companion::Book)?;
    Ok(book.zip(store.companion(Companion::Roll)?))
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
    small: Option<&(Book, Roll)>,
) -> Result<()> {
    // Without companions all must be in the one file.
    if now != before || small.is_none() {
        store.save_numbers(now)?;
    }
    if let Some((book, roll)) = small {
        store.save_companion(Companion::Book, book)?;
        store.save_companion(Companion::Roll, roll)?;
    }
    Ok(())
}
