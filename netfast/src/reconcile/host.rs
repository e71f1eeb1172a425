//! The host a command runs on: its namespace, its netlink socket, its programs, its records.

use std::path::{Path, PathBuf};

use crate::kernel::{Datapath, Mode};
use crate::net::{Netlink, Netns};
use crate::store::LockedStore;

/// What every step needs. Whoever has one holds the instance's lock.
pub(super) struct Host<'a> {
    /// The state files.
    pub store: &'a LockedStore,
    /// The instance's namespace, which is the command's own.
    pub netns: &'a Netns,
    /// A socket in it.
    pub netlink: &'a Netlink,
    /// The programs and maps.
    pub datapath: Datapath,
    /// How programs are attached.
    pub mode: Mode,
    /// Whether this process ends right after, and somebody waits for that: a child is left to see a device to its end.
    pub ends_soon: bool,
}

impl Host<'_> {
    /// Where what a reboot voids is kept.
    pub(super) fn run_dir(&self) -> &Path {
        &self.store.paths().run_dir
    }
}

/// Where the namespaces are kept that netfast makes.
pub(super) fn netns_dir(run_dir: &Path) -> PathBuf {
    run_dir.join("netns")
}
