//! Brings the maps to the wanted rows, so that a packet sees the old world or the new one, never a mix.
//!
//! What policy says of an endpoint and of a prefix stands in rows of two versions, published ports stand in two maps; the
//! generation's lowest bit selects one. The version that is not in force is written, when no program can still be running that
//! reads it; then the generation is raised, and only when no program can still be running that read the old one is anything removed.

mod endpoint;
mod held;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use netfast_common::addr::Addr;
use netfast_common::rows::{
    CONFIG_KEEP, CidrRow, Config, ENDPOINT_READY, EndpointRow, PublishKey, PublishRow, SourceKey,
};

use crate::compile::policy::Prefix as Block;
use crate::compile::rows::Rows;
use crate::kernel::{Maps, Prefix, Programs, Row, Table, grace_period};
use crate::model::{Established, PortRange, World};
use crate::store::{Instance, fault};

use self::held::Held;

pub(super) use self::endpoint::{add, remove_drops, remove_rules, remove_sources, replace_subject, withdraw};

/// Range that masqueraded flows get their source ports from. It lies below the default of `ip_local_port_range`, so
/// that the host's own connections never collide with it.
const MASQUERADE: PortRange = PortRange { first: 10240, last: 32767 };

/// What a generation is besides its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Cookie of the instance's network namespace.
    netns_cookie: u64,
    /// Index of the device behind which fragments are put in order; 0: there is none.
    defrag: u32,
    /// The source ports of masqueraded flows.
    masquerade: PortRange,
    /// What becomes of flows that the policies no longer allow.
    established: Established,
}

impl Settings {
    /// What `world` asks for, in this instance.
    pub(super) fn of(world: &World, instance: &Instance) -> Self {
        Self {
            netns_cookie: instance.netns.cookie,
            defrag: instance.defrag.as_ref().and_then(|defrag| defrag.ifindex).unwrap_or(0),
            masquerade: world.masquerade.unwrap_or(MASQUERADE),
            established: world.established,
        }
    }

    /// The same with the words of `config` that are no setting.
    fn in_config(&self, rows: &Rows, config: Config) -> Config {
        let PortRange { first: masquerade_first, last: masquerade_last } = self.masquerade;
        let smallest_mtu = rows.uplinks.values().map(|uplink| uplink.mtu).min().unwrap_or(0);
        // A change back to `recheck` is a new generation too, as flows that were kept are to be judged.
        let keep = match self.established {
            Established::Recheck => 0,
            Established::Keep => CONFIG_KEEP,
        };
        Config {
            generation: config.generation,
            flags: config.flags & !CONFIG_KEEP | keep,
            netns_cookie: self.netns_cookie,
            masquerade_first,
            masquerade_last,
            smallest_mtu,
            defrag: self.defrag,
            pad: 0,
        }
    }
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Committed {
    /// The generation in force.
    pub generation: u32,
    /// Rows that were written or removed.
    pub rows: usize,
}

/// Makes the maps hold `rows` and the settings.
///
/// # Errors
/// When the kernel refuses a write. What was in force before still is, unless only the removal of old rows failed.
pub(super) fn commit(maps: &mut Maps, rows: &Rows, settings: &Settings) -> Result<Committed> {
    let committed = commit_in(maps, rows, settings).context("write the maps")?;
    tracing::debug!(
        generation = committed.generation,
        rows = committed.rows,
        "the maps hold what they should"
    );
    Ok(committed)
}

fn commit_in(maps: &mut Maps, rows: &Rows, settings: &Settings) -> Result<Committed> {
    let held = Held::read(maps)?;
    let config = held.config;
    if held.differing(rows, settings).is_empty() {
        return Ok(Committed { generation: config.generation, rows: 0 });
    }
    let generation = config.generation.wrapping_add(1);
    let next = (generation & 1) as usize;
    let mut written = 1;

    written += write_rules(maps, &held, rows)?;
    // The version that is written next was in force until the last change, and programs that began before it may read it.
    grace_period(Programs::OfPackets);
    written += write_subjects(maps, &held, rows, next)?;
    written += write_blocks(maps, &held, rows, next)?;
    for (ifindex, row) in &rows.endpoints {
        if !held.endpoints.contains_key(ifindex) {
            fault::point("write an endpoint");
            // Not yet: its policy comes into force with the generation.
            let row = EndpointRow { flags: row.flags & !ENDPOINT_READY, ..*row };
            maps.endpoints.insert(ifindex, row)?;
            written += 1;
        }
    }
    written += put(&mut maps.addresses, &held.addresses, &rows.addresses, "write an address")?;
    written += write_published(&mut maps.published[next], &held.published[next], rows)?;
    for source in rows.sources.iter().map(source_prefix).filter(|source| !held.sources.contains_key(source)) {
        fault::point("write a source");
        // A list that changes gets a new number, so nobody is disturbed.
        maps.sources.insert(&source, 1)?;
        written += 1;
    }
    written += put(&mut maps.uplinks, &held.uplinks, &rows.uplinks, "write an uplink")?;

    fault::point("raise the generation");
    maps.config.set(0, Config { generation, ..settings.in_config(rows, config) })?;

    for (ifindex, row) in &rows.endpoints {
        if held.endpoints.get(ifindex) != Some(row) {
            fault::point("mark an endpoint ready");
            maps.endpoints.insert(ifindex, row)?;
            written += 1;
        }
    }
    written += sweep(&mut maps.endpoints, &held.endpoints, &rows.endpoints, "remove an endpoint")?;
    written += sweep(&mut maps.addresses, &held.addresses, &rows.addresses, "remove an address")?;
    written += sweep(&mut maps.uplinks, &held.uplinks, &rows.uplinks, "remove an uplink")?;
    written += sweep_tries(maps, &held, rows)?;
    sweep_hits(maps, rows)?;
    Ok(Committed { generation, rows: written })
}

/// The maps that do not hold exactly these rows.
///
/// # Errors
/// When one cannot be read.
pub(super) fn differing(maps: &Maps, rows: &Rows, settings: &Settings) -> Result<Vec<&'static str>> {
    Ok(Held::read(maps)?.differing(rows, settings))
}

