//! Removes a datapath, whole or in pieces.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::attach::{detach_filter, device_of};
use super::bpffs::{Bpffs, Pins, list, unlink};
use super::load::Datapath;
use super::{KernelError, Result, link};

impl Datapath {
    /// Removes everything that is pinned in `bpffs`, of whatever layout version: first the links, which takes the
    /// programs out of the packets' way, then the programs and the maps. The directory itself is left to
    /// [`Bpffs::release`].
    ///
    /// It works from any network namespace, with one exception: clsact filters, which kernels before 6.6 use, can
    /// be removed only in the namespace of their device; elsewhere they go with the device.
    ///
    /// # Errors
    /// When a pin cannot be removed. Everything that can be removed is removed nevertheless.
    pub fn remove(bpffs: &Bpffs) -> Result<()> {
        let mut result = Ok(());
        for pins in bpffs.all_pins()? {
            result = result.and(remove_pins(&pins));
        }
        result
    }
}

/// Indices of the devices that programs pinned in `bpffs` are or were attached to.
///
/// # Errors
/// When the pins cannot be listed.
pub fn pinned_devices(bpffs: &Bpffs) -> Result<BTreeSet<u32>> {
    let mut devices = BTreeSet::new();
    for pins in bpffs.all_pins()? {
        devices.extend(list(&pins.links())?.iter().filter_map(|name| device_of(name)));
    }
    Ok(devices)
}

/// Removes one set of pins. Goes on after a failure and returns the first one.
pub(super) fn remove_pins(pins: &Pins) -> Result<()> {
    let links = pins.links();
    for name in list(&links)? {
        detach_filter(&links, &name);
    }
    let mut result = Ok(());
    for name in list(&links)? {
        result = result.and(link::remove(&links.join(name)));
    }
    for name in list(&pins.0)? {
        result = result.and(remove_pins_in(&pins.0.join(name)));
    }
    result.and(remove_directory(&pins.0))
}

/// Removes a directory of pins, or what is in its place.
pub(super) fn remove_pins_in(directory: &Path) -> Result<()> {
    if directory.exists() && !directory.is_dir() {
        return unlink(directory);
    }
    empty(directory).and(remove_directory(directory))
}

fn empty(directory: &Path) -> Result<()> {
    let mut result = Ok(());
    for name in list(directory)? {
        result = result.and(unlink(&directory.join(name)));
    }
    result
}

fn remove_directory(directory: &Path) -> Result<()> {
    match fs::remove_dir(directory) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(KernelError::file("remove", directory, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ip, loaded};
    use super::super::{Hook, Mode};
    use super::*;

    #[test]
    fn nothing_is_left_though_half_is_missing() {
        loaded(|bpffs, datapath| {
            ip("link add nf0 type veth peer name nf1");
            datapath.attach(Hook::EndpointIngress, "nf0", Mode::Auto).unwrap();
            fs::remove_file(datapath.pins.program("from_endpoint")).unwrap();
            fs::remove_file(datapath.pins.maps().join("NF_FLOW")).unwrap();
            Datapath::remove(bpffs).unwrap();
            // The root of a mount has two files of the kernel's own, `maps.debug` and `progs.debug`.
            assert!(list(bpffs.directory()).unwrap().iter().all(|name| name.contains('.')));
            Datapath::remove(bpffs).unwrap();
            bpffs.release().unwrap();
            assert!(!bpffs.directory().exists());
            Datapath::remove(bpffs).unwrap();
        });
    }
}
