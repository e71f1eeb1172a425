//! What others change at the devices of endpoints: a plugin that comes later may give an interface another MAC address, or
//! hold packets back at the host's end. Nobody calls netfast then.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use netfast_common::rows::{ENDPOINT_HELD, ENDPOINT_PLAIN};

use super::adopt;
use super::assign::Records;
use super::devices::{Device, Devices};
use super::facts::{self, Facts};
use super::instance::Instance;
use super::ledger::Ledger;
use super::surroundings::Surroundings;
use crate::kernel::{Bpffs, Datapath};
use crate::net::{Netlink, Netns};
use crate::store::AttachmentKey;

impl Instance {
    /// Takes note of what others have changed. Says whether that was anything.
    ///
    /// # Errors
    /// When a state file or the kernel cannot be read, or the kernel refuses.
    pub fn follow(&mut self) -> Result<bool> {
        let ledger = match Ledger::read(self.store())? {
            Some(ledger) => ledger,
            None => Ledger::new(
                self.definitions()?,
                &Records::read(self.store())?,
                BTreeSet::new(),
                Surroundings::default(),
            )?,
        };
        let has_drifted = match Datapath::open(&Bpffs::at(&self.store().paths().bpffs))? {
            Some(datapath) => self.has_drifted(&ledger, &datapath)?,
            None => self.has_other_devices(&ledger)?,
        };
        if has_drifted {
            self.converge_as_before()?;
        }
        Ok(has_drifted)
    }

    /// Takes over the MAC address that a plugin which came later gave an attachment's device, as the runtime was told. A change
    /// that the runtime knows nothing of is none of this: the container may have made it, to pass for another one.
    ///
    /// # Errors
    /// When a state file or the kernel cannot be read, or the kernel refuses.
    pub fn follow_mac(&mut self, key: &AttachmentKey, netns: &Netns, told: [u8; 6]) -> Result<()> {
        let Some(attachment) = self.store().attachment(key)? else { return Ok(()) };
        let mut records = Records::read(self.store())?;
        let Some(mut record) = records.endpoints.remove(&attachment.endpoint.id) else { return Ok(()) };
        if record.adopted.is_some() || record.mac == told || record.netns_inode != Some(netns.inode()?) {
            return Ok(());
        }
        let is_so = Netlink::open(netns)?.link(&key.ifname).is_ok_and(|link| link.mac == Some(told));
        let is_anothers = records.endpoints.values().any(|other| other.mac == told)
            || records.networks.values().any(|network| network.mac == told);
        if !is_so || is_anothers {
            return Ok(());
        }
        // Whoever dies after this leaves the rest to the next change.
        self.store().remove_ledger()?;
        self.read_anew();
        let before = std::mem::replace(&mut record.mac, told);
        self.store().save_endpoint(&record)?;
        self.change(|definitions| {
            if let Some(endpoint) = definitions.world.endpoints.get_mut(&record.id) {
                endpoint.mac = Some(told);
            }
            Ok(())
        })?;
        // Who was no port may have become one with this.
        if let (Some(port), false) = (record.host_ifindex, record.apart) {
            Netlink::open(self.netns())?.delete_fdb(port, before)?;
        }
        Ok(())
    }

    /// Whether uplinks, queues or MAC addresses are others than the rows say.
    ///
    /// # Errors
    /// When a state file or the kernel cannot be read.
    pub(super) fn has_drifted(&self, ledger: &Ledger, datapath: &Datapath) -> Result<bool> {
        if self.has_other_devices(ledger)? {
            return Ok(true);
        }
        let netlink = Netlink::open(self.netns())?;
        let networks = self.store().networks()?;
        let devices: Vec<Device<'_>> = ledger.entries.iter().filter_map(|entry| entry.device).collect();
        let own = Devices::new(networks.values(), devices.iter().copied());
        let facts = facts::look(&netlink, &own, ledger.uplinks.as_ref())?;
        Ok(has_other_uplinks(&facts, datapath)? || is_held_back_otherwise(&facts, datapath, &devices)?)
    }

    /// Whether devices that another plugin made are others than were found.
    fn has_other_devices(&self, ledger: &Ledger) -> Result<bool> {
        let mut endpoints = BTreeMap::new();
        let is_adopted = |device: Device<'_>| device.is_adopted();
        for entry in ledger.entries.iter().filter(|entry| entry.device.is_some_and(is_adopted)) {
            if let Some(id) = entry.id()
                && let Some(record) = self.store().endpoint(&id)?
            {
                endpoints.insert(id, record);
            }
        }
        let records = Records { endpoints, ..Records::default() };
        Ok(!adopt::check(&Netlink::open(self.netns())?, &records).is_empty())
    }
}

/// Whether the host has other uplinks than the rows say: a plugin may have made a device, as one to hold packets back.
fn has_other_uplinks(facts: &Facts, datapath: &Datapath) -> Result<bool> {
    let known = datapath.maps.uplinks.to_map()?;
    Ok(!facts.uplinks.iter().map(|uplink| uplink.ifindex).eq(known.into_keys()))
}

/// Whether packets have to go another way than the rows of endpoints say.
fn is_held_back_otherwise(facts: &Facts, datapath: &Datapath, devices: &[Device<'_>]) -> Result<bool> {
    let rows = datapath.maps.endpoints.to_map()?;
    Ok(devices.iter().any(|device| {
        let Some(row) = device.index.and_then(|index| rows.get(&index)) else { return false };
        let is = (row.flags & ENDPOINT_PLAIN == 0, row.flags & ENDPOINT_HELD != 0);
        (Some(is.0), Some(is.1)) != (facts.is_redirected(device), facts.is_held(device))
    }))
}
