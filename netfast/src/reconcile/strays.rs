//! What an instance left whose records are gone, as somebody removed the run directory. Its pins tell which devices are its
//! own, and their aliases which of them netfast made.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::kernel::{Bpffs, Datapath};
use crate::net::{Link, Netlink, Netns};

/// Removes the devices of endpoints, their bridges, the device for fragments, and the namespaces that are mounted in
/// `namespaces`. `false`: what is pinned, if anything is, is not of the namespace with this cookie.
///
/// # Errors
/// When something cannot be removed.
pub(super) fn remove(bpffs: &Bpffs, namespaces: &Path, netns: &Netns, cookie: u64) -> Result<bool> {
    // What cannot be opened tells nothing.
    let Ok(Some(datapath)) = Datapath::open(bpffs) else { return Ok(false) };
    if datapath.maps.config.get(0)?.netns_cookie != cookie {
        return Ok(false);
    }
    let attached: BTreeSet<u32> = datapath.attached()?.iter().map(|attached| attached.ifindex).collect();
    let netlink = Netlink::open(netns)?;
    let links = netlink.links()?;
    let made = |link: &&Link| link.alias.as_deref().is_some_and(|alias| alias.starts_with("netfast "));
    let devices = || links.iter().filter(|link| attached.contains(&link.index)).filter(made);
    let bridges: BTreeSet<u32> = devices().filter_map(|link| link.controller).collect();
    let bridges = links.iter().filter(|link| bridges.contains(&link.index)).filter(made);
    for link in devices().chain(bridges) {
        netlink.delete_link(link.index).with_context(|| format!("remove {}", link.name))?;
    }
    for entry in fs::read_dir(namespaces).into_iter().flatten().flatten() {
        Netns::remove(&entry.path())?;
    }
    Ok(true)
}
