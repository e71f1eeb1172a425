//! One endpoint more, or one less: what that touches and nothing else.
//!
//! Whatever is out of the ordinary is left to [`super::converge`], which looks at everything. So is what a process leaves
//! that dies here: the ledger is away then, and the endpoint's record is there before anything else of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::assign::{self, Records};
use super::converge::{assigned_to, make_rows};
use super::entries::{self, Claim, Entry, Row, digest};
use super::facts::Facts;
use super::host::{Host, netns_dir};
use super::ledger::Ledger;
use super::numbers::Small;
use super::ports::{self, PortFacts};
use super::{apart, files, stale, tables, topology};
use crate::compile::policy::{Change, Member, Roll, Tables};
use crate::compile::rows::Rows;
use crate::kernel::{Bpffs, Datapath, Mode, Programs, grace_period};
use crate::model::check::{MAX_ENDPOINTS, check};
use crate::model::{Attachment, Endpoint, EndpointId, Name, Network, World};
use crate::net::{Netlink, Netns};
use crate::store::{
    AttachmentKey, Companion, Definitions, EndpointRecord, Instance, LockedStore, NetworkRecord, fault,
};

/// What a change of definitions comes to, if that is one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference<'a> {
    /// One more.
    Added(&'a Endpoint),
    /// One less.
    Removed(&'a Endpoint),
    /// One that policies see otherwise: what it was, and what it becomes.
    Relabelled(&'a Endpoint, &'a Endpoint),
}

/// The endpoint that makes all the difference; `None`: there is more to it.
pub(super) fn difference<'a>(before: &'a Definitions, after: &'a Definitions) -> Option<Difference<'a>> {
    let Definitions {
        writing: _,
        world,
        origins: _,
        attachments: _,
        attached_networks,
        joined_networks: _,
        deny,
        manifest,
        policy_directory,
        policy_files,
    } = before;
    let rest = (attached_networks, deny, manifest, policy_directory, policy_files);
    let Definitions { attached_networks, deny, manifest, policy_directory, policy_files, .. } = after;
    let same = rest == (attached_networks, deny, manifest, policy_directory, policy_files);
    if !same || !is_same_but_for_endpoints(world, &after.world) {
        return None;
    }
    let (old, new) = (&world.endpoints, &after.world.endpoints);
    let only = |more: &'a BTreeMap<EndpointId, Endpoint>, less: &BTreeMap<EndpointId, Endpoint>| {
        if more.len() != less.len() + 1 || !less.iter().all(|(id, endpoint)| more.get(id) == Some(endpoint)) {
            return None;
        }
        more.values().find(|endpoint| !less.contains_key(&endpoint.id))
    };
    let relabelled = || {
        let mut changed = old.iter().filter(|(id, endpoint)| new.get(*id) != Some(*endpoint));
        let (id, was) = changed.next().filter(|_| old.len() == new.len())?;
        let is = new.get(id)?;
        let seen_alike = Endpoint { labels: is.labels.clone(), ports: is.ports.clone(), ..was.clone() };
        (changed.next().is_none() && seen_alike == *is).then_some(Difference::Relabelled(was, is))
    };
    (only(new, old).map(Difference::Added))
        .or_else(|| only(old, new).map(Difference::Removed))
        .or_else(relabelled)
}

fn is_same_but_for_endpoints(a: &World, b: &World) -> bool {
    let World {
        networks,
        namespaces,
        endpoints: _,
        policies,
        cluster_policies,
        audit,
        established,
        uplinks,
        limits,
        masquerade,
        not_masqueraded,
    } = a;
    (networks, namespaces, policies, cluster_policies)
        == (&b.networks, &b.namespaces, &b.policies, &b.cluster_policies)
        && (audit, established, uplinks, limits) == (&b.audit, &b.established, &b.uplinks, &b.limits)
        && (masquerade, not_masqueraded) == (&b.masquerade, &b.not_masqueraded)
}

/// What works on one endpoint needs.
pub(super) struct Single<'a> {
    pub store: &'a LockedStore,
    pub netns: &'a Netns,
    pub mode: Mode,
    pub ends_soon: bool,
    pub ledger: Ledger,
}

