//! Makes the kernel hold what the definitions say, whatever it holds now.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::assign::{self, Records};
use super::facts::{self, Facts};
use super::host::{Host, netns_dir};
use super::{commands, files, plan, tables, topology, uplinks};
use crate::compile::policy::{self, Assigned, Tables};
use crate::compile::rows::{self, PlacedEndpoint, PlacedNetwork, Rows};
use crate::kernel::{Hook, default_cgroup};
use crate::model::{EndpointId, World};
use crate::store::{Definitions, EndpointRecord, Instance};

/// Rows the policy map may hold of one world: half of it, as it holds the old world's and the new one's at a time.
const MAX_RULE_ROWS: usize = netfast_common::maps::MAX_RULES as usize / 2;

/// Brings everything to what `definitions` say. `known` is the world that was defined before.
///
/// # Errors
/// When something cannot be done. The kernel is somewhere between then; another call brings it to where that one says.
pub(super) fn converge(
    host: &mut Host<'_>,
    instance: &mut Instance,
    definitions: &Definitions,
    known: &World,
) -> Result<()> {
    let world = &definitions.world;
    let old = records(host)?;
    let mut new = assign::assign(world, &old, instance, &netns_dir(host.run_dir()))?;
    topology::check_namespaces(host, world, known, &mut new)?;
    facts::look(host.netlink, &old, None)?.check_subnets(world)?;
    let tables = compile(host, world, &new)?;
    host.store.save_instance(instance)?;

    let plan = plan::plan(&old, &new, &topology::intact(host, &old)?);
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
        topology::create_endpoint(host, network, bridge, record)?;
    }
    for (id, record) in &new.endpoints {
        let is_changed = old.endpoints.get(id).is_some_and(|old| old.publish != record.publish);
        if is_changed && !plan.create.iter().any(|created| created.id == *id) {
            host.store.save_endpoint(record)?;
        }
    }

    let facts = facts::look(host.netlink, &new, world.uplinks.as_ref())?;
    for device in &facts.missing {
        tracing::warn!(device, "this uplink is not there; the next command looks for it again");
    }
    for (device, reason) in &facts.uncovered {
        tracing::warn!(device, reason, "published ports and masquerade do not cover this device");
    }
    let rows = make_rows(world, &new, &facts, &tables);
    // Before the rows: a number that stands in a map is never given to something else.
    host.store.save_numbers(&tables.numbers)?;
    let settings = tables::Settings { netns_cookie: instance.netns.cookie, established: world.established };
    tables::commit(&mut host.datapath.maps, &rows, settings)?;

    repair_links(host, &new)?;
    topology::activate(host, &new)?;
    for record in &plan.remove_last {
        topology::remove_endpoint(host, &old, record)?;
    }
    uplinks::attach(host, &facts, &definitions.deny)?;
    attach_sockets(host, instance)?;
    commands::run(host, world, instance.cgroup.as_deref(), &mut new)
}

/// The records there are.
///
/// # Errors
/// When one cannot be read.
pub(super) fn records(host: &Host<'_>) -> Result<Records> {
    Ok(Records { networks: host.store.networks()?, endpoints: host.store.endpoints()? })
}

fn compile(host: &Host<'_>, world: &World, records: &Records) -> Result<Tables> {
    let numbers = host.store.numbers()?.unwrap_or_default();
    Ok(policy::compile(world, &assigned(records), &numbers, MAX_RULE_ROWS)?)
}

/// The addresses the endpoints have.
pub(super) fn assigned(records: &Records) -> BTreeMap<EndpointId, Assigned> {
    let assigned = |record: &EndpointRecord| Assigned { ip: record.ip, ip6: record.ip6 };
    records.endpoints.iter().map(|(id, record)| (id.clone(), assigned(record))).collect()
}

fn make_rows(world: &World, records: &Records, facts: &Facts, tables: &Tables) -> Rows {
    let networks: BTreeMap<_, _> = world
        .networks
        .values()
        .filter_map(|network| {
            let record = records.networks.get(&network.name)?;
            Some((&network.name, PlacedNetwork { network, id: record.id, mac: record.mac }))
        })
        .collect();
    let endpoints: Vec<_> = records
        .endpoints
        .values()
        .filter_map(|record| {
            Some(PlacedEndpoint {
                id: &record.id,
                network: networks.get(&record.network)?,
                incarnation: record.incarnation,
                slot: record.slot,
                ifindex: record.host_ifindex?,
                ip: record.ip,
                ip6: record.ip6,
                mac: record.mac,
                publish: &record.publish,
            })
        })
        .collect();
    rows::rows(networks.values(), &endpoints, &facts.uplinks, &facts.addresses, tables)
}

/// Attaches again what somebody has detached.
fn repair_links(host: &Host<'_>, records: &Records) -> Result<()> {
    let attached = host.datapath.attached()?;
    for record in records.endpoints.values() {
        for hook in [Hook::EndpointIngress, Hook::EndpointEgress] {
            let is_there =
                attached.iter().any(|a| a.hook == hook && Some(a.ifindex) == record.host_ifindex && a.alive);
            if !is_there && record.host_ifindex.is_some() {
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
