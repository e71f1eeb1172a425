//! Companions of the numbers: what a change of one endpoint needs of the policies and leaves behind, in a form that is
//! read in a fraction of the time of JSON.
//!
//! Each says of which file of numbers it is a companion; beside another one it is void.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use super::{LockedStore, Result, Store, atomic};

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

#[derive(Serialize, Deserialize)]
struct Stamped<T> {
    numbers: Stamp,
    content: T,
}

impl Store {
    pub(super) fn companion_file(&self, companion: Companion) -> PathBuf {
        self.paths().run_dir.join(companion.file_name())
    }

    /// A companion of the numbers there are.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn companion<T: DeserializeOwned>(&self, companion: Companion) -> Result<Option<T>> {
        let Some(bytes) = atomic::read_bytes(&self.companion_file(companion))? else { return Ok(None) };
        let Some(numbers) = Stamp::of(&self.numbers_file())? else { return Ok(None) };
        // One that cannot be understood is another netfast's, and as good as none.
        let Ok((stamp, content)) = postcard::take_from_bytes::<Stamp>(&bytes) else { return Ok(None) };
        if stamp != numbers {
            return Ok(None);
        }
        Ok(postcard::from_bytes(content).ok())
    }
}

impl LockedStore {
    /// Writes a companion of the numbers there are.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_companion<T: Serialize>(&self, companion: Companion, content: &T) -> Result<()> {
        match Stamp::of(&self.numbers_file())? {
            Some(numbers) => {
                atomic::write_binary(&self.companion_file(companion), &Stamped { numbers, content })
            }
            None => Ok(()),
        }
    }

    /// Removes them all.
    pub(super) fn remove_companions(&self) -> Result<()> {
        let files = Companion::ALL.map(|companion| self.companion_file(companion));
        files.iter().try_for_each(|file| atomic::remove(file).map(drop))
    }
}