/// What other endpoints have.
#[derive(Debug, Default)]
struct Held {
    addresses: BTreeSet<IpAddr>,
    slots: BTreeSet<u32>,
    /// How many ports of the host.
    ports: u64,
    /// How many others are in the network that it is to join.
    members: usize,
    /// How they are there.
    neighbours: Neighbours,
}

/// The other endpoints of a network, as far as they are there.
#[derive(Clone, Copy, Debug, Default)]
struct Neighbours {
    /// How many are ports of the bridge.
    ports: usize,
    /// How many are not.
    apart: usize,
}

impl Neighbours {
    fn count(&mut self, row: &Row) {
        self.ports += usize::from(row.is_port());
        self.apart += usize::from(row.is_apart());
    }
}

/// An endpoint that was made.
#[derive(Debug)]
pub(super) struct Made {
    pub record: EndpointRecord,
    /// Its network.
    pub bridge: NetworkRecord,
    /// The MAC address of the host's end of its pair; `None`: another plugin made that.
    pub host_mac: Option<[u8; 6]>,
}

/// An endpoint to be made, with all it is given.
#[derive(Debug)]
struct Planned {
    /// A world with nothing else in it.
    world: World,
    records: Records,
    /// What the policies say of it, and who is who then.
    change: Change,
    roll: Roll,
    /// How many ports of the host are published, its own among them; 0: it publishes none.
    ports: u64,
}

impl<'a> Single<'a> {
    fn host<'b>(&self, netlink: &'b Netlink, datapath: Datapath) -> Host<'b>
    where
        'a: 'b,
    {
        let Self { store, netns, mode, ends_soon, .. } = *self;
        Host { store, netns, netlink, datapath, mode, ends_soon }
    }
}

