//! Numbers for published ports, and for those that were given none, a port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result, bail};

use super::assign::Records;
use crate::compile::rows::{fronts, published_rows};
use crate::model::{EndpointId, PortRange, Protocol, Publish, World};
use crate::net::{BoundSocket, Netns, holder};
use crate::store::{EndpointRecord, Instance, PublishRecord};

/// Where ports are chosen from: above `ip_local_port_range`'s default, so that the answers to the host's own connections
/// are never taken for requests to a published port.
const AUTOMATIC: PortRange = PortRange { first: 61000, last: 65000 };

/// What is known of the host's ports.
#[derive(Clone, Debug)]
pub(super) struct PortFacts {
    /// Ports that the host's own processes hold.
    pub bound: Vec<BoundSocket>,
    /// How many rows published ports may take.
    pub most_rows: usize,
}

/// Whether it matters to a published port who holds which port of the host. Not where a container runtime has chosen it.
pub(super) fn depends_on_sockets(publish: &Publish) -> bool {
    !publish.bindable || publish.fixed_host().is_none()
}

/// Whether surely no process of the host has any port that is asked for, as far as it matters.
pub(super) fn are_free(host: &Netns, publish: &[Publish]) -> bool {
    /// To take that many one by one is quicker than to ask for all sockets.
    const FEW: u16 = 64;
    let mut asked = Vec::new();
    for publish in publish.iter().filter(|publish| depends_on_sockets(publish)) {
        let Some(ports) = publish.fixed_host().filter(|ports| ports.count() <= FEW.into()) else {
            return false;
        };
        asked.extend((ports.first..=ports.last).map(|port| (publish.protocol.number(), port)));
    }
    host.are_free(&asked).unwrap_or(false)
}

/// Fills in the published ports of `new`. A port chosen earlier is kept, and what leads where it led keeps its number.
///
/// # Errors
/// When no port is free, a process of the host holds one that is asked for, or there are too many.
pub(super) fn assign(
    world: &World,
    old: &Records,
    instance: &mut Instance,
    facts: &PortFacts,
    new: &mut BTreeMap<EndpointId, EndpointRecord>,
) -> Result<()> {
    let earlier: Vec<_> = old.endpoints.values().flat_map(|record| &record.publish).collect();
    let asked = world.endpoints.values().flat_map(|endpoint| &endpoint.publish);
    let mut taken = BTreeSet::new();
    for publish in asked.chain(earlier.iter().map(|record| &record.publish)) {
        if let Some(host) = publish.fixed_host() {
            taken.extend((host.first..=host.last).map(|port| (publish.protocol, port)));
        }
    }
    let mut rows = 0_usize;
    for endpoint in world.endpoints.values() {
        let Some(record) = new.get_mut(&endpoint.id) else { continue };
        let of_this_life =
            old.endpoints.get(&endpoint.id).filter(|old| old.incarnation == record.incarnation);
        let mut own = old.endpoints.get(&endpoint.id).map_or_else(Vec::new, |old| old.publish.clone());
        record.publish = Vec::new();
        for publish in &endpoint.publish {
            let holders = Holders { facts, publish, fronts: fronts(publish) };
            let host = match publish.fixed_host() {
                Some(host) => {
                    // Perhaps the runtime that asks for it; it sees to it that nobody else has it.
                    let held = (!publish.bindable).then(|| holders.first_of(host, &earlier)).flatten();
                    if let Some(socket) = held {
                        bail!("endpoint {}: publish: {}", endpoint.id, in_use(publish.protocol, socket));
                    }
                    host
                }
                None => choose(&holders, &mut own, &mut taken).with_context(|| {
                    let of = publish.host.unwrap_or(AUTOMATIC);
                    format!(
                        "endpoint {}: publish: no port of {of}/{} is free for {}",
                        endpoint.id, publish.protocol, publish.container
                    )
                })?,
            };
            rows = rows.saturating_add(published_rows(publish));
            let publish = Publish { host: Some(host), ..publish.clone() };
            let known = of_this_life
                .and_then(|old| old.publish.iter().find(|old| leads_alike(&old.publish, &publish)));
            record.publish.push(number(publish, known, instance)?);
        }
    }
    if rows > facts.most_rows {
        bail!(
            "the published ports need {rows} rows, and there is room for {} (publish fewer: a port takes a row for each family, and on a single address two)",
            facts.most_rows
        );
    }
    Ok(())
}

