//! What others change at the devices of endpoints: a plugin that comes later may give an interface another MAC address, or
//! hold packets back at the host's end. Nobody calls netfast then.

use anyhow::Result;
use netfast_common::rows::{ENDPOINT_HELD, ENDPOINT_PLAIN};

use super::adopt;
use super::assign::Records;
use super::facts::{self, Facts};
use super::instance::Instance;
use crate::kernel::{Bpffs, Datapath};
use crate::model::World;
use crate::net::Netlink;

impl Instance {
    /// Takes note of what others have changed. Says whether that was anything.
    ///
    /// # Errors
    /// When a state file or the kernel cannot be read, or the kernel refuses.
    pub fn follow(&mut self) -> Result<bool> {
        let has_drifted = self.has_drifted()?;
        if has_drifted {
            self.converge_as_before()?;
        }
        Ok(has_drifted)
    }

    /// Whether uplinks, queues or MAC addresses are others than the rows say.
    ///
    /// # Errors
    /// When a state file or the kernel cannot be read.
    pub(super) fn has_drifted(&self) -> Result<bool> {
        let netlink = Netlink::open(self.netns())?;
        let records = Records { networks: self.store().networks()?, endpoints: self.store().endpoints()? };
        if !adopt::check(&netlink, &records).is_empty() {
            return Ok(true);
        }
        let Some(datapath) = Datapath::open(&Bpffs::at(&self.store().paths().bpffs))? else {
            return Ok(false);
        };
        let world = &self.definitions()?.world;
        let facts = facts::look(&netlink, &records, world.uplinks.as_ref())?;
        Ok(has_other_uplinks(&facts, &datapath)?
            || is_held_back_otherwise(&facts, &datapath, world, &records)?)
    }
}

/// Whether the host has other uplinks than the rows say: a plugin may have made a device, as one to hold packets back.
fn has_other_uplinks(facts: &Facts, datapath: &Datapath) -> Result<bool> {
    let known = datapath.maps.uplinks.to_map()?;
    Ok(!facts.uplinks.iter().map(|uplink| uplink.ifindex).eq(known.into_keys()))
}

/// Whether packets have to go another way than the rows of endpoints say.
fn is_held_back_otherwise(
    facts: &Facts,
    datapath: &Datapath,
    world: &World,
    records: &Records,
) -> Result<bool> {
    for record in records.endpoints.values() {
        let (Some(endpoint), Some(ifindex)) = (world.endpoints.get(&record.id), record.host_ifindex) else {
            continue;
        };
        let Some(row) = datapath.maps.endpoints.get(&ifindex)? else { continue };
        let is = (row.flags & ENDPOINT_PLAIN == 0, row.flags & ENDPOINT_HELD != 0);
        if is != (facts.is_redirected(endpoint, ifindex), facts.is_held(endpoint, ifindex)) {
            return Ok(true);
        }
    }
    Ok(false)
}
