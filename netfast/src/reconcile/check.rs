//! What is not as it should be, in plain words. Looks, and changes nothing.

use std::fmt::Display;

use anyhow::Result;
use netfast_common::rows::CONFIG_DENY_IN_TC;

use super::assign::Records;
use super::converge::{assigned, make_rows};
use super::devices::Devices;
use super::facts::{self, Facts};
use super::tables::Settings;
use super::{adopt, apart, damage, defrag, numbers, tables, uplinks};
use crate::compile::policy;
use crate::kernel::{Bpffs, Datapath, Hook, default_cgroup};
use crate::model::{Attachment, EndpointId};
use crate::net::{Netlink, Netns};
use crate::store::{Definitions, Origin, Store};

/// What can be done about a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Converging puts it right.
    Converge,
    /// Only the user can: something that was asked for is not there.
    User,
    /// Nobody can: netfast does not do that.
    None,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// In plain words.
    pub text: String,
    /// What helps.
    pub remedy: Remedy,
}

impl Problem {
    pub(super) fn new(remedy: Remedy, text: impl Display) -> Self {
        Self { text: text.to_string(), remedy }
    }
}

/// Everything about an instance that is up, or should be, that is not as it should be.
///
/// Without the instance's lock, what a command is just doing may look like a problem.
///
/// # Errors
/// When a state file or the kernel cannot be read.
pub(super) fn problems(store: &Store) -> Result<Vec<Problem>> {
    problems_of(store, &store.definitions()?, None)
}

/// As [`problems`], of one endpoint and of what concerns all; `None`: of all endpoints.
///
/// # Errors
/// As [`problems`].
pub(super) fn problems_of(
    store: &Store,
    definitions: &Definitions,
    only: Option<&EndpointId>,
) -> Result<Vec<Problem>> {
    let all = Records::read(store)?;
    let mut records = all.clone();
    records.endpoints.retain(|id, _| only.is_none_or(|only| only == id));
    let netlink = Netlink::open(&Netns::current()?)?;
    let facts = facts::look(&netlink, &Devices::of(&all), definitions.world.uplinks.as_ref())?;
    let mut found = of_endpoints(definitions, &all, only);
    let mut broken = |text: &dyn Display| found.push(Problem::new(Remedy::Converge, text));
    let damage = damage::damage(&netlink, &records)?;
    damage.networks.iter().for_each(|(name, why)| broken(&format_args!("network {name}: {why}")));
    damage.endpoints.iter().for_each(|(id, why)| broken(&format_args!("endpoint {id}: {why}")));
    for wrong in &adopt::check(&netlink, &records) {
        broken(wrong);
    }
    for lost in damage::lost(&netlink, &definitions.world, &records)? {
        broken(&lost);
    }
    let defrag = store.instance()?.and_then(|instance| instance.defrag);
    if let Some(wrong) = defrag::check(&netlink, defrag.as_ref())? {
        broken(&wrong);
    }
    match Datapath::open(&Bpffs::at(&store.paths().bpffs)) {
        Ok(Some(datapath)) => {
            let seen =
                Seen { store, datapath: &datapath, all: &all, records: &records, facts: &facts, definitions };
            of_programs(&seen, &mut broken)?;
            of_maps(&seen, &mut broken)?;
        }
        Ok(None) => broken(&"the programs are not loaded"),
        Err(e) => broken(&e),
    }
    found.extend(of_facts(&facts));
    Ok(found)
}

/// Uplinks that are not there, and devices that cannot be covered.
pub(super) fn of_facts(facts: &Facts) -> Vec<Problem> {
    let missing = facts
        .missing
        .iter()
        .map(|device| Problem::new(Remedy::User, format_args!("the uplink {device} is not there")));
    let uncovered = facts.uncovered.iter().map(|(device, why)| {
        let text = format_args!("published ports and masquerade do not cover the device {device}: {why}")
            .to_string();
        Problem::new(Remedy::None, text)
    });
    missing.chain(uncovered).collect()
}

/// Says that an endpoint cannot be there.
pub(super) fn left_out(id: &dyn Display, netns: &std::path::Path) -> Problem {
    let text = format_args!("endpoint {id} is left out: its network namespace {} is gone", netns.display())
        .to_string();
    Problem::new(Remedy::User, text)
}

