//! The ledger: what a change of one endpoint has to know of all the others, so that it need not read their records.
//!
//! It is there only while nothing is under way: a command that changes something takes it away first and writes it when
//! all is done. So one that is there is true, and where it is missing, somebody was killed or nothing was ever done.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{LockedStore, Result, Store, StoreError, atomic};

const ADVICE: &str = "remove it: it is written anew";

/// A ledger with what tells whether it is about the definitions there are.
#[derive(Serialize, Deserialize)]
struct Stamped<T> {
    definitions: Stamp,
    ledger: T,
}

/// A file, told from one that took its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Store {
    pub(super) fn ledger_file(&self) -> PathBuf {
        self.paths().run_dir.join("ledger.json")
    }

    /// `None`: there are no definitions.
    fn stamp(&self) -> Result<Option<Stamp>> {
        let path = self.definitions_file();
        match std::fs::metadata(&path) {
            Ok(about) => Ok(Some(Stamp {
                inode: about.ino(),
                size: about.size(),
                modified: (about.mtime(), about.mtime_nsec()),
            })),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::file("look at", path, e)),
        }
    }
}

impl LockedStore {
    /// The ledger, if there is one and it is about the definitions there are.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn ledger<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let stamped = match atomic::read::<Stamped<T>>(&self.ledger_file(), ADVICE) {
            // Another netfast's; it is as good as none.
            Err(StoreError::Corrupt { .. }) => None,
            other => other?,
        };
        let now = self.stamp()?;
        Ok(stamped.filter(|stamped| Some(&stamped.definitions) == now.as_ref()).map(|stamped| stamped.ledger))
    }

    /// Takes the ledger away: something is under way.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove_ledger(&self) -> Result<()> {
        atomic::remove(&self.ledger_file()).map(drop)
    }

    /// Writes the ledger: all is done.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_ledger<T: Serialize>(&self, ledger: T) -> Result<()> {
        match self.stamp()? {
            Some(definitions) => atomic::write_compact(&self.ledger_file(), &Stamped { definitions, ledger }),
            None => Ok(()),
        }
    }
}
