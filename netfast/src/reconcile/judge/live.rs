//! The living instance, to be asked.

use anyhow::{Result, ensure};

use super::Judge;
use crate::net::{Netlink, Netns};
use crate::reconcile::assign::Records;
use crate::reconcile::converge::assigned;
use crate::reconcile::devices::Devices;
use crate::reconcile::instance::Options;
use crate::reconcile::{facts, numbers, show};
use crate::store::{Paths, Store};

impl Judge {
    /// The instance as it is: the policies in force, and the addresses its endpoints have. Takes no lock.
    ///
    /// # Errors
    /// When nothing is up, or a state file or the host's devices cannot be read.
    pub fn live(options: &Options) -> Result<Self> {
        let store = Store::new(Paths::resolve(options.paths.clone())?);
        let netns = Netns::current()?;
        let instance = show::instance(&store, &netns)?;
        ensure!(instance.is_some(), "nothing is up (netfast up brings it up, -f FILE asks files instead)");
        let mut world = store.definitions()?.world;
        let records = Records::read(&store)?;
        for (id, record) in &records.endpoints {
            if let Some(endpoint) = world.endpoints.get_mut(id) {
                endpoint.publish = record.publish.iter().map(|own| own.publish.clone()).collect();
            }
        }
        let host = facts::look(&Netlink::open(&netns)?, &Devices::of(&records), None)?.addresses;
        Self::new(world, assigned(&records), host, &numbers::read(&store)?)
    }
}