/// Gives a mapping its numbers; `known` is the one that led alike before.
fn number(publish: Publish, known: Option<&PublishRecord>, instance: &mut Instance) -> Result<PublishRecord> {
    let incarnation = match known {
        Some(known) => known.incarnation,
        None => instance.take_incarnation()?,
    };
    let sources = match known {
        _ if publish.from.is_empty() => 0,
        Some(known) if known.publish.from == publish.from => known.sources,
        _ => instance.take_incarnation()?,
    };
    Ok(PublishRecord { publish, incarnation, sources })
}

/// Whether both lead from the same ports to the same ports.
fn leads_alike(a: &Publish, b: &Publish) -> bool {
    (a.host_ip, a.host, a.container, a.protocol) == (b.host_ip, b.host, b.container, b.protocol)
}

/// Who stands in the way of a published port.
struct Holders<'a> {
    facts: &'a PortFacts,
    publish: &'a Publish,
    fronts: Vec<IpAddr>,
}

impl<'a> Holders<'a> {
    /// The sockets that would get packets for some port here.
    fn all(&self) -> impl Iterator<Item = &'a BoundSocket> {
        let protocol = self.publish.protocol.number();
        let bound = self.facts.bound.iter().filter(move |socket| socket.protocol == protocol);
        bound.filter(|socket| self.fronts.iter().any(|front| socket.conflicts(*front)))
    }

    /// The first socket at a port of `host`, leaving out the ports that are published there already.
    fn first_of(&self, host: PortRange, earlier: &[&PublishRecord]) -> Option<&'a BoundSocket> {
        let is_ours = |port: u16| {
            earlier.iter().map(|record| &record.publish).any(|earlier| {
                (earlier.protocol, earlier.host_ip) == (self.publish.protocol, self.publish.host_ip)
                    && earlier.host.is_some_and(|host| host.contains(port))
            })
        };
        self.all().find(|socket| host.contains(socket.port) && !is_ours(socket.port))
    }
}

/// Who holds a port, and what to do about it.
fn in_use(protocol: Protocol, socket: &BoundSocket) -> String {
    let BoundSocket { addr, port, inode, .. } = socket;
    let holder = match holder(*inode) {
        Some((pid, name)) => format!("process {pid}, {name},"),
        None => "a process of this host".to_owned(),
    };
    format!(
        "port {port}/{protocol}: Address already in use: {holder} has it on {addr} (end it, or publish another port)"
    )
}

/// Finds free ports: those the same mapping had earlier, or the lowest ones.
fn choose(
    holders: &Holders<'_>,
    earlier: &mut Vec<PublishRecord>,
    taken: &mut BTreeSet<(Protocol, u16)>,
) -> Option<PortRange> {
    let publish = holders.publish;
    let allowed = publish.host.unwrap_or(AUTOMATIC);
    let same = |old: &PublishRecord| {
        let had = Publish { host: publish.host, from: publish.from.clone(), ..old.publish.clone() };
        had == *publish && old.publish.host.is_some_and(|host| allowed.contains(host.first))
    };
    if let Some(position) = earlier.iter().position(same) {
        return earlier.swap_remove(position).publish.host;
    }
    let held: BTreeSet<u16> = holders.all().map(|socket| socket.port).collect();
    let count = u16::try_from(publish.container.count()).ok()?;
    let mut first = allowed.first;
    while first.checked_add(count - 1)? <= allowed.last {
        let last = first + (count - 1);
        let is_taken = |port: &u16| taken.contains(&(publish.protocol, *port)) || held.contains(port);
        if let Some(port) = (first..=last).rev().find(is_taken) {
            first = port.checked_add(1)?;
            continue;
        }
        taken.extend((first..=last).map(|port| (publish.protocol, port)));
        return Some(PortRange { first, last });
    }
    None
}
