//! The ledger: what a change of one endpoint has to know of all the others, so that it need not read their records; and apart
//! from that the definitions of those that no container runtime has attached, as a command may change one of them.
//!
//! They are there only while nothing is under way: a command that changes something takes it away first and writes it when
//! all is done. So a ledger that is there is true, and what is defined beside it; and where it is missing, somebody was killed or nothing was ever done.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use super::{Defined, Definitions, LockedStore, Origin, Result, Store, Written, atomic};
use crate::model::{Endpoint, EndpointId};

/// Form of the ledger. Another form of it takes another number: one of another form is as good as none.
const FORM: [u8; 8] = *b"ledger 4";

/// Form of what is defined, likewise.
const FORM_OF_DEFINED: [u8; 8] = *b"defined1";

/// What a command that changes one endpoint needs of the definitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinedEndpoints {
    /// The writing of the definitions.
    pub writing: String,
    /// The endpoints, but for what container runtimes have attached.
    pub endpoints: BTreeMap<EndpointId, Defined>,
}

impl DefinedEndpoints {
    /// Those of `definitions`.
    pub fn of(definitions: &Definitions) -> Self {
        let defined = |(id, endpoint): (&EndpointId, &Endpoint)| {
            let origin = definitions.origins.get(id).copied().filter(|origin| *origin != Origin::Cni)?;
            Some((id.clone(), Defined { origin, endpoint: endpoint.clone() }))
        };
        Self {
            writing: definitions.writing.clone(),
            endpoints: definitions.world.endpoints.iter().filter_map(defined).collect(),
        }
    }
}

impl Store {
    pub(super) fn ledger_file(&self) -> PathBuf {
        // Called so by every netfast, as each takes away what another one wrote; no JSON since the form has a number.
        self.paths().run_dir.join("ledger.json")
    }

    fn defined_file(&self) -> PathBuf {
        self.paths().run_dir.join("defined")
    }
}

impl LockedStore {
    /// The ledger, if there is one and it is about the definitions there are.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn ledger<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(definitions) = Stamp::of(&self.definitions_file())? else { return Ok(None) };
        let written = Written::at(&self.ledger_file(), FORM, &definitions)?;
        Ok(written.and_then(|written| written.read()))
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
    pub fn save_ledger<T: Serialize>(&self, ledger: T) -> Result<()> {
        let Some(definitions) = Stamp::of(&self.definitions_file())? else { return Ok(()) };
        Written::put(&self.ledger_file(), FORM, &definitions, &ledger)
    }

    /// What is defined, as it was when the ledger was written that is there. `None`: that is not known.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn defined_endpoints(&self) -> Result<Option<DefinedEndpoints>> {
        let Some(definitions) = Stamp::of(&self.definitions_file())? else { return Ok(None) };
        let written = Written::at(&self.defined_file(), FORM_OF_DEFINED, &definitions)?;
        Ok(written.and_then(|written| written.read()))
    }

    /// Writes down what is defined, before the ledger. Where there is no room for it, it is not known.
    ///
    /// # Errors
    /// When it cannot be written, and what was known before cannot be removed.
    pub fn save_defined_endpoints(&self, defined: &DefinedEndpoints) -> Result<()> {
        let Some(definitions) = Stamp::of(&self.definitions_file())? else { return Ok(()) };
        Written::put(&self.defined_file(), FORM_OF_DEFINED, &definitions, defined)
    }

    /// Removes both, for good.
    pub(super) fn remove_ledger_files(&self) -> Result<()> {
        self.remove_ledger().and(atomic::remove(&self.defined_file()).map(drop))
    }
}
