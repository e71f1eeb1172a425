//! Networks that are there because containers use them, and not because a `netfast.yaml` says so.

use anyhow::{Result, bail};

use super::instance::Instance;
use crate::model::check::check;
use crate::model::{Endpoint, Name, Network};
use crate::store::Definitions;

impl Instance {
    /// Why no container could be in this network, whatever it asks for, if so.
    ///
    /// # Errors
    /// When a state file cannot be read.
    pub fn refusal(&self, network: &Network) -> Result<Option<String>> {
        let mut definitions = self.definitions()?.clone();
        if let Err(error) = define(&mut definitions, network.clone()) {
            return Ok(Some(error.to_string()));
        }
        let problems: Vec<_> = check(&definitions.world).iter().map(ToString::to_string).collect();
        Ok(Some(problems.join("; ")).filter(|why| !why.is_empty()))
    }
}

/// Defines a network that a container is to be in. One that nobody uses, and that only containers have defined, gives way.
///
/// # Errors
/// When it is defined differently already.
pub(super) fn define(definitions: &mut Definitions, network: Network) -> Result<()> {
    let name = &network.name;
    match definitions.world.networks.get(name) {
        Some(defined) if *defined == network => return Ok(()),
        Some(_) => {
            let user = user(definitions, name);
            if user.is_some() || !definitions.attached_networks.contains(name) {
                let who = user.map(|user| format!(", and endpoint {} is in it", user.id)).unwrap_or_default();
                bail!(
                    "network {name} is defined differently{who} (subnets, gateways, mtu, internal and routed or ipMasq must be the same)"
                );
            }
        }
        None => {}
    }
    let world = &definitions.world;
    let in_the_way = |other: &Name| {
        let overlaps = |other: &Network| {
            network.subnets().any(|own| {
                other
                    .subnets()
                    .any(|its| own.net.contains(&its.net.network()) || its.net.contains(&own.net.network()))
            })
        };
        other != name && user(definitions, other).is_none() && world.networks.get(other).is_some_and(overlaps)
    };
    let idle: Vec<_> =
        definitions.attached_networks.iter().filter(|other| in_the_way(other)).cloned().collect();
    for other in idle {
        definitions.attached_networks.remove(&other);
        definitions.world.networks.remove(&other);
    }
    definitions.attached_networks.insert(name.clone());
    definitions.world.networks.insert(name.clone(), network);
    Ok(())
}

fn user<'a>(definitions: &'a Definitions, network: &Name) -> Option<&'a Endpoint> {
    definitions.world.endpoints.values().find(|endpoint| endpoint.network == *network)
}