impl Single<'_> {
    /// Makes one more endpoint. `None`: nothing was done, as that takes more than this.
    ///
    /// # Errors
    /// When the kernel refuses. The endpoint is there in part then, and its record with it.
    pub(super) fn add(
        &mut self,
        instance: &mut Instance,
        endpoint: &Endpoint,
        key: Option<&AttachmentKey>,
        begin: impl FnOnce(&LockedStore) -> Result<()>,
    ) -> Result<Option<Made>> {
        let Some(mut planned) = self.plan(instance, endpoint)? else { return Ok(None) };
        let Some(datapath) = Datapath::open_own(&Bpffs::at(&self.store.paths().bpffs))? else {
            return Ok(None);
        };
        // There may be no room for the ports it publishes: each takes a row or two.
        if planned.ports * 2 > u64::from(datapath.maps.published[0].max_entries()?) {
            return Ok(None);
        }
        let netlink = Netlink::open(self.netns)?;
        let bridge = planned.records.networks.get(&endpoint.network).context("a record without a network")?;
        if !self.ledger.surroundings.are_as_left(&netlink, bridge) {
            return Ok(None);
        }
        fault::point("begin with one endpoint");
        self.store.remove_ledger()?;
        self.store.save_instance(instance)?;
        begin(self.store)?;
        let mut host = self.host(&netlink, datapath);

        let Planned { world, records, change, roll, ports: _ } = &mut planned;
        let bridge = records.networks.get(&endpoint.network).context("a record without a network")?;
        let record = records.endpoints.get_mut(&endpoint.id).context("an endpoint without a record")?;
        let network = topology::network_of(world, record)?;
        if record.apart {
            apart::attach_to(&host, bridge)?;
        }
        let host_mac = topology::create_endpoint(&host, network, bridge, endpoint, record)?;
        fault::point("write the names of an endpoint");
        files::add(host.run_dir(), record)?;
        self.store.save_companion(Companion::Roll, roll)?;
        let rows = rows_of(world, records, change);
        tables::add(&mut host.datapath.maps, &rows)?;
        let record = records.endpoints.remove(&endpoint.id).context("an endpoint without a record")?;
        fault::point("set a device up");
        let ifindex = record.host_ifindex.context("an endpoint without a device")?;
        host.netlink.set_up(ifindex).with_context(|| format!("set {} up", record.host_ifname))?;
        if endpoint.sends_by_host {
            self.ledger.bridged.insert(endpoint.network.clone());
        }
        self.ledger.entries.push(&Entry::of(&record, endpoint, key.map(|key| key.container.as_str())))?;
        let bridge = records.networks.remove(&record.network).context("a record without a network")?;
        Ok(Some(Made { record, bridge, host_mac }))
    }

    /// Numbers, names and addresses for an endpoint, where nothing is in its way.
    fn plan(&self, instance: &mut Instance, endpoint: &Endpoint) -> Result<Option<Planned>> {
        let ledger = &self.ledger;
        let Some(network) = ledger.networks.get(&endpoint.network) else { return Ok(None) };
        let Some(bridge) = self.store.network(&network.name)? else { return Ok(None) };
        let world = World {
            networks: [(network.name.clone(), network.clone())].into(),
            endpoints: [(endpoint.id.clone(), endpoint.clone())].into(),
            ..World::default()
        };
        if endpoint.command.is_some() || bridge.ifindex.is_none() || !check(&world).is_empty() {
            return Ok(None);
        }
        let netns = assign::netns_path(endpoint, &netns_dir(&self.store.paths().run_dir));
        let Some(held) = self.held(endpoint, &netns) else { return Ok(None) };
        let is_full = !network.adopted && held.members >= MAX_ENDPOINTS;
        if is_full || !self.is_place(endpoint, &netns)? {
            return Ok(None);
        }
        let mut addresses = assign::Addresses::taken(held.addresses);
        let Ok(taken) = addresses.take(endpoint, network) else { return Ok(None) };
        let slot = assign::lowest_free(&held.slots);
        let incarnation = instance.take_incarnation()?;
        let mut record = assign::endpoint_record(endpoint, network, netns, incarnation, slot, taken.clone());
        let Neighbours { ports: of_bridge, apart } = held.neighbours;
        let is_bridged = endpoint.sends_by_host || ledger.bridged.contains(&network.name);
        if is_bridged && apart > 0 {
            return Ok(None);
        }
        record.apart = of_bridge >= apart::PORTS && !is_bridged && apart::may_be_apart(&record, &bridge);
        let mut records = Records {
            networks: [(network.name.clone(), bridge)].into(),
            endpoints: [(endpoint.id.clone(), record)].into(),
        };
        if !endpoint.publish.is_empty() {
            let bound = if ports::are_free(self.netns, &endpoint.publish) {
                Vec::new()
            } else {
                self.netns.bound_sockets().unwrap_or_default()
            };
            let facts = PortFacts { bound, most_rows: usize::MAX };
            let new = &mut records.endpoints;
            if ports::assign(&world, &Records::default(), instance, &facts, new).is_err() {
                return Ok(None);
            }
        }
        let Some(mut small) = Small::read(self.store)? else { return Ok(None) };
        let member = Member { endpoint, assigned: taken };
        let Some(change) = small.change(None, Some(member)) else { return Ok(None) };
        let own = endpoint.publish.iter().map(|publish| u64::from(publish.container.count()));
        let ports = if endpoint.publish.is_empty() { 0 } else { held.ports + own.sum::<u64>() };
        Ok(Some(Planned { world, records, change, roll: small.roll, ports }))
    }

    /// What the others have. `None`: somebody has what the endpoint asks for, or that is still to be chosen.
    fn held(&self, endpoint: &Endpoint, netns: &Path) -> Option<Held> {
        let claims: Vec<_> = endpoint.publish.iter().map(Claim::of).collect::<Option<_>>()?;
        let is_in_the_way = |other: &Entry<'_>| {
            // One of that name in another namespace of policies gets a longer name in `/etc/hosts`.
            (other.name == endpoint.id.name.as_str() && other.network == endpoint.network.as_str())
                || other.is(&endpoint.id)
                || endpoint.asked().any(|ip| other.addresses().any(|taken| taken == ip))
                || (endpoint.mac.is_some() && endpoint.mac == other.mac)
                || (other.netns.map(Path::new) == Some(netns) && other.ifname == endpoint.ifname())
                || other.published.iter().any(|held| claims.iter().any(|claim| claim.overlaps(held)))
        };
        let (name, network) = (digest(endpoint.id.name.as_str()), digest(endpoint.network.as_str()));
        let place = entries::place(netns, endpoint.ifname());
        // Most of the others are in nobody's way, as their rows tell.
        let may_be_in_the_way = |row: &Row| {
            row.name == name
                || row.place == place
                || row.has_more()
                || row.may_overlap(&claims)
                || (endpoint.mac.is_some() && endpoint.mac == row.mac())
                || endpoint.asked().any(|ip| row.addresses().any(|taken| taken == ip))
        };
        let mut held = Held::default();
        // Sets are made of them in one go, which takes half as long.
        let (mut addresses, mut slots) = (Vec::new(), Vec::new());
        for line in self.ledger.entries.lines() {
            let row = &line.row;
            if may_be_in_the_way(row) {
                let other = line.read()?;
                if is_in_the_way(&other) {
                    return None;
                }
                addresses.extend(other.more);
            }
            addresses.extend(row.addresses());
            slots.extend(row.slot());
            held.ports += u64::from(row.published);
            if row.network == network {
                held.members += 1;
                held.neighbours.count(row);
            }
        }
        held.addresses = addresses.into_iter().collect();
        held.slots = slots.into_iter().collect();
        Some(held)
    }

    /// Whether the host is as the last change of everything left it, as far as a network is concerned.
    ///
    /// # Errors
    /// When the network's record cannot be read, or the kernel does not answer.
    pub(super) fn is_host_as_left(&self, network: &Name) -> Result<bool> {
        let Some(bridge) = self.store.network(network)? else { return Ok(false) };
        Ok(self.ledger.surroundings.are_as_left(&Netlink::open(self.netns)?, &bridge))
    }

    /// Whether the endpoint's network namespace is one that it may live in.
    fn is_place(&self, endpoint: &Endpoint, netns: &Path) -> Result<bool> {
        if endpoint.attachment == Attachment::Create {
            return Ok(true);
        }
        let Ok(place) = Netns::open(netns) else { return Ok(false) };
        Ok(place.inode()? != self.netns.inode()?)
    }

    /// The neighbours of an endpoint of the ledger that shares nothing with another one. A name that two have, or a port that
    /// two have on different addresses, is written otherwise for one alone.
    fn neighbours(&self, record: &EndpointRecord) -> Option<Neighbours> {
        let own: Vec<_> = record.publish.iter().filter_map(|record| Claim::of(&record.publish)).collect();
        let (name, network) = (digest(record.id.name.as_str()), digest(record.network.as_str()));
        let mut is_known = false;
        let mut neighbours = Neighbours::default();
        for line in self.ledger.entries.lines() {
            let row = &line.row;
            if row.name == name || row.may_overlap(&own) {
                let other = line.read()?;
                if other.is(&record.id) {
                    is_known = true;
                    continue;
                }
                let has_name = other.name == record.id.name.as_str();
                let is_shared = (has_name && other.network == record.network.as_str())
                    || other.published.iter().any(|held| own.iter().any(|own| own.overlaps(held)));
                if is_shared {
                    return None;
                }
            }
            if row.network == network {
                neighbours.count(row);
            }
        }
        is_known.then_some(neighbours)
    }

    /// Removes an endpoint. `false`: nothing was done, as that takes more than this.
    ///
    /// # Errors
    /// When the kernel refuses. What is left of the endpoint has its record then.
    pub(super) fn remove(
        &mut self,
        endpoint: &Endpoint,
        begin: impl FnOnce(&LockedStore) -> Result<()>,
    ) -> Result<bool> {
        let id = &endpoint.id;
        let Some(record) = self.store.endpoint(id)? else { return Ok(false) };
        if record.adopted.is_some() {
            // Its device stays, so there is no grace period below, and the host may have other uplinks then.
            return Ok(false);
        }
        let Some(neighbours) = self.neighbours(&record) else { return Ok(false) };
        if neighbours.apart > 0 && neighbours.ports == 0 {
            // A bridge without a port has no carrier.
            return Ok(false);
        }
        let Some(network) = self.ledger.networks.get(&record.network).cloned() else { return Ok(false) };
        let Some(bridge) = self.store.network(&network.name)? else { return Ok(false) };
        let Some(mut small) = Small::read(self.store)? else { return Ok(false) };
        let member = Member { endpoint, assigned: assigned_to(&record) };
        let Some(change) = small.change(Some(member), None) else { return Ok(false) };
        let Some(datapath) = Datapath::open_own(&Bpffs::at(&self.store.paths().bpffs))? else {
            return Ok(false);
        };
        fault::point("begin with one endpoint");
        self.store.remove_ledger()?;
        begin(self.store)?;
        let netlink = Netlink::open(self.netns)?;
        let mut host = self.host(&netlink, datapath);
        let (world, records) = alone(&network, bridge, &record);
        let rows = rows_of(&world, &records, &Change::default());
        // Nobody finds it any more; and before anything else gets the memory of these rows, its device goes, for which the
        // kernel waits for a grace period, an expedited one at least.
        tables::withdraw(&mut host.datapath.maps, &rows)?;
        if !rows.published.is_empty() {
            let generation = host.datapath.maps.config.get(0)?.generation;
            let published = host.datapath.maps.published[(generation & 1) as usize].to_map()?;
            stale::end_connections(&mut host, &Rows { published, ..Rows::default() })?;
        }
        fault::point("remove the names of an endpoint");
        files::remove(host.run_dir(), &record)?;
        topology::remove_endpoint(&host, &records, &record)?;
        if let Some(bridge) = records.networks.get(&network.name).and_then(|network| network.ifindex)
            && record.apart
            && neighbours.apart == 0
        {
            apart::detach_from(&host, bridge)?;
        }
        tables::remove_drops(&mut host.datapath.maps, record.incarnation)?;
        tables::remove_sources(&mut host.datapath.maps, &rows)?;
        tables::remove_rules(&mut host.datapath.maps, &change.removed)?;
        self.store.save_companion(Companion::Roll, &small.roll)?;
        self.ledger.entries.remove(id);
        Ok(true)
    }
}

