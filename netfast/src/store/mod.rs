//! The only user of the state files.
//!
//! *Definitions*, what an instance was asked for, live in the state directory and survive a reboot. What was made of
//! them lives in the run directory, on a tmpfs: a reboot voids it together with the kernel's objects. Everything is
//! written by rename, under one lock for the whole instance; whoever holds it has a [`LockedStore`].

mod amendments;
mod atomic;
mod attachments;
mod companions;
mod defined;
mod definitions;
mod error;
pub mod fault;
mod last_addresses;
mod ledger;
mod lock;
mod paths;
pub mod placed;
mod policy_directory;
mod readers;
mod records;
mod run;
mod stamp;
mod tail;
mod written;

use std::io;
use std::ops::Deref;
use std::time::Duration;

pub use self::amendments::{Amendment, Defined};
pub use self::atomic::Prepared;
pub use self::attachments::{AttachmentKey, AttachmentRecord};
pub use self::companions::Companion;
pub use self::defined::DefinedEndpoints;
pub use self::definitions::{Definitions, Origin, SCHEMA};
pub use self::error::StoreError;
pub use self::paths::{Paths, PathsOptions, hash};
pub use self::policy_directory::PolicyDirectory;
pub use self::readers::ReaderPlace;
pub use self::records::{
    AdoptedRecord, CommandRecord, EndpointRecord, NetworkRecord, PublishRecord, Salvage,
};
pub use self::run::{DefragRecord, Instance, NetnsId};
pub use self::tail::Tail;
pub use self::written::Written;

use self::lock::Lock;

/// Result of an operation on the state files.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// How long to wait for the lock. A change takes milliseconds; a whole network of a thousand endpoints, seconds.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// The state of an instance, for reading. Readers need no lock: every file is whole at any time.
#[derive(Clone, Debug)]
pub struct Store {
    paths: Paths,
}

impl Store {
    /// The state at these paths, which need not exist yet.
    pub const fn new(paths: Paths) -> Self {
        Self { paths }
    }

    /// Where it is.
    pub const fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Waits for the instance's lock, makes the directories, and removes what a killed writer left.
    ///
    /// # Errors
    /// When another process keeps the lock for longer than `timeout`, or a directory cannot be made.
    pub fn lock(&self, timeout: Duration) -> Result<LockedStore> {
        let mut lock = Lock::acquire(&self.paths.run_dir, timeout)?;
        // From the outside in.
        for directory in self.directories().iter().rev() {
            atomic::make_directory(directory)?;
        }
        if lock.was_left() {
            for directory in self.directories() {
                atomic::sweep(&directory)?;
            }
            lock.tidied();
        }
        Ok(LockedStore { store: self.clone(), lock })
    }

    /// Whether the instance has any state: it was set up, wholly or in part, and not removed.
    pub fn exists(&self) -> bool {
        self.definitions_file().exists()
            || self.instance_file().exists()
            || self.has_records()
            || self.has_attachments()
    }

    /// Whether a change of the instance was ever completed.
    pub fn has_definitions(&self) -> bool {
        self.definitions_file().exists()
    }

    fn directories(&self) -> [std::path::PathBuf; 6] {
        // From the inside out, as they are removed.
        [
            self.endpoints_dir(),
            self.networks_dir(),
            self.attachments_dir(),
            self.amendments_dir(),
            self.paths.run_dir.clone(),
            self.paths.state_dir.clone(),
        ]
    }
}

/// The state of an instance, locked for writing until dropped.
#[derive(Debug)]
pub struct LockedStore {
    store: Store,
    lock: Lock,
}

impl Deref for LockedStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl LockedStore {
    /// Removes every file and, where nothing else is in them, the directories; the lock's file last. Those who wait for
    /// the lock make a new one, so nothing may be done with this one any more.
    ///
    /// # Errors
    /// When something cannot be removed. Everything that can be removed is removed nevertheless.
    pub fn remove_all(&self) -> Result<()> {
        let mut result = self.remove_run_files();
        result = result.and(self.remove_definitions().map(drop));
        for directory in self.directories() {
            result = result.and(atomic::sweep(&directory));
        }
        let [endpoints, networks, attachments, amendments, run, state] = self.directories();
        for directory in [endpoints, networks, attachments, amendments, state] {
            result = result.and(remove_if_empty(&directory));
        }
        // Last, so that nobody gets in while there is something left to remove.
        result.and(self.lock.remove()).and(remove_if_empty(&run))
    }
}

fn remove_if_empty(directory: &std::path::Path) -> Result<()> {
    match std::fs::remove_dir(directory) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        // A mount point, made by somebody else.
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => Ok(()),
        Err(e) => Err(StoreError::file("remove", directory, e)),
    }
}

#[cfg(test)]
mod amendments_tests;
#[cfg(test)]
mod sync_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod written_tests;