/// Networks and endpoints that are defined and have no record.
fn of_endpoints(definitions: &Definitions, records: &Records, only: Option<&EndpointId>) -> Vec<Problem> {
    let mut found = Vec::new();
    for name in definitions.world.networks.keys().filter(|name| !records.networks.contains_key(*name)) {
        found.push(Problem::new(Remedy::Converge, format_args!("network {name} is not there")));
    }
    for endpoint in definitions.world.endpoints.values() {
        if records.endpoints.contains_key(&endpoint.id) || only.is_some_and(|only| *only != endpoint.id) {
            continue;
        }
        let path = match &endpoint.attachment {
            Attachment::Adopted(_) => {
                found.push(adopt::left_out(&endpoint.id, &"the device that another plugin made is gone"));
                continue;
            }
            Attachment::Create => None,
            Attachment::Path(path) => Some(path.clone()),
            Attachment::Pid(pid) => Some(format!("/proc/{pid}/ns/net").into()),
        };
        found.push(match path {
            // Of a container, the path may mean another namespace by now.
            Some(path)
                if definitions.origins.get(&endpoint.id) == Some(&Origin::Cni)
                    || Netns::open(&path).is_err() =>
            {
                left_out(&endpoint.id, &path)
            }
            _ => Problem::new(Remedy::Converge, format_args!("endpoint {} is not there", endpoint.id)),
        });
    }
    found
}

/// What the kernel's side is compared with.
struct Seen<'a> {
    store: &'a Store,
    datapath: &'a Datapath,
    /// All records.
    all: &'a Records,
    /// Those that are looked at.
    records: &'a Records,
    facts: &'a Facts,
    definitions: &'a Definitions,
}

fn of_programs(seen: &Seen<'_>, broken: &mut dyn FnMut(&dyn Display)) -> Result<()> {
    let Seen { store, datapath, all: _, records, facts, definitions } = *seen;
    let attached = datapath.attached()?;
    let runs =
        |hook: Hook, ifindex: u32| attached.iter().any(|a| a.hook == hook && a.ifindex == ifindex && a.alive);
    for record in records.endpoints.values() {
        for hook in [Hook::EndpointIngress, Hook::EndpointEgress] {
            if record.host_ifindex.is_some_and(|ifindex| !runs(hook, ifindex)) {
                broken(&format_args!(
                    "endpoint {}: {} is not attached to its device",
                    record.id,
                    hook.program()
                ));
            }
        }
    }
    for network in apart::networks(records) {
        if network.ifindex.is_some_and(|ifindex| !runs(Hook::NetworkEgress, ifindex)) {
            broken(&format_args!("network {}: to_network is not attached to its bridge", network.name));
        }
    }
    let instance = store.instance()?;
    let defrag = instance.as_ref().and_then(|instance| instance.defrag.as_ref()?.ifindex);
    if defrag.is_some_and(|ifindex| !runs(Hook::DefragIngress, ifindex)) {
        broken(&"from_defrag is not attached to its device");
    }
    for uplink in facts.uplinks.iter().filter(|uplink| !runs(Hook::UplinkIngress, uplink.ifindex)) {
        broken(&format_args!("from_uplink is not attached to the uplink {}", uplink.name));
    }
    let is_uplink = |ifindex| facts.uplinks.iter().any(|uplink| uplink.ifindex == ifindex);
    for attached in attached.iter().filter(|a| a.hook == Hook::UplinkIngress && !is_uplink(a.ifindex)) {
        broken(&format_args!(
            "from_uplink is attached to the device #{}, which is no uplink",
            attached.ifindex
        ));
    }
    let deny = datapath.deny_attached()?;
    let is_in_tc = datapath.maps.config.get(0)?.flags & CONFIG_DENY_IN_TC != 0;
    if !definitions.deny.is_empty() && !is_in_tc {
        let is_denying = |ifindex| deny.iter().any(|a| a.ifindex == ifindex && a.alive);
        for uplink in facts.uplinks.iter().filter(|uplink| !is_denying(uplink.ifindex)) {
            broken(&format_args!("the deny list is not attached to the uplink {}", uplink.name));
        }
    }
    for attached in deny.iter().filter(|a| definitions.deny.is_empty() || !is_uplink(a.ifindex)) {
        broken(&format_args!("the deny list is attached to the device #{} for nothing", attached.ifindex));
    }
    let cgroup = instance.and_then(|instance| instance.cgroup).or_else(|| default_cgroup().ok());
    if cgroup.is_some() && datapath.sockets_attached()?.is_none() {
        broken(&"the programs of the host's sockets are not attached to the cgroup");
    }
    Ok(())
}

fn of_maps(seen: &Seen<'_>, broken: &mut dyn FnMut(&dyn Display)) -> Result<()> {
    let Seen { store, datapath, all, records: _, facts, definitions } = *seen;
    let Some(instance) = store.instance()? else {
        broken(&"the instance has no record");
        return Ok(());
    };
    let numbers = numbers::read(store)?;
    let tables = policy::compile(&definitions.world, &assigned(all), &numbers, usize::MAX)?;
    let rows = make_rows(&definitions.world, all, facts, &tables);
    let settings = Settings::of(&definitions.world, &instance);
    for map in tables::differing(&datapath.maps, &rows, &settings)? {
        broken(&format_args!("the map {map} does not hold what it should"));
    }
    if !uplinks::is_deny_list_written(datapath, &definitions.deny)? {
        broken(&format_args!("the map {} does not hold what it should", netfast_common::maps::DENY));
    }
    Ok(())
}
