//! What a change of one endpoint relies on at the host besides endpoints: addresses, bridges, the device for fragments. Whether
//! others have changed that since the last change of everything takes a few questions to tell, however many endpoints there are.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::assign::Records;
use super::facts::{Facts, is_link_local};
use super::topology;
use crate::compile::rows::Uplink;
use crate::model::World;
use crate::net::{Address, Netlink};
use crate::store::{Instance, NetworkRecord};

/// An address with the length of its prefix, and the index of its device.
pub(super) type Place = (u32, IpAddr, u8);

/// Devices that are asked for one by one. Where there are more, they are most likely another plugin's, and come and go with its
/// containers.
const FEW: usize = 16;

/// The host as a change of everything left it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Surroundings {
    /// The host's addresses on devices that are no bridges of the instance.
    addresses: Vec<Place>,
    /// What these bridges must have. Whatever else they have is nobody's concern.
    gateways: Vec<Place>,
    /// Uplinks without addresses that count, if there are [`FEW`]. One that goes to another namespace takes the programs at it
    /// along.
    bare: Vec<u32>,
    /// The device that leads to the namespace for fragments.
    defrag: Option<u32>,
}

impl Surroundings {
    /// What there is after a change, given the host as it found it.
    pub(super) fn new(facts: &Facts, world: &World, records: &Records, instance: &Instance) -> Self {
        let networks = records.networks.values().filter_map(|record| {
            let network = world.networks.get(&record.name)?;
            Some((record.ifindex?, network))
        });
        let gateways = networks.flat_map(|(bridge, network)| {
            topology::gateways(network).map(move |ip| (bridge, ip.addr(), ip.prefix_len()))
        });
        let has_place = |uplink: &&Uplink| facts.places.iter().any(|place| place.0 == uplink.ifindex);
        let bare = facts.uplinks.iter().filter(|uplink| !has_place(uplink)).map(|uplink| uplink.ifindex);
        let mut bare: Vec<_> = bare.collect();
        bare.truncate(if bare.len() > FEW { 0 } else { FEW });
        let mut surroundings = Self {
            addresses: Vec::new(),
            gateways: gateways.collect(),
            bare,
            defrag: instance.defrag.as_ref().and_then(|record| record.ifindex),
        };
        let is_elsewhere = |place: &&Place| !surroundings.is_of_bridge(place);
        surroundings.addresses = facts.places.iter().filter(is_elsewhere).copied().collect();
        surroundings
    }

    /// Whether all is as it was left; `bridge`: that of the network which is concerned. What cannot be seen is not.
    pub(super) fn are_as_left(&self, netlink: &Netlink, bridge: &NetworkRecord) -> bool {
        let known = self.addresses.iter().chain(&self.gateways).map(|place| place.0);
        let Ok(addresses) = netlink.addresses_beside(known) else { return false };
        let there = places(&addresses);
        let elsewhere = there.iter().filter(|place| !self.is_of_bridge(place));
        elsewhere.eq(&self.addresses)
            && self.gateways.iter().all(|gateway| there.contains(gateway))
            && bridge.ifindex.is_none_or(|index| {
                netlink.link_by_index(index).is_ok_and(|link| link.up && link.mac == Some(bridge.mac))
            })
            && self.bare.iter().all(|index| netlink.link_by_index(*index).is_ok())
            && self.defrag.is_none_or(|index| netlink.link_by_index(index).is_ok_and(|link| link.up))
    }

    fn is_of_bridge(&self, place: &Place) -> bool {
        self.gateways.iter().any(|gateway| gateway.0 == place.0)
    }
}

/// The addresses that count, those of one device together and in the kernel's order, as its first one is masqueraded with.
/// Link-local ones come and go with every container of another plugin.
pub(super) fn places(addresses: &[Address]) -> Vec<Place> {
    let counting = addresses.iter().filter(|address| !is_link_local(&address.ip));
    let mut places: Vec<_> = counting.map(|address| (address.ifindex, address.ip, address.prefix)).collect();
    places.sort_by_key(|place| place.0);
    places
}
