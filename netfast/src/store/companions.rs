//! Companions of the numbers: what a change of one endpoint needs of the policies and leaves behind, in a form that is
//! read in a fraction of the time of JSON.
//!
//! Each says of which file of numbers it is a companion; beside another one it is void.

use std::path::PathBuf;

use serde::Serialize;

use super::stamp::Stamp;
use super::{LockedStore, Result, Store, Written, atomic};

/// Which companion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Companion {
    /// What policies say.
    Book,
    /// Who is who.
    Roll,
}

impl Companion {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::Book, Self::Roll];

    const fn file_name(self) -> &'static str {
        match self {
            Self::Book => "book",
            Self::Roll => "roll",
        }
    }
}

/// Form of the companions. Another form of one takes another number: one of another form is as good as none.
const FORM: [u8; 8] = *b"policy 3";

impl Store {
    pub(super) fn companion_file(&self, companion: Companion) -> PathBuf {
        self.paths().run_dir.join(companion.file_name())
    }

    /// Whether there is a file of a companion, be it void or not.
    pub fn has_companion(&self, companion: Companion) -> bool {
        self.companion_file(companion).exists()
    }

    /// A companion of the numbers there are.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn companion(&self, companion: Companion) -> Result<Option<Written>> {
        let Some(numbers) = Stamp::of(&self.numbers_file())? else { return Ok(None) };
        Written::at(&self.companion_file(companion), FORM, &numbers)
    }
}

impl LockedStore {
    /// Writes a companion of the numbers there are. Where there is no room for it there is none, and the next change looks at
    /// everything.
    ///
    /// # Errors
    /// When it cannot be written, and the one before it cannot be removed.
    pub fn save_companion<T: Serialize>(&self, companion: Companion, content: &T) -> Result<()> {
        let Some(numbers) = Stamp::of(&self.numbers_file())? else { return Ok(()) };
        Written::put(&self.companion_file(companion), FORM, &numbers, content, &[])
    }

    /// Removes them all.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_companions(&self) -> Result<()> {
        let files = Companion::ALL.map(|companion| self.companion_file(companion));
        files.iter().try_for_each(|file| atomic::remove(file).map(drop))
    }
}
