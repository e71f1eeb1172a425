//! Brings the maps to the wanted rows, so that a packet sees the old world or the new one, never a mix.
//!
//! What policy says of an endpoint and of a prefix stands in rows of two versions, of which the generation's lowest bit
//! selects one. The version that is not in force is written, then the generation is raised, and only when no program
//! can still be running that read the old one is anything removed.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use netfast_common::addr::Addr;
use netfast_common::policy::RuleKey;
use netfast_common::rows::{CONFIG_KEEP, CidrRow, Config, ENDPOINT_READY, EndpointRow};

use crate::compile::policy::Prefix as Block;
use crate::compile::rows::Rows;
use crate::kernel::{Maps, Prefix, Row, Table, grace_period};
use crate::model::Established;
use crate::store::fault;

/// Range that masqueraded flows get their source ports from. It lies below the default of `ip_local_port_range`, so
/// that the host's own connections never collide with it.
const MASQUERADE: (u16, u16) = (10240, 32767);

/// What a generation is besides its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Cookie of the instance's network namespace.
    pub(super) netns_cookie: u64,
    /// What becomes of flows that the policies no longer allow.
    pub(super) established: Established,
}

impl Settings {
    fn flags(self) -> u32 {
        match self.established {
            Established::Recheck => 0,
            Established::Keep => CONFIG_KEEP,
        }
    }

    fn are_in_force(self, config: &Config) -> bool {
        // A change back to `recheck` is a new generation, as flows that were kept are to be judged.
        config.netns_cookie == self.netns_cookie && config.flags & CONFIG_KEEP == self.flags()
    }
}

/// Makes the maps hold `rows`. Returns the generation in force.
///
/// # Errors
/// When the kernel refuses a write. What was in force before still is, unless only the removal of old rows failed.
pub(super) fn commit(maps: &mut Maps, rows: &Rows, settings: Settings) -> Result<u32> {
    commit_in(maps, rows, settings).context("write the maps")
}

fn commit_in(maps: &mut Maps, rows: &Rows, settings: Settings) -> Result<u32> {
    let config = maps.config.get(0)?;
    if settings.are_in_force(&config) && is_in_force(maps, rows, config.generation)? {
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
    put(&mut maps.published, rows.published.iter(), "write a published port")?;
    put(&mut maps.uplinks, rows.uplinks.iter(), "write an uplink")?;

    fault::point("raise the generation");
    let (masquerade_first, masquerade_last) = MASQUERADE;
    let smallest_mtu = rows.uplinks.values().map(|uplink| uplink.mtu).min().unwrap_or(0);
    let raised = Config {
        generation,
        flags: config.flags & !CONFIG_KEEP | settings.flags(),
        netns_cookie: settings.netns_cookie,
        masquerade_first,
        masquerade_last,
        smallest_mtu,
    };
    maps.config.set(0, raised)?;

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
    sweep(&mut maps.published, |key| rows.published.contains_key(key), "remove a published port")?;
    sweep(&mut maps.uplinks, |key| rows.uplinks.contains_key(key), "remove an uplink")?;
    sweep_policy(maps, rows, old_rules.keys().copied().collect(), &old_blocks)?;
    Ok(generation)
}

/// Whether the maps hold these rows and no others already.
fn is_in_force(maps: &Maps, rows: &Rows, generation: u32) -> Result<bool> {
    let current = (generation & 1) as usize;
    for (slot, subject) in &rows.subjects {
        if maps.slots.get(*slot)?.versions[current] != *subject {
            return Ok(false);
        }
    }
    let blocks = maps.cidrs.to_map()?;
    let blocks = blocks
        .into_iter()
        .map(|(prefix, row)| (Block { addr: prefix.key, len: prefix.bits }, row.identities[current]));
    let rules = maps.rules.to_map()?.into_iter().map(|(prefix, row)| ((prefix.key, prefix.bits), row));
    Ok(maps.endpoints.to_map()? == rows.endpoints
        && maps.addresses.to_map()? == rows.addresses
        && maps.published.to_map()? == rows.published
        && maps.uplinks.to_map()? == rows.uplinks
        && blocks.eq(rows.cidrs.iter().map(|(block, identity)| (*block, *identity)))
        && rules.eq(rows.rules.iter().map(|(key, row)| (*key, *row))))
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

/// Removes the policy rows of worlds that are over, once no packet is judged by them any more.
fn sweep_policy(
    maps: &mut Maps,
    rows: &Rows,
    old_rules: BTreeSet<Prefix<RuleKey>>,
    old_blocks: &BTreeSet<Prefix<Addr>>,
) -> Result<()> {
    let rules: Vec<_> =
        old_rules.into_iter().filter(|rule| !rows.rules.contains_key(&(rule.key, rule.bits))).collect();
    let blocks: Vec<_> = old_blocks
        .iter()
        .filter(|prefix| !rows.cidrs.contains_key(&Block { addr: prefix.key, len: prefix.bits }))
        .collect();
    if rules.is_empty() && blocks.is_empty() {
        return Ok(());
    }
    grace_period();
    for rule in rules {
        fault::point("remove a rule");
        maps.rules.remove(&rule)?;
    }
    for block in blocks {
        fault::point("remove a prefix");
        maps.cidrs.remove(block)?;
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
