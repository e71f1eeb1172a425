//! What is defined of single endpoints, beside the ledger: a command that changes one need not read the definitions of all,
//! and every policy.
//!
//! Written before the ledger, and true where that is: what is under way has none.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Defined, Definitions, LockedStore, Origin, Result, Store, Written, atomic};
use crate::model::{Endpoint, EndpointId};

/// Form of the file. Another form of it takes another number: one of another form is as good as none.
const FORM: [u8; 8] = *b"defined3";

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
    fn defined_file(&self) -> PathBuf {
        self.paths().run_dir.join("defined")
    }
}

impl LockedStore {
    /// What is defined, as it was when the ledger was written that is there. `None`: that is not known.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn defined_endpoints(&self) -> Result<Option<DefinedEndpoints>> {
        let Some(definitions) = self.stamp_of_definitions()? else { return Ok(None) };
        let written = Written::at(&self.defined_file(), FORM, &definitions)?;
        Ok(written.and_then(|written| written.read()))
    }

    /// Writes down what is defined, before the ledger. Where there is no room for it, it is not known.
    ///
    /// # Errors
    /// When it cannot be written, and what was known before cannot be removed.
    pub fn save_defined_endpoints(&self, defined: &DefinedEndpoints) -> Result<()> {
        let Some(definitions) = self.stamp_of_definitions()? else { return Ok(()) };
        Written::put(&self.defined_file(), FORM, &definitions, defined, &[])
    }

    /// Removes what is known of that.
    pub(super) fn remove_defined_endpoints(&self) -> Result<()> {
        atomic::remove(&self.defined_file()).map(drop)
    }
}
