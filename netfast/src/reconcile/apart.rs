//! Endpoints that are no ports of their network's bridge: those that come when it has many ports already.
//!
//! A bridge goes through its ports whenever one comes or goes, so the more it has, the longer that takes. Endpoints do without:
//! what they exchange with each other and with the outside goes past bridges in any case, and what they exchange with the host
//! programs lead in and out. Only an endpoint that is held back at the host's end needs a bridge to go on from, and others on it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::assign::Records;
use super::devices::Device;
use super::facts::Facts;
use super::host::Host;
use super::topology;
use crate::kernel::Hook;
use crate::model::{Name, World};
use crate::store::{EndpointRecord, NetworkRecord, fault};

/// So many ports a bridge may have until endpoints do without.
pub(super) const PORTS: usize = 64;

/// Says of each endpoint whether it is to be a port. One that is there stays what it is, unless it has to become a port: one at
/// least, as a bridge without any has no carrier. Returns the networks in which all have to be ports.
pub(super) fn decide(world: &World, facts: &Facts, records: &mut Records) -> BTreeSet<Name> {
    let Records { networks, endpoints } = records;
    let is_own = |name: &Name| networks.get(name).is_some_and(|network| !network.adopted);
    let is_held = |record: &&EndpointRecord| {
        let endpoint = world.endpoints.get(&record.id)?;
        facts.is_held(&Device::of(record, endpoint)).or(Some(endpoint.sends_by_host))
    };
    let held = endpoints.values().filter(|record| is_held(record) == Some(true));
    let bridged: BTreeSet<Name> =
        held.map(|record| record.network.clone()).filter(|name| is_own(name)).collect();
    let mut ports: BTreeMap<Name, usize> = BTreeMap::new();
    for record in endpoints.values_mut().filter(|record| record.host_ifindex.is_some()) {
        record.apart &= !bridged.contains(&record.network);
        *ports.entry(record.network.clone()).or_default() += usize::from(!record.apart);
    }
    for record in endpoints.values_mut().filter(|record| is_own(&record.network)) {
        let ports = ports.entry(record.network.clone()).or_default();
        let was_apart = record.apart;
        if record.host_ifindex.is_none() {
            let bridge = networks.get(&record.network);
            record.apart = *ports >= PORTS
                && !bridged.contains(&record.network)
                && bridge.is_some_and(|bridge| may_be_apart(record, bridge));
        } else if *ports == 0 {
            record.apart = false;
        }
        if !record.apart && (was_apart || record.host_ifindex.is_none()) {
            *ports += 1;
        }
    }
    bridged
}

/// Whether an endpoint may do without a port. A bridge's MTU is that of the smallest of its ports, by which the host knows how much
/// fits.
pub(super) const fn may_be_apart(record: &EndpointRecord, bridge: &NetworkRecord) -> bool {
    record.mtu >= bridge.mtu && !bridge.adopted
}

/// The networks with endpoints that are no ports of the bridge.
pub(super) fn networks(records: &Records) -> impl Iterator<Item = &NetworkRecord> {
    let apart = records.endpoints.values().filter(|record| record.apart);
    let names: BTreeSet<&Name> = apart.map(|record| &record.network).collect();
    names.into_iter().filter_map(|name| records.networks.get(name))
}

/// Makes ports of those that were none.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn join(host: &Host<'_>, old: &Records, new: &Records) -> Result<()> {
    let was_apart = |id| old.endpoints.get(id).is_some_and(|old| old.apart);
    for record in new.endpoints.values().filter(|record| !record.apart && was_apart(&record.id)) {
        let bridge = new.networks.get(&record.network).and_then(|network| network.ifindex);
        if let (Some(port), Some(bridge)) = (record.host_ifindex, bridge) {
            topology::set_port(host, record, port, Some(bridge))?;
            topology::add_forwarding(host, record, port)?;
        }
    }
    Ok(())
}

/// Attaches to the bridges of networks with such endpoints, and detaches from others.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn attach(host: &Host<'_>, records: &Records) -> Result<()> {
    for network in networks(records) {
        attach_to(host, network)?;
    }
    let is_wanted = |ifindex| networks(records).any(|network| network.ifindex == Some(ifindex));
    for attached in host.datapath.attached()? {
        if attached.hook == Hook::NetworkEgress && !is_wanted(attached.ifindex) {
            detach_from(host, attached.ifindex)?;
        }
    }
    Ok(())
}

/// Attaches to the bridge of a network, where that is not so already.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn attach_to(host: &Host<'_>, network: &NetworkRecord) -> Result<()> {
    let Some(ifindex) = network.ifindex else { return Ok(()) };
    let failed = || format!("network {}: attach to its bridge", network.name);
    if host.datapath.runs(Hook::NetworkEgress, ifindex).with_context(failed)? {
        return Ok(());
    }
    fault::point("attach to a bridge");
    host.datapath.attach(Hook::NetworkEgress, &network.bridge, host.mode).map(drop).with_context(failed)
}