fn write_rules(maps: &mut Maps, held: &Held, rows: &Rows) -> Result<usize> {
    let wanted = rows.rules.iter().map(|(rule, row)| (rules::key(rule), *row));
    let new: Vec<_> = wanted.filter(|(rule, row)| held.rules.get(rule) != Some(row)).collect();
    rules::insert(maps, &new)?;
    Ok(new.len())
}

fn write_subjects(maps: &mut Maps, held: &Held, rows: &Rows, next: usize) -> Result<usize> {
    let mut written = 0;
    for (slot, subject) in &rows.subjects {
        // One that there is no room for is refused where it is written.
        let mut row = held.slot(*slot).copied().unwrap_or_default();
        if row.versions[next] != *subject {
            fault::point("write a slot");
            row.versions[next] = *subject;
            maps.slots.set(*slot, row)?;
            written += 1;
        }
    }
    Ok(written)
}

/// Writes the identities of prefixes. A prefix that only one of the two worlds tells apart gets, in the other, the identity
/// of the one around it: longest match would hide that one.
fn write_blocks(maps: &mut Maps, held: &Held, rows: &Rows, next: usize) -> Result<usize> {
    let current = 1 - next;
    let mut written = 0;
    let around = |prefix: &Prefix<Addr>| {
        let blocks = held.cidrs.iter().filter(|(block, _)| holds(block, prefix));
        blocks.max_by_key(|(block, _)| block.bits).map_or(0, |(_, row)| row.identities[current])
    };
    let wanted_around = |prefix: &Prefix<Addr>| {
        let blocks = rows.cidrs.iter().filter(|(block, _)| holds(&key(block), prefix));
        blocks.max_by_key(|(block, _)| block.len).map_or(0, |(_, identity)| *identity)
    };
    let wanted: BTreeSet<Prefix<Addr>> = rows.cidrs.keys().map(key).collect();
    let old: BTreeSet<Prefix<Addr>> = held.cidrs.keys().copied().collect();
    for prefix in wanted.union(&old) {
        let mut row = CidrRow::default();
        row.identities[current] = match held.cidrs.get(prefix) {
            Some(row) => row.identities[current],
            None => around(prefix),
        };
        row.identities[next] = match rows.cidrs.get(&Block { addr: prefix.key, len: prefix.bits }) {
            Some(identity) => *identity,
            None => wanted_around(prefix),
        };
        if held.cidrs.get(prefix) != Some(&row) {
            fault::point("write a prefix");
            // A trie replaces a node by one store, so readers see the old row or the new one.
            maps.cidrs.insert(prefix, row)?;
            written += 1;
        }
    }
    Ok(written)
}

