//! What has to be done to get from the records there are to those there should be. Pure.

use super::assign::Records;
use super::damage::Damage;
use crate::model::Name;
use crate::store::{EndpointRecord, NetworkRecord};

/// Steps, in the order in which they are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Endpoints that stand in the way of others: replaced, broken, or holding what a new one needs.
    pub remove_first: Vec<EndpointRecord>,
    /// Networks that are replaced, broken or not wanted.
    pub remove_networks: Vec<NetworkRecord>,
    /// Networks to make.
    pub create_networks: Vec<NetworkRecord>,
    /// Endpoints to make.
    pub create: Vec<EndpointRecord>,
    /// Endpoints that are not wanted and in nobody's way: they go after the new ones are in place.
    pub remove_last: Vec<EndpointRecord>,
}

/// Compares the records there are with those there should be.
pub(super) fn plan(old: &Records, new: &Records, damage: &Damage) -> Plan {
    let mut plan = Plan::default();
    let network_stays = |name: &Name| {
        !damage.networks.contains_key(name)
            && old.networks.get(name).map(|record| record.id)
                == new.networks.get(name).map(|record| record.id)
    };
    let endpoint_stays = |record: &EndpointRecord| {
        !damage.endpoints.contains_key(&record.id)
            && network_stays(&record.network)
            && new.endpoints.get(&record.id).is_some_and(|wanted| wanted.incarnation == record.incarnation)
    };
    plan.remove_networks =
        old.networks.values().filter(|record| !network_stays(&record.name)).cloned().collect();
    plan.create_networks =
        new.networks.values().filter(|record| !network_stays(&record.name)).cloned().collect();
    plan.create = new
        .endpoints
        .values()
        .filter(|wanted| !old.endpoints.get(&wanted.id).is_some_and(endpoint_stays))
        .cloned()
        .collect();
    for record in old.endpoints.values().filter(|record| !endpoint_stays(record)) {
        let is_in_the_way = new.endpoints.contains_key(&record.id)
            || !network_stays(&record.network)
            || plan.create.iter().any(|wanted| clash(wanted, record));
        let steps = if is_in_the_way { &mut plan.remove_first } else { &mut plan.remove_last };
        steps.push(record.clone());
    }
    plan
}

/// Whether the two cannot be there at the same time.
fn clash(a: &EndpointRecord, b: &EndpointRecord) -> bool {
    a.addresses().any(|ip| b.addresses().any(|other| other == ip))
        || a.mac == b.mac
        || (a.netns == b.netns && a.container_ifname == b.container_ifname)
}
