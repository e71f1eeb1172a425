//! The rows of one endpoint: written, changed and removed without a look at the others'.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use netfast_common::addr::Addr;
use netfast_common::policy::{RuleKey, RuleRow};
use netfast_common::protocol::UDP;
use netfast_common::reason::DropReason;
use netfast_common::rows::{ADDRESS_ENDPOINT, AddressRow, Config, EndpointDropKey, SlotRow, Subject};

use super::{rules, source_prefix, write_published};
use crate::compile::rows::Rows;
use crate::kernel::{Maps, Programs, grace_period};
use crate::store::fault;

/// Writes the rows of one more endpoint, of which nobody knows yet: no packet has its addresses or its identity, and no
/// device its programs, so they are in force at once and in both versions, without another generation. Only for a port of
/// UDP every flow is judged again: somebody may go on to ask there, whom the host answered, or nobody.
///
/// # Errors
/// When the kernel refuses a write.
pub(in crate::reconcile) fn add(maps: &mut Maps, rows: &Rows) -> Result<()> {
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
    if rows.published.keys().any(|key| key.protocol == UDP) {
        judge_again(maps)?;
    }
    Ok(())
}

/// Has every flow judged again, in the world that is in force.
fn judge_again(maps: &mut Maps) -> Result<()> {
    fault::point("raise the generation");
    // By two, so that the same version of the rows stays in force.
    let config = maps.config.get(0)?;
    Ok(maps.config.set(0, Config { generation: config.generation.wrapping_add(2), ..config })?)
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
pub(in crate::reconcile) fn withdraw(maps: &mut Maps, rows: &Rows) -> Result<()> {
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
    judge_again(maps)
}

/// Has policy see one endpoint otherwise, by another generation that is like the one in force but for that. Where policy
/// sees it like that already, nothing is written.
///
/// # Errors
/// When the kernel refuses a write. What was in force before still is.
pub(in crate::reconcile) fn replace_subject(
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
    // As in a change of everything: programs that began before the last one may read what is written next.
    grace_period(Programs::OfPackets);
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

/// Removes rules that nobody is asked by any more.
///
/// # Errors
/// When the kernel refuses.
pub(in crate::reconcile) fn remove_rules(maps: &mut Maps, rules: &[(RuleKey, u32)]) -> Result<()> {
    let rules: Vec<_> = rules.iter().map(rules::key).collect();
    rules::remove(maps, &rules)
}

fn insert_rules(maps: &mut Maps, rules: &BTreeMap<(RuleKey, u32), RuleRow>) -> Result<()> {
    let rules: Vec<_> = rules.iter().map(|(rule, row)| (rules::key(rule), *row)).collect();
    rules::insert(maps, &rules)
}

/// Removes the lists of sources of ports that were withdrawn.
///
/// # Errors
/// When the kernel refuses.
pub(in crate::reconcile) fn remove_sources(maps: &mut Maps, rows: &Rows) -> Result<()> {
    for source in &rows.sources {
        fault::point("remove a source");
        maps.sources.remove(&source_prefix(source))?;
    }
    Ok(())
}

/// Removes what was counted of the drops of an endpoint that is gone. They are asked for one by one, as looking through all
/// would take the longer the more endpoints there are.
///
/// # Errors
/// When the kernel refuses.
pub(in crate::reconcile) fn remove_drops(maps: &mut Maps, incarnation: u32) -> Result<()> {
    for code in 0..DropReason::COUNT {
        for reason in [code, code | EndpointDropKey::AUDITED] {
            maps.endpoint_drops.remove(&EndpointDropKey { incarnation, reason })?;
        }
    }
    Ok(())
}
