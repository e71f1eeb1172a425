//! Numbers for the published ports that were given none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result, bail};

use super::assign::Records;
use crate::model::{EndpointId, PortRange, Protocol, Publish, World};
use crate::store::EndpointRecord;

/// Where ports are chosen from: above `ip_local_port_range`'s default, so that the answers to the host's own connections
/// are never taken for requests to a published port.
const AUTOMATIC: PortRange = PortRange { first: 61000, last: 65000 };

/// Fills in the published ports of `new`. A port chosen earlier is kept.
///
/// # Errors
/// When no port is free, or something is asked for that is not enforced yet.
pub(super) fn assign(
    world: &World,
    old: &Records,
    new: &mut BTreeMap<EndpointId, EndpointRecord>,
) -> Result<()> {
    let mut taken = BTreeSet::new();
    let asked = world.endpoints.values().flat_map(|endpoint| &endpoint.publish);
    let chosen = old.endpoints.values().flat_map(|record| &record.publish);
    for publish in asked.chain(chosen) {
        if let Some(host) = publish.host {
            taken.extend((host.first..=host.last).map(|port| (publish.protocol, port)));
        }
    }
    for endpoint in world.endpoints.values() {
        let Some(record) = new.get_mut(&endpoint.id) else { continue };
        let mut earlier: Vec<Publish> =
            old.endpoints.get(&endpoint.id).map(|record| record.publish.clone()).unwrap_or_default();
        record.publish = Vec::new();
        for publish in &endpoint.publish {
            if !publish.from.is_empty() {
                bail!(
                    "endpoint {}: publish: `from` is not enforced by this version (leave it out, or deny sources with `netfast deny add`)",
                    endpoint.id
                );
            }
            let lacks = match publish.host_ip {
                Some(IpAddr::V4(_)) if record.ip.is_none() => Some("IPv4"),
                Some(IpAddr::V6(_)) if record.ip6.is_none() => Some("IPv6"),
                _ => None,
            };
            if let (Some(family), Some(host_ip)) = (lacks, publish.host_ip) {
                bail!(
                    "endpoint {}: publish: it has no {family} address to be reached at from {host_ip} (give its network a subnet of that family)",
                    endpoint.id
                );
            }
            let host = match publish.host {
                Some(host) => host,
                None => choose(publish, &mut earlier, &mut taken).with_context(|| {
                    format!("endpoint {}: no free port to publish {} on", endpoint.id, publish.container)
                })?,
            };
            record.publish.push(Publish { host: Some(host), ..publish.clone() });
        }
    }
    Ok(())
}

fn choose(
    publish: &Publish,
    earlier: &mut Vec<Publish>,
    taken: &mut BTreeSet<(Protocol, u16)>,
) -> Option<PortRange> {
    let same = |other: &Publish| Publish { host: None, ..other.clone() } == *publish;
    if let Some(position) = earlier.iter().position(same) {
        return earlier.swap_remove(position).host;
    }
    let count = u16::try_from(publish.container.count()).ok()?;
    let mut first = AUTOMATIC.first;
    while first.checked_add(count - 1)? <= AUTOMATIC.last {
        let last = first + (count - 1);
        let clash = (first..=last).rev().find(|port| taken.contains(&(publish.protocol, *port)));
        if let Some(port) = clash {
            first = port + 1;
            continue;
        }
        taken.extend((first..=last).map(|port| (publish.protocol, port)));
        return Some(PortRange { first, last });
    }
    None
}