/// Detaches from the bridge with this index, if anything was attached.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn detach_from(host: &Host<'_>, bridge: u32) -> Result<()> {
    fault::point("detach from a bridge");
    host.datapath.detach(Hook::NetworkEgress, bridge).map(drop).context("detach from a bridge")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::policy::Assigned;
    use crate::model::{Endpoint, EndpointId, Network};
    use crate::reconcile::assign;

    /// The names of two networks: of netfast's own, and of another plugin's.
    const NETWORKS: [&str; 2] = ["own", "adopted"];

    /// So many endpoints in each network, the first of which are there already.
    fn world(count: usize, there: usize) -> (World, Records) {
        let (mut world, mut records) = (World::default(), Records::default());
        for name in NETWORKS {
            let network = Network { adopted: name == "adopted", ..Network::new(name.parse().unwrap()) };
            for number in 0..count {
                let id = EndpointId {
                    namespace: "default".parse().unwrap(),
                    name: format!("{name}{number:03}").parse().unwrap(),
                };
                let endpoint = Endpoint::new(id.clone(), network.name.clone());
                let number = u32::try_from(number).unwrap();
                let none = Assigned::default();
                let mut record =
                    assign::endpoint_record(&endpoint, &network, "/none".into(), number, number, none);
                record.host_ifindex = (number < u32::try_from(there).unwrap()).then_some(100 + number);
                world.endpoints.insert(id.clone(), endpoint);
                records.endpoints.insert(id, record);
            }
            records.networks.insert(network.name.clone(), assign::network_record(&network, 1, owner()));
            world.networks.insert(network.name.clone(), network);
        }
        (world, records)
    }

    fn owner() -> crate::reconcile::owner::Owner {
        let dir = tempfile::tempdir().unwrap();
        let options = crate::store::PathsOptions {
            state_dir: Some(dir.path().join("state")),
            run_dir: Some(dir.path().join("run")),
            bpffs: Some(dir.path().join("bpf")),
            cgroup: None,
        };
        crate::reconcile::owner::Owner::of(&crate::store::Paths::resolve(options).unwrap())
    }

    /// Which of the own network's are no ports.
    fn apart(records: &Records) -> Vec<usize> {
        let own = records.endpoints.values().filter(|record| record.network.as_str() == "own");
        own.enumerate().filter(|(_, record)| record.apart).map(|(number, _)| number).collect()
    }

    fn one<'a>(records: &'a mut Records, name: &str) -> &'a mut EndpointRecord {
        records.endpoints.values_mut().find(|record| record.id.name.as_str() == name).unwrap()
    }

    #[test]
    fn those_that_come_when_there_are_many_ports_are_none() {
        for there in [0, 3, PORTS] {
            let (world, mut records) = world(PORTS + 2, there);
            assert!(decide(&world, &Facts::default(), &mut records).is_empty());
            assert_eq!(apart(&records), [PORTS, PORTS + 1]);
            assert!(records.endpoints.values().all(|r| !r.apart || r.network.as_str() == "own"));
        }
    }

    #[test]
    fn those_that_are_there_stay_what_they_are() {
        let (world, mut records) = world(PORTS + 4, PORTS + 3);
        one(&mut records, "own007").apart = true;
        decide(&world, &Facts::default(), &mut records);
        // One is new, and more than enough are ports.
        assert_eq!(apart(&records), [7, PORTS + 3]);
    }

    #[test]
    fn one_at_least_is_a_port() {
        let (world, mut records) = world(3, 3);
        for name in ["own000", "own001", "own002"] {
            one(&mut records, name).apart = true;
        }
        decide(&world, &Facts::default(), &mut records);
        assert_eq!(apart(&records), [1, 2]);
    }

    #[test]
    fn all_are_ports_where_one_is_held_back() {
        for by_wish in [true, false] {
            let (mut world, mut records) = world(PORTS + 2, PORTS + 1);
            one(&mut records, &format!("own{PORTS:03}")).apart = true;
            let mut facts = Facts::default();
            if by_wish {
                world.endpoints.values_mut().for_each(|endpoint| {
                    endpoint.sends_by_host |= endpoint.id.name.as_str() == "own001";
                });
            } else {
                facts.held.insert(101);
            }
            let bridged = decide(&world, &facts, &mut records);
            assert_eq!(bridged.iter().map(Name::as_str).collect::<Vec<_>>(), ["own"], "{by_wish}");
            assert_eq!(apart(&records), [0; 0], "{by_wish}");
        }
    }
}
