//! The addresses that were given last in each network, so that one that is free again is not given again at once.

use std::net::IpAddr;
use std::path::PathBuf;

use super::records::file_stem;
use super::{LockedStore, Result, Store, StoreError, atomic};
use crate::model::Name;

const ADVICE: &str = "remove it: it is written anew";

/// What the files are called.
pub(super) const EXTENSION: &str = "last";

impl Store {
    fn last_addresses_file(&self, network: &Name) -> PathBuf {
        self.attachments_dir().join(format!("{}.{EXTENSION}", file_stem(network.as_str())))
    }

    /// The addresses of a network that were given last, one of each family. A damaged file says nothing, and is written anew
    /// with the next address.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn last_addresses(&self, network: &Name) -> Result<Vec<IpAddr>> {
        match atomic::read(&self.last_addresses_file(network), ADVICE) {
            Err(StoreError::Corrupt { .. }) => Ok(Vec::new()),
            other => Ok(other?.unwrap_or_default()),
        }
    }
}

impl LockedStore {
    /// Notes what was given last.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_last_addresses(&self, network: &Name, addresses: &[IpAddr]) -> Result<()> {
        atomic::write_compact(&self.last_addresses_file(network), addresses)
    }
}
