//! Whether a container could be attached now.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;

use super::assign::Addresses;
use super::instance::Instance;
use crate::kernel::{Bpffs, Datapath, check_object};
use crate::model::{Endpoint, Network};
use crate::store::EndpointRecord;

/// Why no container could be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// In plain words.
    pub why: String,
    /// Those that are attached suffer from it too.
    pub is_limited: bool,
}

impl Instance {
    /// Looks whether a container could be attached. What it has to try, it takes back.
    ///
    /// # Errors
    /// When none could.
    pub fn readiness(&self) -> Result<(), NotReady> {
        let new = |why: String| NotReady { why, is_limited: false };
        check_object().map_err(|e| new(e.to_string()))?;
        let bpffs = Bpffs::at(&self.store().paths().bpffs);
        let is_set_up = self.store().instance().map_err(|e| new(e.to_string()))?.is_some();
        if !is_set_up {
            let made = Bpffs::ensure(&self.store().paths().bpffs).map(drop);
            return made.and_then(|()| bpffs.release()).map_err(|e| new(e.to_string()));
        }
        let why = match Datapath::open(&bpffs) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {
                format!("the programs are not loaded any more ({} is empty)", bpffs.directory().display())
            }
            Err(e) => e.to_string(),
        };
        let is_limited = self.store().endpoints().is_ok_and(|endpoints| !endpoints.is_empty());
        Err(NotReady { why, is_limited })
    }

    /// Why an endpoint of the network would not get the addresses it asks for, if so.
    ///
    /// # Errors
    /// When a state file cannot be read.
    pub fn exhausted(&self, network: &Network, asked: &Endpoint) -> Result<Option<String>> {
        let records = self.store().endpoints()?;
        let used: BTreeSet<IpAddr> = records.values().flat_map(EndpointRecord::addresses).collect();
        Ok(Addresses::taken(used).take(asked, network).err().map(|error| error.to_string()))
    }
}