impl Single<'_> {
    /// Has policies see an endpoint otherwise. `false`: nothing was done, as that takes more than this.
    ///
    /// # Errors
    /// When the kernel refuses. The policies see it as before then.
    pub(super) fn relabel(&mut self, was: &Endpoint, is: &Endpoint) -> Result<bool> {
        let Some(record) = self.store.endpoint(&is.id)? else { return Ok(false) };
        let Some(mut small) = Small::read(self.store)? else { return Ok(false) };
        let member = |endpoint| Some(Member { endpoint, assigned: assigned_to(&record) });
        let Some(change) = small.change(member(was), member(is)) else { return Ok(false) };
        let Some(subject) = change.subject else { return Ok(false) };
        let Some(mut datapath) = Datapath::open_own(&Bpffs::at(&self.store.paths().bpffs))? else {
            return Ok(false);
        };
        fault::point("begin with one endpoint");
        self.store.remove_ledger()?;
        self.store.save_companion(Companion::Roll, &small.roll)?;
        tables::replace_subject(&mut datapath.maps, record.slot, subject, &change.added)
            .context("write the maps")?;
        if !change.removed.is_empty() {
            grace_period(Programs::OfPackets);
            tables::remove_rules(&mut datapath.maps, &change.removed)?;
        }
        Ok(true)
    }
}

/// A world and records with one endpoint in them.
fn alone(network: &Network, bridge: NetworkRecord, record: &EndpointRecord) -> (World, Records) {
    let endpoint = Endpoint::new(record.id.clone(), network.name.clone());
    let name: &Name = &network.name;
    let world = World {
        networks: [(name.clone(), network.clone())].into(),
        endpoints: [(record.id.clone(), endpoint)].into(),
        ..World::default()
    };
    let records = Records {
        networks: [(name.clone(), bridge)].into(),
        endpoints: [(record.id.clone(), record.clone())].into(),
    };
    (world, records)
}

/// The rows of the only endpoint of a world, given what the policies of the real one say of it.
fn rows_of(world: &World, records: &Records, change: &Change) -> Rows {
    let subjects = records.endpoints.keys().map(|id| (id.clone(), change.subject.unwrap_or_default()));
    let tables = Tables { subjects: subjects.collect(), rules: change.added.clone(), ..Tables::default() };
    make_rows(world, records, &Facts::default(), &tables)
}
