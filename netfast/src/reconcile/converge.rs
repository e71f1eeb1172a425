//! Makes the kernel hold what the definitions say, whatever it holds now.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::assign::{self, Records};
use super::check::Problem;
use super::devices::{Device, Devices};
use super::facts::{self, Facts};
use super::host::{Host, netns_dir};
use super::ledger::Ledger;
use super::owner::Owner;
use super::ports::{self, PortFacts};
use super::surroundings::Surroundings;
use super::tables::Settings;
use super::{
    adopt, apart, check, commands, damage, defrag, files, numbers, plan, stale, tables, topology, uplinks,
};
use crate::compile::policy::{self, Assigned, Book, Numbers, Roll, Tables};
use crate::compile::rows::{
    self, AdoptedLink, PlacedEndpoint, PlacedLink, PlacedNetwork, PlacedPublish, Rows,
};
use crate::kernel::{Hook, default_cgroup};
use crate::model::{EndpointId, World};
use crate::net::BoundSocket;
use crate::store::{AdoptedRecord, Definitions, EndpointRecord, Instance, PublishRecord, fault};

/// Brings everything to what `definitions` say. `known` is the world that was defined before. Returns what it cannot put
/// right, and the ledger of what there is now.
///
/// # Errors
/// When something cannot be done. The kernel is somewhere between then; another call brings it to where that one says.
pub(super) fn converge(
    host: &mut Host<'_>,
    instance: &mut Instance,
    definitions: &Definitions,
    known: &World,
) -> Result<(Vec<Problem>, Ledger)> {
    let world = &definitions.world;
    let old = Records::read(host.store)?;
    let ports = PortFacts {
        bound: bound_sockets(host, world),
        most_rows: host.datapath.maps.published[0].max_entries()? as usize,
    };
    let owner = Owner::of(host.store.paths());
    let mut new = assign::assign(world, &old, instance, owner, &netns_dir(host.run_dir()), &ports)?;
    let mut left = topology::check_namespaces(host, definitions, known, &mut new)?;
    left.extend(adopt::find(host, world, known, &mut new)?);
    let before = facts::look(host.netlink, &Devices::of(&old), None)?;
    before.check_subnets(world)?;
    let bridged = apart::decide(world, &before, &mut new);
    let numbers = numbers::read(host.store)?;
    let (tables, small) = compile(world, &new, &numbers)?;
    host.store.save_instance(instance)?;

    let plan = plan::plan(&old, &new, &damage::damage(host.netlink, &old)?);
    for record in &plan.remove_first {
        topology::remove_endpoint(host, &old, record)?;
    }
    for record in &plan.remove_networks {
        topology::remove_network(host, record)?;
    }
    for record in &plan.create_networks {
        let network = world.networks.get(&record.name).context("a record without a network")?;
        let record = new.networks.get_mut(&record.name).context("a network without a record")?;
        topology::create_network(host, network, record)?;
    }
    files::write(host.run_dir(), &new)?;
    for record in &plan.create {
        let record = new.endpoints.get_mut(&record.id).context("an endpoint without a record")?;
        let network = topology::network_of(world, record)?;
        let bridge = new.networks.get(&record.network).context("a network without a record")?;
        let endpoint = world.endpoints.get(&record.id).context("a record without an endpoint")?;
        topology::create_endpoint(host, network, bridge, endpoint, record)?;
    }
    for (id, record) in &new.endpoints {
        let is_changed = old.endpoints.get(id).is_some_and(|old| old != record);
        if is_changed && !plan.create.iter().any(|created| created.id == *id) {
            host.store.save_endpoint(record)?;
        }
    }

    apart::join(host, &old, &new)?;

    defrag::ensure(host, instance)?;
    let facts = facts::look(host.netlink, &Devices::of(&new), world.uplinks.as_ref())?;
    // Who is held back decides who is a port. Whoever has come to be since then is noticed by the next look.
    let facts = Facts { held: before.held, ..facts };
    left.extend(check::of_facts(&facts));
    let rows = make_rows(world, &new, &facts, &tables);
    numbers::save(host.store, &numbers, &tables.numbers, small.as_ref())?;
    tables::commit(&mut host.datapath.maps, &rows, &Settings::of(world, instance))?;

    stale::end_connections(host, &rows)?;

    repair_links(host, &new)?;
    apart::attach(host, &new)?;
    topology::mend(host, world, &new)?;
    topology::activate(host, &new)?;
    for record in &plan.remove_last {
        topology::remove_endpoint(host, &old, record)?;
    }
    let living: BTreeSet<u32> = new.endpoints.values().map(|record| record.incarnation).collect();
    for record in old.endpoints.values().filter(|record| !living.contains(&record.incarnation)) {
        tables::remove_drops(&mut host.datapath.maps, record.incarnation)?;
    }
    uplinks::attach(host, &facts, &definitions.deny)?;
    attach_sockets(host, instance)?;
    // From here on nothing runs the programs of another netfast any more.
    host.datapath.retire()?;
    commands::run(host, world, instance.cgroup.as_deref(), &mut new)?;
    // What an attachment that came to nothing had made was in nobody's records, and is removed.
    host.store.forget_unfinished(definitions)?;
    let surroundings = Surroundings::new(&facts, world, &new, instance);
    Ok((left, Ledger::new(definitions, &new, bridged, surroundings)?))
}

