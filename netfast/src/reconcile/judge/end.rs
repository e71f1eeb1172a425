//! The two ends of a connection, as users name them.

use std::net::IpAddr;

use anyhow::{Result, bail};

use super::Judge;
use crate::compile::policy::Family;
use crate::model::{EndpointId, Network};

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub(super) who: Who,
    /// Its addresses. The host's are not said where it was not named by one: it has another one on each network.
    pub(super) v4: Option<IpAddr>,
    pub(super) v6: Option<IpAddr>,
}

/// Who stands at an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Endpoint(EndpointId),
    Host,
    Outside,
}

impl End {
    /// The address it has of a family.
    pub(super) fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Whether it can be an end of a connection of a family.
    pub(super) fn has(&self, family: Family) -> bool {
        self.address(family).is_some() || (self.who == Who::Host && self.v4.is_none() && self.v6.is_none())
    }

    /// The endpoint, if it is one.
    pub(super) fn endpoint(&self) -> Option<&EndpointId> {
        if let Who::Endpoint(id) = &self.who { Some(id) } else { None }
    }

    /// An address, whosever it is.
    pub(super) fn at(who: Who, addr: IpAddr) -> Self {
        let (v4, v6) = if addr.is_ipv4() { (Some(addr), None) } else { (None, Some(addr)) };
        Self { who, v4, v6 }
    }

    /// The name to call it by.
    pub(super) fn name(&self) -> String {
        match (&self.who, self.v4.or(self.v6)) {
            // Without the namespace it would be taken for the host.
            (Who::Endpoint(id), _) if matches!(id.to_string().as_str(), "host" | "node") => {
                format!("{}/{}", id.namespace, id.name)
            }
            (Who::Endpoint(id), _) => id.to_string(),
            (Who::Host, None) => "host".to_owned(),
            (Who::Host, Some(addr)) => format!("host ({addr})"),
            (Who::Outside, _) if self.v4.is_some() && self.v6.is_some() => "outside".to_owned(),
            (Who::Outside, addr) => addr.map_or_else(String::new, |addr| addr.to_string()),
        }
    }
}

impl Judge {
    /// The end that a user means: an endpoint by its name or `namespace/name`, whoever has an address, or `host` (also
    /// `node`) for the own host. An endpoint of that name is called with its namespace.
    ///
    /// # Errors
    /// When no endpoint, or more than one, has that name.
    pub fn end(&self, text: &str) -> Result<End> {
        if matches!(text, "host" | "node") {
            return Ok(End { who: Who::Host, v4: None, v6: None });
        }
        if let Ok(addr) = text.parse::<IpAddr>() {
            let addr = addr.to_canonical();
            if addr.is_multicast() || addr.is_unspecified() || addr.is_loopback() {
                bail!("{addr} is no address of one end (say host for the own host)");
            }
            return Ok(End::at(self.owner(addr), addr));
        }
        Ok(self.endpoint_end(&self.world.find_endpoint(text)?.id))
    }

    /// An endpoint, with the first address of each family.
    pub(super) fn endpoint_end(&self, id: &EndpointId) -> End {
        let assigned = self.addresses.get(id);
        End {
            who: Who::Endpoint(id.clone()),
            v4: assigned.and_then(|assigned| assigned.ip).map(IpAddr::V4),
            v6: assigned.and_then(|assigned| assigned.ip6).map(IpAddr::V6),
        }
    }

    /// Whose an address is.
    pub(super) fn owner(&self, addr: IpAddr) -> Who {
        let mut addresses = self.addresses.iter();
        if let Some((id, _)) = addresses.find(|(_, assigned)| assigned.all().any(|own| own == addr)) {
            return Who::Endpoint(id.clone());
        }
        let mut gateways = self.world.networks.values().flat_map(Network::gateways);
        if self.host.contains(&addr) || gateways.any(|gateway| gateway == addr) {
            Who::Host
        } else {
            Who::Outside
        }
    }
}
