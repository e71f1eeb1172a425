//! The ledger: what a change of one endpoint has to know of all the others, so that it need not read their records.
//!
//! It is there only while nothing is under way: a command that changes something takes it away first and writes it when
//! all is done. So one that is there is true, as long as the definitions and their amendments are those it was written beside;
//! and where it is missing, somebody was killed or nothing was ever done.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{LockedStore, Result, Store, Tail, Written, atomic};

/// Form of the ledger. Another form of it takes another number: one of another form is as good as none.
const FORM: [u8; 8] = *b"ledger 9";

impl Store {
    pub(super) fn ledger_file(&self) -> PathBuf {
        // Called so by every netfast, as each takes away what another one wrote; no JSON since the form has a number.
        self.paths().run_dir.join("ledger.json")
    }
}

impl LockedStore {
    /// The ledger, if there is one and it is about the definitions there are.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn ledger<T: DeserializeOwned>(&self) -> Result<Option<(T, Tail)>> {
        let Some(definitions) = self.stamp_of_definitions()? else { return Ok(None) };
        let written = Written::at(&self.ledger_file(), FORM, &definitions)?;
        Ok(written.and_then(Written::read_with_tail))
    }

    /// Takes the ledger away: something is under way.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove_ledger(&self) -> Result<()> {
        atomic::remove(&self.ledger_file()).map(drop)
    }

    /// Writes the ledger: all is done. Where there is no room for it there is none, and the next change looks at everything.
    ///
    /// # Errors
    /// When it cannot be written, and the one before it cannot be removed.
    pub fn save_ledger<T: Serialize>(&self, ledger: T, tail: &[u8]) -> Result<()> {
        let Some(definitions) = self.stamp_of_definitions()? else { return Ok(()) };
        Written::put(&self.ledger_file(), FORM, &definitions, &ledger, tail)
    }
}