/// Who of the host's processes holds which port. Where the kernel does not tell, nobody seems to.
fn bound_sockets(host: &Host<'_>, world: &World) -> Vec<BoundSocket> {
    let mut published = world.endpoints.values().flat_map(|endpoint| &endpoint.publish);
    if !published.any(ports::depends_on_sockets) {
        return Vec::new();
    }
    host.netns.bound_sockets().unwrap_or_else(|error| {
        tracing::warn!(%error, "whether published ports are in use already is not known");
        Vec::new()
    })
}

fn compile(
    world: &World,
    records: &Records,
    numbers: &Numbers,
) -> Result<(Tables, Option<(Book<'static>, Roll)>)> {
    // Half of the map, as it holds the old world's rows and the new one's at a time.
    let max_rows = usize::try_from(world.limits.rules / 2).unwrap_or(usize::MAX);
    Ok(policy::compile_to_change(world, &assigned(records), numbers, max_rows)?)
}

/// The addresses the endpoints have.
pub(super) fn assigned(records: &Records) -> BTreeMap<EndpointId, Assigned> {
    records.endpoints.iter().map(|(id, record)| (id.clone(), assigned_to(record))).collect()
}

/// The addresses an endpoint has.
pub(super) fn assigned_to(record: &EndpointRecord) -> Assigned {
    Assigned { ip: record.ip, ip6: record.ip6, more: record.more.clone() }
}

/// The rows the maps are to hold.
pub(super) fn make_rows(world: &World, records: &Records, facts: &Facts, tables: &Tables) -> Rows {
    let networks: BTreeMap<_, _> = world
        .networks
        .values()
        .filter_map(|network| {
            let record = records.networks.get(&network.name)?;
            Some((
                &network.name,
                PlacedNetwork { network, id: record.id, mac: record.mac, ifindex: record.ifindex },
            ))
        })
        .collect();
    let endpoints: Vec<_> = records
        .endpoints
        .values()
        .filter_map(|record| {
            let endpoint = world.endpoints.get(&record.id)?;
            let device = Device::of(record, endpoint);
            Some(PlacedEndpoint {
                source_check: endpoint.source_check,
                redirect: facts.is_redirected(&device)?,
                held: facts.is_held(&device)?,
                link: placed_link(record),
                id: &record.id,
                network: networks.get(&record.network)?,
                incarnation: record.incarnation,
                slot: record.slot,
                ifindex: record.host_ifindex?,
                ip: record.ip,
                ip6: record.ip6,
                more: &record.more,
                mac: record.mac,
                publish: record.publish.iter().map(placed).collect(),
            })
        })
        .collect();
    rows::rows(
        networks.values(),
        &endpoints,
        &facts.uplinks,
        &facts.addresses,
        &world.not_masqueraded,
        tables,
    )
}

fn placed_link(record: &EndpointRecord) -> PlacedLink {
    match record.adopted {
        Some(AdoptedRecord { gateway, gateway6, gateway_mac, bridge: _ }) => {
            PlacedLink::Adopted(AdoptedLink { gateway, gateway6, mac: gateway_mac })
        }
        None if record.apart => PlacedLink::Apart,
        None => PlacedLink::Port,
    }
}

fn placed(record: &PublishRecord) -> PlacedPublish<'_> {
    let PublishRecord { publish, incarnation, sources } = record;
    PlacedPublish { publish, incarnation: *incarnation, sources: *sources }
}

/// Attaches again what somebody has detached, and replaces the programs of another netfast.
fn repair_links(host: &Host<'_>, records: &Records) -> Result<()> {
    let attached = host.datapath.attached()?;
    let programs = host.datapath.programs()?;
    for record in records.endpoints.values() {
        for hook in [Hook::EndpointIngress, Hook::EndpointEgress] {
            let program = programs.iter().find(|p| p.name == hook.program()).map(|p| p.id);
            let is_there = attached.iter().any(|a| {
                a.hook == hook
                    && Some(a.ifindex) == record.host_ifindex
                    && Some(a.program_id) == program
                    && a.alive
            });
            if !is_there && record.host_ifindex.is_some() {
                fault::point("repair a link");
                host.datapath.attach(hook, &record.host_ifname, host.mode)?;
            }
        }
    }
    Ok(())
}

/// Published ports for the host's own processes need a cgroup2 mount; without one, everything else works.
fn attach_sockets(host: &Host<'_>, instance: &Instance) -> Result<()> {
    let cgroup = match &instance.cgroup {
        Some(cgroup) => cgroup.clone(),
        None => match default_cgroup() {
            Ok(cgroup) => cgroup,
            Err(e) => {
                tracing::warn!("the host's own processes cannot reach published ports: {e}");
                return Ok(());
            }
        },
    };
    Ok(host.datapath.attach_sockets(&cgroup)?)
}
