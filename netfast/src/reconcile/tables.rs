//! Brings the maps to the wanted rows, so that a packet sees the old world or the new one, never a mix.
//!
//! What policy says of an endpoint and of a prefix stands in rows of two versions, published ports stand in two maps; the
//! generation's lowest bit selects one. The version that is not in force is written, then the generation is raised, and only when no program
//! can still be running that read the old one is anything removed.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use netfast_common::addr::Addr;
use netfast_common::maps as name;
use netfast_common::policy::RuleKey;
use netfast_common::rows::{
    CONFIG_KEEP, CidrRow, Config, ENDPOINT_READY, EndpointRow, PublishKey, PublishRow, SourceKey,
};

use crate::compile::policy::Prefix as Block;
use crate::compile::rows::Rows;
use crate::kernel::{Maps, Prefix, Row, Table, Trie, grace_period};
use crate::model::{Established, PortRange, World};
use crate::store::{Instance, fault};

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

/// Makes the maps hold `rows` and the settings. Returns the generation in force.
///
/// # Errors
/// When the kernel refuses a write. What was in force before still is, unless only the removal of old rows failed.
pub(super) fn commit(maps: &mut Maps, rows: &Rows, settings: &Settings) -> Result<u32> {
    commit_in(maps, rows, settings).context("write the maps")
}

fn commit_in(maps: &mut Maps, rows: &Rows, settings: &Settings) -> Result<u32> {
    let config = maps.config.get(0)?;
    let wanted = settings.in_config(rows, config);
    if differing(maps, rows, settings)?.is_empty() {
        return Ok(config.generation);
    }
    let generation = config.generation.wrapping_add(1);
    let next = (generation & 1) as usize;

    let old_rules = maps.rules.to_map()?;
    for ((key, bits), row) in &rows.rules {
        if old_rules.get(&Prefix { key: *key, bits: *bits }) != Some(row) {
            fault::point("write a rule");
            maps.rules.insert(&Prefix { key: *key, bits: *bits }, row)?;
        }
    }
    write_subjects(maps, rows, next)?;
    let old_blocks = write_blocks(maps, rows, next)?;

    let old_endpoints = maps.endpoints.to_map()?;
    for (ifindex, row) in &rows.endpoints {
        if !old_endpoints.contains_key(ifindex) {
            fault::point("write an endpoint");
            // Not yet: its policy comes into force with the generation.
            let row = EndpointRow { flags: row.flags & !ENDPOINT_READY, ..*row };
            maps.endpoints.insert(ifindex, row)?;
        }
    }
    put(&mut maps.addresses, rows.addresses.iter(), "write an address")?;
    write_published(&mut maps.published[next], rows)?;
    let old_sources = write_sources(&mut maps.sources, rows)?;
    put(&mut maps.uplinks, rows.uplinks.iter(), "write an uplink")?;

    fault::point("raise the generation");
    maps.config.set(0, Config { generation, ..wanted })?;

    for (ifindex, row) in &rows.endpoints {
        if old_endpoints.get(ifindex) != Some(row) {
            fault::point("mark an endpoint ready");
            maps.endpoints.insert(ifindex, row)?;
        }
    }
    for ifindex in old_endpoints.keys().filter(|ifindex| !rows.endpoints.contains_key(ifindex)) {
        fault::point("remove an endpoint");
        maps.endpoints.remove(ifindex)?;
    }
    sweep(&mut maps.addresses, |key| rows.addresses.contains_key(key), "remove an address")?;
    sweep(&mut maps.uplinks, |key| rows.uplinks.contains_key(key), "remove an uplink")?;
    let old = Tries { rules: old_rules.into_keys().collect(), blocks: old_blocks, sources: old_sources };
    sweep_tries(maps, rows, &old)?;
    Ok(generation)
}

/// The maps that do not hold exactly these rows.
///
/// # Errors
/// When one cannot be read.
pub(super) fn differing(maps: &Maps, rows: &Rows, settings: &Settings) -> Result<Vec<&'static str>> {
    let config = maps.config.get(0)?;
    let current = (config.generation & 1) as usize;
    let mut slots_hold = true;
    for (slot, subject) in &rows.subjects {
        slots_hold &= maps.slots.get(*slot)?.versions[current] == *subject;
    }
    let blocks = maps.cidrs.to_map()?;
    let blocks = blocks
        .into_iter()
        .map(|(prefix, row)| (Block { addr: prefix.key, len: prefix.bits }, row.identities[current]));
    let rules = maps.rules.to_map()?.into_iter().map(|(prefix, row)| ((prefix.key, prefix.bits), row));
    let sources = maps.sources.to_map()?.into_keys();
    let holds = [
        (name::CONFIG, config == settings.in_config(rows, config)),
        (name::SLOT, slots_hold),
        (name::ENDPOINT, maps.endpoints.to_map()? == rows.endpoints),
        (name::ADDRESS, maps.addresses.to_map()? == rows.addresses),
        (name::PUBLISH[current], maps.published[current].to_map()? == rows.published),
        (name::SOURCE, sources.eq(rows.sources.iter().map(source_prefix))),
        (name::UPLINK, maps.uplinks.to_map()? == rows.uplinks),
        (name::CIDR, blocks.eq(rows.cidrs.iter().map(|(block, identity)| (*block, *identity)))),
        (name::RULE, rules.eq(rows.rules.iter().map(|(key, row)| (*key, *row)))),
    ];
    Ok(holds.into_iter().filter(|(_, holds)| !holds).map(|(map, _)| map).collect())
}

