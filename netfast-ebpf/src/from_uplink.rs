//! Packets from outside, as they come in at an uplink. Everything that is not for an endpoint goes on to the host
//! untouched.

use netfast_common::conntrack::Hop;
use netfast_common::reason::DropReason;
use netfast_common::rows::{ADDRESS_ENDPOINT, CONFIG_DENY_IN_TC, Config, ENDPOINT_ROUTED, EndpointRow};
use network_types::eth::EthHdr;

use crate::forward;
use crate::from_endpoint::ready;
use crate::packet::Packet;
use crate::parse::{self, Headers, ethertype};
use crate::policy::{self, Party};
use crate::track::{self, Opening};
use crate::verdict::{Dropped, Verdict};
use crate::world::World;

/// Decides on a packet that came in at the uplink the program runs at.
///
/// # Errors
/// When it is dropped.
#[inline(always)]
pub fn from_uplink<P: Packet, W: World>(packet: &mut P, world: &W) -> Result<Verdict, Dropped> {
    let frame: EthHdr = match packet.load(0) {
        Ok(frame) => frame,
        Err(_) => return Ok(Verdict::Next),
    };
    if packet.has_vlan_tag() || !matches!(frame.ether_type, ethertype::IPV4 | ethertype::IPV6) {
        return Ok(Verdict::Next);
    }
    // What cannot be parsed is the host's to judge.
    let Ok(headers) = parse::ip(packet, world, frame.ether_type) else {
        return Ok(Verdict::Next);
    };
    let config = world.config();
    if config.flags & CONFIG_DENY_IN_TC != 0 && world.is_denied(&headers.tuple.src) {
        return Err(DropReason::DeniedSource.into());
    }
    let dst = headers.tuple.dst;
    if dst.is_multicast() || dst.is_loopback() || headers.is_neighbour_discovery() {
        return Ok(Verdict::Next);
    }

    let now = world.now();
    if let Some(known) = track::find(world, &headers, now)? {
        if known.sender().incarnation != 0 {
            // From outside, with an endpoint's address.
            return Err(DropReason::SpoofedAddress.into());
        }
        if known.receiver().incarnation == 0 {
            return Ok(Verdict::Next);
        }
        if forward::recheck(world, &config, &known, &headers)? {
            track::note(&known, &headers, now, packet.len());
            return forward::send(packet, world, &known, &headers);
        }
        known.remove(world);
    }
    let Some(opening) = open(packet, world, &config, &headers)? else {
        return Ok(Verdict::Next);
    };
    let known = track::open(world, &config, &opening, &headers, now, packet.len())?;
    forward::send(packet, world, &known, &headers)
}

/// What the first packet of a flow leads to; `None`: to the host itself.
#[inline(always)]
fn open<P: Packet, W: World>(
    packet: &P,
    world: &W,
    config: &Config,
    headers: &Headers,
) -> Result<Option<Opening>, Dropped> {
    let tuple = &headers.tuple;
    if let Some(row) = world.address(&tuple.src)
        && row.kind == ADDRESS_ENDPOINT
    {
        return Err(DropReason::SpoofedAddress.into());
    }
    let Some(row) = world.address(&tuple.dst) else {
        return Ok(None);
    };
    let (target, destination, published): (&EndpointRow, _, _) = if row.kind == ADDRESS_ENDPOINT {
        let target = ready(world, Hop { ifindex: row.ifindex, incarnation: row.incarnation })?;
        if target.flags & ENDPOINT_ROUTED == 0 {
            return Err(Dropped { reason: DropReason::Unpublished, endpoint: target.incarnation });
        }
        (target, (tuple.dst, tuple.dport), 0)
    } else {
        let Some(publish) = forward::published(world, tuple) else {
            return Ok(None);
        };
        let row = world.address(&publish.addr).ok_or(DropReason::NotReady)?;
        let target = ready(world, Hop { ifindex: row.ifindex, incarnation: row.incarnation })?;
        (target, (publish.addr, publish.port), publish.incarnation)
    };
    let (addr, port) = destination;
    policy::judge(
        world,
        config.generation,
        Party { endpoint: None, addr: tuple.src },
        Party { endpoint: Some(target), addr },
        tuple.protocol,
        port,
    )?;
    Ok(Some(Opening {
        original: *tuple,
        source: tuple.src,
        destination,
        originator: Hop { ifindex: packet.ifindex(), incarnation: 0 },
        responder: Hop { ifindex: target.ifindex, incarnation: target.incarnation },
        flags: 0,
        published,
    }))
}
