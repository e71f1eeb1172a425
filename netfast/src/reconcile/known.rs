//! What a face has to know of an instance before it asks for something.

use anyhow::Result;

use super::instance::{Instance, Options};
use crate::model::{Name, Network};
use crate::store::{Paths, PolicyDirectory, Store};

/// What an attachment depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The network of the name that was asked for.
    pub network: Option<Network>,
    /// The directory of policies that is followed.
    pub policy_directory: Option<PolicyDirectory>,
}

impl Instance {
    /// The directory of policies that a container runtime has told of. Takes no lock.
    ///
    /// # Errors
    /// When a state file cannot be read.
    pub fn policy_directory(options: &Options) -> Result<Option<PolicyDirectory>> {
        let store = Store::new(Paths::resolve(options.paths.clone())?);
        Ok(store.definitions()?.policy_directory)
    }

    /// What an attachment to a network depends on, read from as little as will do.
    ///
    /// # Errors
    /// When a state file cannot be read.
    pub fn known(&self, network: &Name) -> Result<Known> {
        if let Some(ledger) = self.take_ledger()? {
            let network = ledger.networks.get(network).cloned();
            let policy_directory = ledger.policy_directory.clone();
            self.give_back(ledger);
            return Ok(Known { network, policy_directory });
        }
        let definitions = self.definitions()?;
        let network = definitions.world.networks.get(network).cloned();
        Ok(Known { network, policy_directory: definitions.policy_directory.clone() })
    }
}