fn write_subjects(maps: &mut Maps, rows: &Rows, next: usize) -> Result<()> {
    for (slot, subject) in &rows.subjects {
        let mut row = maps.slots.get(*slot)?;
        if row.versions[next] != *subject {
            fault::point("write a slot");
            row.versions[next] = *subject;
            maps.slots.set(*slot, row)?;
        }
    }
    Ok(())
}

/// Writes the identities of prefixes; returns the prefixes there were. A prefix that only one of the two worlds tells
/// apart gets, in the other, the identity of the one around it: longest match would hide that one.
fn write_blocks(maps: &mut Maps, rows: &Rows, next: usize) -> Result<BTreeSet<Prefix<Addr>>> {
    let old = maps.cidrs.to_map()?;
    let current = 1 - next;
    let around = |prefix: &Prefix<Addr>| {
        let blocks = old.iter().filter(|(block, _)| holds(block, prefix));
        blocks.max_by_key(|(block, _)| block.bits).map_or(0, |(_, row)| row.identities[current])
    };
    let wanted_around = |prefix: &Prefix<Addr>| {
        let blocks = rows.cidrs.iter().filter(|(block, _)| holds(&key(block), prefix));
        blocks.max_by_key(|(block, _)| block.len).map_or(0, |(_, identity)| *identity)
    };
    let wanted: BTreeSet<Prefix<Addr>> = rows.cidrs.keys().map(key).collect();
    for prefix in wanted.union(&old.keys().copied().collect()) {
        let mut row = CidrRow::default();
        row.identities[current] = match old.get(prefix) {
            Some(row) => row.identities[current],
            None => around(prefix),
        };
        row.identities[next] = match rows.cidrs.get(&Block { addr: prefix.key, len: prefix.bits }) {
            Some(identity) => *identity,
            None => wanted_around(prefix),
        };
        if old.get(prefix) != Some(&row) {
            fault::point("write a prefix");
            // A trie replaces a node by one store, so readers see the old row or the new one.
            maps.cidrs.insert(prefix, row)?;
        }
    }
    Ok(old.into_keys().collect())
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
fn write_published(published: &mut Table<PublishKey, PublishRow>, rows: &Rows) -> Result<()> {
    let old = published.to_map()?;
    if old == rows.published {
        return Ok(());
    }
    // It was in force until the last change, and a program may be running that read the generation before that.
    grace_period();
    // What goes makes room for what comes.
    for key in old.keys().filter(|key| !rows.published.contains_key(key)) {
        fault::point("remove a published port");
        published.remove(key)?;
    }
    for (key, row) in rows.published.iter().filter(|(key, row)| old.get(key) != Some(row)) {
        fault::point("write a published port");
        published.insert(key, row)?;
    }
    Ok(())
}

/// Writes the lists of sources there are to be; returns the rows there were. A list that changes gets a new number, so
/// nobody is disturbed.
fn write_sources(sources: &mut Trie<SourceKey, u32>, rows: &Rows) -> Result<BTreeSet<Prefix<SourceKey>>> {
    let old = sources.to_map()?;
    for source in rows.sources.iter().map(source_prefix).filter(|source| !old.contains_key(source)) {
        fault::point("write a source");
        sources.insert(&source, 1)?;
    }
    Ok(old.into_keys().collect())
}

fn source_prefix((key, bits): &(SourceKey, u32)) -> Prefix<SourceKey> {
    Prefix { key: *key, bits: *bits }
}

/// Rows of tries that were there before a change.
struct Tries {
    rules: BTreeSet<Prefix<RuleKey>>,
    blocks: BTreeSet<Prefix<Addr>>,
    sources: BTreeSet<Prefix<SourceKey>>,
}

/// Removes the rows of worlds that are over, once no packet is judged by them any more.
fn sweep_tries(maps: &mut Maps, rows: &Rows, old: &Tries) -> Result<()> {
    let rules: Vec<_> =
        old.rules.iter().filter(|rule| !rows.rules.contains_key(&(rule.key, rule.bits))).collect();
    let blocks: Vec<_> = old
        .blocks
        .iter()
        .filter(|prefix| !rows.cidrs.contains_key(&Block { addr: prefix.key, len: prefix.bits }))
        .collect();
    let sources: Vec<_> =
        old.sources.iter().filter(|source| !rows.sources.contains(&(source.key, source.bits))).collect();
    if rules.is_empty() && blocks.is_empty() && sources.is_empty() {
        return Ok(());
    }
    grace_period();
    for rule in rules {
        fault::point("remove a rule");
        maps.rules.remove(rule)?;
    }
    for block in blocks {
        fault::point("remove a prefix");
        maps.cidrs.remove(block)?;
    }
    for source in sources {
        fault::point("remove a source");
        maps.sources.remove(source)?;
    }
    Ok(())
}

fn put<'a, K, V>(
    table: &mut Table<K, V>,
    rows: impl Iterator<Item = (&'a K, &'a V)>,
    what: &'static str,
) -> Result<()>
where
    K: Row + Ord + 'a,
    V: Row + PartialEq + 'a,
{
    let old = table.to_map()?;
    for (key, row) in rows {
        if old.get(key) != Some(row) {
            fault::point(what);
            table.insert(key, row)?;
        }
    }
    Ok(())
}

fn sweep<K, V>(table: &mut Table<K, V>, is_wanted: impl Fn(&K) -> bool, what: &'static str) -> Result<()>
where
    K: Row + Ord,
    V: Row,
{
    for key in table.to_map()?.keys().filter(|key| !is_wanted(key)) {
        fault::point(what);
        table.remove(key)?;
    }
    Ok(())
}
