//! Brings the maps to the wanted rows, so that a packet sees the old world or the new one, never a mix.
//!
//! What policy says of an endpoint and of a prefix stands in rows of two versions, published ports stand in two maps; the
//! generation's lowest bit selects one. The version that is not in force is written, then the generation is raised, and only when no program
//! can still be running that read the old one is anything removed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use netfast_common::addr::Addr;
use netfast_common::maps as name;
use netfast_common::policy::{ANY_IDENTITY, RuleKey, RuleRow};
use netfast_common::rows::{
    ADDRESS_ENDPOINT, AddressRow, CONFIG_KEEP, CidrRow, Config, ENDPOINT_READY, EndpointRow, PublishKey,
    PublishRow, SlotRow, SourceKey, Subject, UplinkRow,
};

use crate::compile::policy::Prefix as Block;
use crate::compile::rows::Rows;
use crate::kernel::{Maps, Prefix, Row, Table, grace_period};
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

/// Writes the rows of one more endpoint, of which nobody knows yet: no packet has its addresses or its identity, and no
/// device its programs, so they are in force at once and in both versions, without another generation.
///
/// # Errors
/// When the kernel refuses a write.
pub(super) fn add(maps: &mut Maps, rows: &Rows) -> Result<()> {
    add_in(maps, rows).context("write the maps")
}

fn add_in(maps: &mut Maps, rows: &Rows) -> Result<()> {
    insert_rules(maps, &rows.rules)?;
    for (slot, subject) in &rows.subjects {
        fault::point("write a slot");
        maps.slots.set(*slot, SlotRow { versions: [*subject; 2] })?;
    }
    for source in &rows.sources {
        fault::point("write a source");
        maps.sources.insert(&source_prefix(source), 1)?;
    }
    for (ifindex, row) in &rows.endpoints {
        fault::point("write an endpoint");
        maps.endpoints.insert(ifindex, row)?;
    }
    for (addr, row) in endpoint_addresses(rows) {
        fault::point("write an address");
        maps.addresses.insert(addr, row)?;
    }
    for published in &mut maps.published {
        for (key, row) in &rows.published {
            fault::point("write a published port");
            published.insert(key, row)?;
        }
    }
    Ok(())
}

/// The addresses of endpoints among all.
fn endpoint_addresses(rows: &Rows) -> impl Iterator<Item = (&Addr, &AddressRow)> {
    rows.addresses.iter().filter(|(_, row)| row.kind == ADDRESS_ENDPOINT)
}

/// Removes the rows by which the endpoint of `rows` is found, and has every flow judged again: those that led to it would
/// hold their tuples against an heir. Until a grace period is over, programs may be running that have found the rows.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn withdraw(maps: &mut Maps, rows: &Rows) -> Result<()> {
    for published in &mut maps.published {
        for key in rows.published.keys() {
            fault::point("remove a published port");
            published.remove(key)?;
        }
    }
    for (addr, _) in endpoint_addresses(rows) {
        fault::point("remove an address");
        maps.addresses.remove(addr)?;
    }
    for ifindex in rows.endpoints.keys() {
        fault::point("remove an endpoint");
        maps.endpoints.remove(ifindex)?;
    }
    fault::point("raise the generation");
    // By two, so that the same version of the rows stays in force.
    let config = maps.config.get(0)?;
    Ok(maps.config.set(0, Config { generation: config.generation.wrapping_add(2), ..config })?)
}

fn insert_rules(maps: &mut Maps, rules: &BTreeMap<(RuleKey, u32), RuleRow>) -> Result<()> {
    let rules: Vec<_> = rules.iter().map(|(rule, row)| (rule_prefix(rule), *row)).collect();
    for rules in rules.chunks(AT_A_TIME) {
        fault::point("write rules");
        maps.rules.insert_all(rules)?;
    }
    Ok(())
}

/// Removes rules that nobody is asked by any more.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn remove_rules(maps: &mut Maps, rules: &[(RuleKey, u32)]) -> Result<()> {
    let rules: Vec<_> = rules.iter().map(rule_prefix).collect();
    for rules in rules.chunks(AT_A_TIME) {
        fault::point("remove rules");
        maps.rules.remove_all(rules)?;
    }
    Ok(())
}

fn rule_prefix((key, bits): &(RuleKey, u32)) -> Prefix<RuleKey> {
    Prefix { key: *key, bits: *bits }
}

/// Has policy see one endpoint otherwise, by another generation that is like the one in force but for that. Where policy
/// sees it like that already, nothing is written.
///
/// # Errors
/// When the kernel refuses a write. What was in force before still is.
pub(super) fn replace_subject(
    maps: &mut Maps,
    slot: u32,
    subject: Subject,
    rules: &BTreeMap<(RuleKey, u32), RuleRow>,
) -> Result<()> {
    let config = maps.config.get(0)?;
    if maps.slots.get(slot)?.versions[(config.generation & 1) as usize] == subject {
        return Ok(());
    }
    insert_rules(maps, rules)?;
    let generation = config.generation.wrapping_add(1);
    let (current, next) = ((config.generation & 1) as usize, (generation & 1) as usize);
    for (index, row) in (0..).zip(maps.slots.all()?) {
        let wanted = if index == slot { subject } else { row.versions[current] };
        if row.versions[next] != wanted {
            fault::point("write a slot");
            let mut row = row;
            row.versions[next] = wanted;
            maps.slots.set(index, row)?;
        }
    }
    for (prefix, mut row) in maps.cidrs.to_map()? {
        if row.identities[next] != row.identities[current] {
            fault::point("write a prefix");
            row.identities[next] = row.identities[current];
            maps.cidrs.insert(&prefix, row)?;
        }
    }
    let published = maps.published[current].to_map()?;
    let old = maps.published[next].to_map()?;
    write_published(&mut maps.published[next], &old, &Rows { published, ..Rows::default() })?;
    fault::point("raise the generation");
    Ok(maps.config.set(0, Config { generation, ..config })?)
}

