//! Takes away what records tell nothing of any more, as they are damaged or lost: by aliases, pins, and places that only one instance
//! has.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::host::netns_dir;
use super::owner::Owner;
use super::{commands, topology};
use crate::kernel::{Bpffs, Datapath, pinned_devices};
use crate::net::{Link, Netlink, Netns};
use crate::store::{LockedStore, NetnsId, Salvage, StoreError, fault};

/// Whether what the instance has is in this namespace. Where its own file is damaged, the maps tell.
///
/// # Errors
/// When it is in another one, and nothing tells whether that still is there.
pub(super) fn is_of(store: &LockedStore, netns: &NetnsId) -> Result<bool> {
    let damage = match store.instance() {
        Ok(instance) => return Ok(instance.is_none_or(|instance| instance.netns.cookie == netns.cookie)),
        Err(error @ StoreError::Corrupt { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    match cookie(store) {
        Some(cookie) if cookie != netns.cookie => {
            let file = store.paths().run_dir.join("instance.json");
            Err(damage).with_context(|| {
                format!(
                    "the instance belongs to another network namespace (run netfast there; if that is gone, remove {})",
                    file.display()
                )
            })
        }
        _ => Ok(true),
    }
}

/// The cookie of the namespace that the maps were made for, if there are any.
pub(super) fn cookie(store: &LockedStore) -> Option<u64> {
    let datapath = Datapath::open(&Bpffs::at(&store.paths().bpffs)).ok().flatten()?;
    let config = datapath.maps.config.get(0).ok()?;
    Some(config.netns_cookie).filter(|cookie| *cookie != 0)
}

/// Removes the devices that damaged records were about, with those that no record tells of though programs of this instance
/// are attached to them. Before the pins go, which show whose they are.
///
/// # Errors
/// When one cannot be removed. All others are nevertheless.
pub(super) fn remove_devices(netlink: &Netlink, store: &LockedStore, salvage: &Salvage) -> Result<()> {
    let pinned = pinned_devices(&Bpffs::at(&store.paths().bpffs))?;
    let owner = Owner::of(store.paths());
    let links = netlink.links().context("list the host's devices")?;
    let is_called = |link: &Link, alias: &str| link.alias.as_deref() == Some(alias);
    let endpoints: Vec<_> = salvage.damaged_endpoints.iter().map(topology::alias_of_endpoint).collect();
    let networks: Vec<_> = salvage.damaged_networks.iter().map(topology::alias_of_network).collect();
    let is_endpoint = |link: &&Link| {
        let alias = link.alias.as_deref().unwrap_or_default();
        link.kind.as_deref() == Some("veth")
            && !owner.is_anothers(link)
            && (endpoints.iter().any(|own| own == alias)
                || (pinned.contains(&link.index) && alias.starts_with("netfast endpoint ")))
    };
    let devices: Vec<&Link> = links.iter().filter(is_endpoint).collect();
    let bridges: BTreeSet<u32> = devices.iter().filter_map(|link| link.controller).collect();
    let is_bridge = |link: &&Link| {
        let has_foreign_ports = || {
            links.iter().any(|port| {
                port.controller == Some(link.index) && !devices.iter().any(|d| d.index == port.index)
            })
        };
        let is_ours = (bridges.contains(&link.index) || pinned.contains(&link.index))
            && link.alias.as_deref().is_some_and(|alias| alias.starts_with("netfast network "));
        link.kind.as_deref() == Some("bridge")
            && !owner.is_anothers(link)
            && (is_ours || networks.iter().any(|alias| is_called(link, alias)))
            && !has_foreign_ports()
    };
    let found = devices.iter().copied().chain(links.iter().filter(is_bridge));
    let mut result = Ok(());
    for link in found {
        fault::point("remove a device that no record tells of");
        let removed = netlink.delete_link(link.index).map(drop);
        result = result.and(removed.with_context(|| format!("remove the device {}", link.name)));
    }
    result
}

/// Stops the commands and removes the namespaces that no record tells of.
///
/// # Errors
/// When something cannot be stopped or removed. Everything else is nevertheless.
pub(super) fn remove_places(run_dir: &Path) -> Result<()> {
    let mut result = commands::stop_all(run_dir);
    let directory = netns_dir(run_dir);
    for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
        fault::point("remove a namespace that no record tells of");
        let removed = Netns::remove(&entry.path());
        result = result.and(removed.context("remove a network namespace that no record tells of"));
    }
    result
}
