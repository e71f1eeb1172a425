//! What is taken away: all of an instance, and what an earlier boot, a dead namespace or lost records have left.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::Instance;
use crate::kernel::{Bpffs, Datapath};
use crate::net::Netlink;
use crate::reconcile::host::netns_dir;
use crate::reconcile::owner::Owner;
use crate::reconcile::{commands, defrag, files, monitor, salvage, topology};
use crate::store::{NetnsId, Salvage};

impl Instance {
    /// Removes everything. Returns what there was, one line each.
    ///
    /// # Errors
    /// When something cannot be removed; everything else is removed nevertheless.
    pub fn down(mut self) -> Result<Vec<String>> {
        let Salvage { endpoints, networks, damaged_endpoints, damaged_networks, .. } =
            self.store.salvage()?;
        let networks: BTreeSet<_> = networks.into_keys().chain(damaged_networks).collect();
        let endpoints: BTreeSet<_> = endpoints.into_keys().chain(damaged_endpoints).collect();
        let networks = networks.into_iter().map(|name| format!("network {name}"));
        let removed = networks.chain(endpoints.into_iter().map(|id| format!("endpoint {id}"))).collect();
        self.clear()?;
        self.is_removed = true;
        self.store.remove_all()?;
        Ok(removed)
    }

    /// Voids what an earlier boot or a dead namespace left; refuses what belongs to a living one.
    pub(super) fn settle(&mut self) -> Result<()> {
        let Some(instance) = self.store.instance()? else {
            return self.clear_strays();
        };
        if !instance.is_of_this_boot()? {
            return self.void();
        }
        if instance.netns.cookie == self.netns_id.cookie {
            if let Err(error) = monitor::sweep(&self.store) {
                tracing::warn!(%error, "cannot look for monitors that were killed");
            }
            return Ok(());
        }
        if netns_exists(&instance.netns) {
            bail!(
                "the instance in {} belongs to another network namespace, net:[{}] (run netfast there, or give another --state-dir and --bpffs)",
                self.store.paths().state_dir.display(),
                instance.netns.ino
            );
        }
        tracing::warn!("the network namespace of this instance is gone: removing what it left");
        self.clear()
    }

    /// Removes what is there though no record says so. Whoever names a wrong directory of states has none of this.
    fn clear_strays(&mut self) -> Result<()> {
        let run_dir = self.store.paths().run_dir.clone();
        // What cannot be read was written by somebody, and may be what is to be removed.
        let is_defined = self.definitions().map_or(true, |known| !known.world.networks.is_empty());
        let was_here = netns_dir(&run_dir).exists() || is_defined;
        if was_here && salvage::cookie(&self.store) == Some(self.netns_id.cookie) {
            tracing::warn!("the records of this instance are gone: what it left is removed");
            salvage::remove_devices(&Netlink::open(&self.netns)?, &self.store, &Salvage::default())?;
            salvage::remove_places(&run_dir)?;
            self.clear()?;
        }
        Ok(())
    }

    /// Removes the files that a reboot was to remove, for a run directory that outlived it. No process is stopped: their
    /// numbers are others' now.
    fn void(&self) -> Result<()> {
        let run_dir = &self.store.paths().run_dir;
        for record in self.store.endpoints().unwrap_or_default().values() {
            topology::remove_namespace(record)?;
        }
        let instance = self.store.instance().ok().flatten();
        if let Some(record) = instance.and_then(|instance| instance.defrag) {
            defrag::remove_namespace(&record)?;
        }
        files::remove_directory(&netns_dir(run_dir))?;
        files::remove_all(run_dir)?;
        Ok(self.store.remove_run_files()?)
    }

    /// Removes everything but the definitions: goes on after a failure, and returns the first one. Damaged records are no
    /// failure: what they were about is found otherwise.
    pub(super) fn clear(&mut self) -> Result<()> {
        let run_dir = self.store.paths().run_dir.clone();
        self.ledger.take();
        self.store.remove_ledger()?;
        let is_own = salvage::is_of(&self.store, &self.netns_id)?;
        let netlink = if is_own { Some(Netlink::open(&self.netns)?) } else { None };
        let owner = Owner::of(self.store.paths());
        let salvage = self.store.salvage()?;
        let mut result = Ok(());
        for record in salvage.endpoints.values() {
            result = result.and(commands::stop(&self.store, record));
            if let Some(netlink) = &netlink {
                result = result.and(topology::remove_device(netlink, owner, record));
            }
            result = result.and(topology::remove_namespace(record));
        }
        for record in salvage.networks.values() {
            if let Some(netlink) = &netlink {
                result = result.and(topology::remove_bridge(netlink, record));
            }
        }
        let defrag = match self.store.instance() {
            Ok(Some(instance)) => instance.defrag,
            _ => Some(defrag::usual(self.store.paths())),
        };
        if let Some(record) = defrag {
            if let Some(netlink) = &netlink {
                result = result.and(defrag::remove_device(netlink, &record));
            }
            result = result.and(defrag::remove_namespace(&record));
        }
        if let Some(netlink) = netlink.as_ref().filter(|_| salvage.is_damaged) {
            result = result.and(salvage::remove_devices(netlink, &self.store, &salvage));
            result = result.and(salvage::remove_places(&run_dir));
        }
        let bpffs = Bpffs::at(&self.store.paths().bpffs);
        result = result.and(Datapath::remove(&bpffs).map_err(Into::into));
        result = result.and(bpffs.release().map_err(Into::into));
        result = result.and(files::remove_directory(&netns_dir(&run_dir)));
        result = result.and(files::remove_all(&run_dir));
        // Last, and only if all is gone: the records are what a second try goes by.
        result.and_then(|()| Ok(self.store.remove_run_files()?))
    }
}

/// Whether a network namespace still exists: a process is in it, or a file keeps it.
fn netns_exists(id: &NetnsId) -> bool {
    let wanted = format!("net:[{}]", id.ino);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if mounts.lines().any(|line| line.contains(&wanted)) {
        return true;
    }
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| std::fs::read_link(entry.path().join("ns/net")).ok())
        .any(|link| link.as_os_str() == wanted.as_str())
}
