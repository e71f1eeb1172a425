//! What others change at the devices of endpoints: a plugin that comes later may give an interface another MAC address, or
//! hold packets back at the host's end. Nobody calls netfast then.

use anyhow::{Context as _, Result};
use netfast_common::rows::{ENDPOINT_HELD, ENDPOINT_PLAIN};

use super::adopt;
use super::assign::Records;
use super::facts::Facts;
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
        let netlink = Netlink::open(self.netns())?;
        let records = Records { networks: self.store().networks()?, endpoints: self.store().endpoints()? };
        let has_changed = !adopt::check(&netlink, &records).is_empty() || {
            let Some(datapath) = Datapath::open(&Bpffs::at(&self.store().paths().bpffs))? else {
                return Ok(false);
            };
            is_held_back_otherwise(&netlink, &datapath, &self.definitions()?.world, &records)?
        };
        if has_changed {
            self.converge_as_before()?;
        }
        Ok(has_changed)
    }
}

/// Whether packets have to go another way than the rows of endpoints say.
fn is_held_back_otherwise(
    netlink: &Netlink,
    datapath: &Datapath,
    world: &World,
    records: &Records,
) -> Result<bool> {
    let facts = Facts::of_queueing(netlink).context("list the host's queueing disciplines")?;
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