fn key(block: &Block) -> Prefix<Addr> {
    Prefix { key: block.addr, bits: block.len }
}

/// Whether `outer` holds all of `inner`.
fn holds(outer: &Prefix<Addr>, inner: &Prefix<Addr>) -> bool {
    let bits = |addr: Addr| u128::from_be_bytes(addr.octets());
    let mask = u128::MAX.checked_shl(Addr::BITS - outer.bits).unwrap_or(0);
    outer.bits <= inner.bits && (bits(outer.key) ^ bits(inner.key)) & mask == 0
}

/// Makes the map of published ports that is not in force hold those of the new world. A world is written whole and not row
/// by row into the one in force, since a hash hands the memory of a replaced row on at once, under whoever reads it.
fn write_published(
    published: &mut Table<PublishKey, PublishRow>,
    old: &BTreeMap<PublishKey, PublishRow>,
    rows: &Rows,
) -> Result<usize> {
    if *old == rows.published {
        return Ok(0);
    }
    // Programs of sockets look there too.
    grace_period(Programs::All);
    // What goes makes room for what comes.
    let removed = sweep(published, old, &rows.published, "remove a published port")?;
    Ok(removed + put(published, old, &rows.published, "write a published port")?)
}

fn source_prefix((key, bits): &(SourceKey, u32)) -> Prefix<SourceKey> {
    Prefix { key: *key, bits: *bits }
}

/// Removes the rows of worlds that are over, once no packet is judged by them any more.
fn sweep_tries(maps: &mut Maps, held: &Held, rows: &Rows) -> Result<usize> {
    let rules = held.rules.keys().filter(|rule| !rows.rules.contains_key(&(rule.key, rule.bits)));
    let rules: Vec<_> = rules.copied().collect();
    let is_gone =
        |prefix: &&Prefix<Addr>| !rows.cidrs.contains_key(&Block { addr: prefix.key, len: prefix.bits });
    let blocks: Vec<_> = held.cidrs.keys().filter(is_gone).collect();
    let sources = held.sources.keys().filter(|source| !rows.sources.contains(&(source.key, source.bits)));
    let sources: Vec<_> = sources.collect();
    let gone = rules.len() + blocks.len() + sources.len();
    if gone == 0 {
        return Ok(0);
    }
    grace_period(Programs::OfPackets);
    rules::remove(maps, &rules)?;
    for block in blocks {
        fault::point("remove a prefix");
        maps.cidrs.remove(block)?;
    }
    for source in sources {
        fault::point("remove a source");
        maps.sources.remove(source)?;
    }
    Ok(gone)
}

/// Forgets the hits of rules that are no more. Their numbers are not used again, so nothing is counted wrong meanwhile.
fn sweep_hits(maps: &mut Maps, rows: &Rows) -> Result<()> {
    let rules: BTreeSet<u32> = rows.rules.values().map(|row| row.number()).collect();
    for rule in maps.rule_hits.to_map()?.keys().filter(|rule| !rules.contains(rule)) {
        fault::point("forget hits");
        maps.rule_hits.remove(rule)?;
    }
    Ok(())
}

/// Writes what differs from what a table holds.
fn put<K, V>(
    table: &mut Table<K, V>,
    held: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    what: &'static str,
) -> Result<usize>
where
    K: Row + Ord,
    V: Row + PartialEq,
{
    let differing = wanted.iter().filter(|(key, row)| held.get(key) != Some(row));
    let mut written = 0;
    for (key, row) in differing {
        fault::point(what);
        table.insert(key, row)?;
        written += 1;
    }
    Ok(written)
}

/// Removes what a table holds and nobody wants.
fn sweep<K, V>(
    table: &mut Table<K, V>,
    held: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    what: &'static str,
) -> Result<usize>
where
    K: Row + Ord,
    V: Row,
{
    let gone = held.keys().filter(|key| !wanted.contains_key(key));
    let mut removed = 0;
    for key in gone {
        fault::point(what);
        table.remove(key)?;
        removed += 1;
    }
    Ok(removed)
}
