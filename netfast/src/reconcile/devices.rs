//! The devices of the instance at the host.

use serde::{Deserialize, Serialize};

use super::assign::Records;
use crate::model::Endpoint;
use crate::store::{EndpointRecord, NetworkRecord};

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// A port of its network's bridge.
    Port,
    /// No port of its network's bridge.
    Apart,
    /// Another plugin made it, and put it into this bridge, if into any.
    Adopted(Option<u32>),
}

/// The host's end of an endpoint's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device<'a> {
    pub index: Option<u32>,
    pub name: &'a str,
    pub place: Place,
    /// Packets may be redirected into the endpoint's namespace.
    pub redirect: bool,
    /// Packets that the endpoint sends go by way of the host, whether somebody holds them back there or not yet.
    pub sends_by_host: bool,
}

impl<'a> Device<'a> {
    /// That of an endpoint.
    pub(super) fn of(record: &'a EndpointRecord, endpoint: &Endpoint) -> Self {
        // If another plugin made the device, that plugin's list may have one that holds packets back in both directions.
        let sends_by_host = endpoint.sends_by_host || (record.adopted.is_some() && !endpoint.redirect);
        Self { redirect: endpoint.redirect, sends_by_host, ..Self::recorded(record) }
    }

    /// Whether another plugin made it.
    pub(super) const fn is_adopted(&self) -> bool {
        matches!(self.place, Place::Adopted(_))
    }

    fn recorded(record: &'a EndpointRecord) -> Self {
        Self {
            index: record.host_ifindex,
            name: &record.host_ifname,
            place: match record.adopted {
                Some(adopted) => Place::Adopted(adopted.bridge),
                None if record.apart => Place::Apart,
                None => Place::Port,
            },
            redirect: true,
            sends_by_host: false,
        }
    }
}

/// The devices of the instance at the host.
#[derive(Clone, Debug, Default)]
pub(super) struct Devices<'a> {
    /// Index and name of each.
    pub bridges: Vec<(Option<u32>, &'a str)>,
    pub endpoints: Vec<Device<'a>>,
}

impl<'a> Devices<'a> {
    /// Those of these networks and endpoints.
    pub(super) fn new(
        networks: impl IntoIterator<Item = &'a NetworkRecord>,
        endpoints: impl IntoIterator<Item = Device<'a>>,
    ) -> Self {
        let bridges = networks.into_iter().map(|record| (record.ifindex, record.bridge.as_str()));
        Self { bridges: bridges.collect(), endpoints: endpoints.into_iter().collect() }
    }

    /// All of them, as they are recorded.
    pub(super) fn of(records: &'a Records) -> Self {
        Self::new(records.networks.values(), records.endpoints.values().map(Device::recorded))
    }
}
