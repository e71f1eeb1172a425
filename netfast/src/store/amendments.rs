//! What has become of single endpoints since the definitions were written: a small file each, so that a change of one of a
//! thousand does not have to write them all, and every policy.
//!
//! Each names the writing of the definitions that it is about. Beside another one it is void: whoever writes all of the
//! definitions puts what the amendments say into them, and by that one step voids them.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::atomic::{self, Prepared};
use super::records::{endpoint_file, is_record};
use super::{Definitions, LockedStore, Origin, Result, Store, StoreError};
use crate::model::{Endpoint, EndpointId};

const ADVICE: &str =
    "nothing was changed; restore it, or remove it to go without that change of one endpoint";

/// A source of numbers that nobody has had before.
const UUIDS: &str = "/proc/sys/kernel/random/uuid";

/// What has become of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amendment {
    /// Which one.
    pub id: EndpointId,
    /// What it is; `None`: it was removed.
    pub now: Option<Defined>,
}

/// An endpoint that is defined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defined {
    /// Where it comes from.
    pub origin: Origin,
    /// What was asked for.
    pub endpoint: Endpoint,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct AmendmentFile<T> {
    /// The writing of the definitions that it is about.
    of: String,
    #[serde(flatten)]
    amendment: T,
}

impl Store {
    pub(super) fn amendments_dir(&self) -> PathBuf {
        self.paths().state_dir.join("amendments")
    }

    fn amendment_files(&self) -> Result<impl Iterator<Item = PathBuf>> {
        let directory = self.amendments_dir();
        let names = atomic::list(&directory)?.into_iter().filter(|name| is_record(name));
        Ok(names.map(move |name| directory.join(name)))
    }

    /// How many there are, void ones among them.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn amendments(&self) -> Result<usize> {
        Ok(self.amendment_files()?.count())
    }

    /// Puts what the amendments say into the definitions they are about.
    pub(super) fn amend(&self, definitions: &mut Definitions) -> Result<()> {
        for path in self.amendment_files()? {
            // One that is removed meanwhile is void.
            let Some(AmendmentFile { of, amendment }) =
                atomic::read::<AmendmentFile<Amendment>>(&path, ADVICE)?
            else {
                continue;
            };
            if of != definitions.writing {
                continue;
            }
            let Amendment { id, now } = amendment;
            if let Some(Defined { origin, endpoint }) = now {
                definitions.origins.insert(id.clone(), origin);
                definitions.world.endpoints.insert(id, endpoint);
            } else {
                definitions.origins.remove(&id);
                definitions.world.endpoints.remove(&id);
            }
        }
        Ok(())
    }
}

impl LockedStore {
    /// Writes down what is to become of one endpoint, without its being so yet. `writing` is that of the definitions.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prepare_amendment(&self, writing: &str, amendment: &Amendment) -> Result<Prepared> {
        let path = self.amendments_dir().join(endpoint_file(&amendment.id));
        Prepared::json(&path, &AmendmentFile { of: writing.to_owned(), amendment })
    }

    pub(super) fn remove_amendments(&self) -> Result<()> {
        self.amendment_files()?.try_for_each(|path| atomic::remove(&path).map(drop))
    }
}

/// What tells a writing of the definitions from every other one.
pub(super) fn new_writing() -> Result<String> {
    let uuid = fs::read_to_string(UUIDS).map_err(|e| StoreError::file("read", UUIDS, e))?;
    Ok(uuid.trim().to_owned())
}