/// Removes the lists of sources of ports that were withdrawn.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn remove_sources(maps: &mut Maps, rows: &Rows) -> Result<()> {
    for source in &rows.sources {
        fault::point("remove a source");
        maps.sources.remove(&source_prefix(source))?;
    }
    Ok(())
}

/// What the maps hold.
struct Held {
    config: Config,
    slots: Vec<SlotRow>,
    endpoints: BTreeMap<u32, EndpointRow>,
    addresses: BTreeMap<Addr, AddressRow>,
    published: [BTreeMap<PublishKey, PublishRow>; 2],
    sources: BTreeMap<Prefix<SourceKey>, u32>,
    uplinks: BTreeMap<u32, UplinkRow>,
    cidrs: BTreeMap<Prefix<Addr>, CidrRow>,
    rules: BTreeMap<Prefix<RuleKey>, RuleRow>,
}

impl Held {
    fn read(maps: &Maps) -> Result<Self> {
        let [even, odd] = &maps.published;
        Ok(Self {
            config: maps.config.get(0)?,
            slots: maps.slots.all()?,
            endpoints: maps.endpoints.to_map()?,
            addresses: maps.addresses.to_map()?,
            published: [even.to_map()?, odd.to_map()?],
            sources: maps.sources.to_map()?,
            uplinks: maps.uplinks.to_map()?,
            cidrs: maps.cidrs.to_map()?,
            rules: maps.rules.to_map()?,
        })
    }

    fn slot(&self, slot: u32) -> Option<&SlotRow> {
        self.slots.get(usize::try_from(slot).ok()?)
    }

    fn differing(&self, rows: &Rows, settings: &Settings) -> Vec<&'static str> {
        let current = (self.config.generation & 1) as usize;
        let holds_subject = |(slot, subject): (&u32, &Subject)| {
            self.slot(*slot).is_some_and(|row| row.versions[current] == *subject)
        };
        let blocks = self.cidrs.iter();
        let blocks = blocks
            .map(|(prefix, row)| (Block { addr: prefix.key, len: prefix.bits }, row.identities[current]));
        // A row of a set or of a class that nobody has is litter, and does no harm.
        let live = Live::of(rows);
        let rules = self.rules.iter().map(|(prefix, row)| ((prefix.key, prefix.bits), *row));
        let rules = rules.filter(|((key, _), _)| live.asks(key));
        let wanted_rules = rows.rules.iter().filter(|((key, _), _)| live.asks(key));
        let sources = self.sources.keys().copied();
        let holds = [
            (name::CONFIG, self.config == settings.in_config(rows, self.config)),
            (name::SLOT, rows.subjects.iter().all(holds_subject)),
            (name::ENDPOINT, self.endpoints == rows.endpoints),
            (name::ADDRESS, self.addresses == rows.addresses),
            (name::PUBLISH[current], self.published[current] == rows.published),
            (name::SOURCE, sources.eq(rows.sources.iter().map(source_prefix))),
            (name::UPLINK, self.uplinks == rows.uplinks),
            (name::CIDR, blocks.eq(rows.cidrs.iter().map(|(block, identity)| (*block, *identity)))),
            (name::RULE, rules.eq(wanted_rules.map(|(key, row)| (*key, *row)))),
        ];
        holds.into_iter().filter(|(_, holds)| !holds).map(|(map, _)| map).collect()
    }
}

/// The rule sets and identities that somebody has.
struct Live {
    sets: BTreeSet<u32>,
    identities: BTreeSet<u32>,
}

impl Live {
    fn of(rows: &Rows) -> Self {
        let mut live = Self { sets: BTreeSet::new(), identities: rows.cidrs.values().copied().collect() };
        live.identities.insert(ANY_IDENTITY);
        for subject in rows.subjects.values() {
            let Subject { ingress, egress, audit_ingress, audit_egress, identity4, identity6 } = *subject;
            live.sets.extend([ingress, egress, audit_ingress, audit_egress]);
            live.identities.extend([identity4, identity6]);
        }
        live
    }

    /// Whether a packet may be judged by a rule with this key.
    fn asks(&self, key: &RuleKey) -> bool {
        self.sets.contains(&key.set) && self.identities.contains(&key.identity)
    }
}

/// Rules that are written or removed with one system call.
const AT_A_TIME: usize = 1024;

fn write_rules(maps: &mut Maps, held: &Held, rows: &Rows) -> Result<usize> {
    let wanted = rows.rules.iter().map(|((key, bits), row)| (Prefix { key: *key, bits: *bits }, *row));
    let new: Vec<_> = wanted.filter(|(prefix, row)| held.rules.get(prefix) != Some(row)).collect();
    for rules in new.chunks(AT_A_TIME) {
        fault::point("write rules");
        maps.rules.insert_all(rules)?;
    }
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
    // It was in force until the last change, and a program may be running that read the generation before that.
    grace_period();
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
    grace_period();
    for rules in rules.chunks(AT_A_TIME) {
        fault::point("remove rules");
        maps.rules.remove_all(rules)?;
    }
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
