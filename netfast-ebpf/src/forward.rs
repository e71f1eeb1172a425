//! A packet of a known flow on its way: both ends checked, translated, sent.

use netfast_common::addr::{Addr, Mac};
use netfast_common::conntrack::{Direction, FLOW_DESTINATION_NAT, FLOW_FROM_HOST, FLOW_SOURCE_NAT, Hop};
use netfast_common::counter::Path;
use netfast_common::flow::Tuple;
use netfast_common::reason::DropReason;
use netfast_common::rows::{Config, EndpointRow, PublishKey, PublishRow};

use crate::nat::{self, End};
use crate::packet::Packet;
use crate::parse::Headers;
use crate::policy::{self, Party};
use crate::track::Known;
use crate::verdict::{Dropped, Verdict};
use crate::world::World;

/// The living endpoint at a hop: `None` where the hop is no endpoint.
///
/// # Errors
/// [`DropReason::NotReady`] when the endpoint that was there is gone.
#[inline(always)]
pub fn endpoint_at<W: World>(world: &W, hop: Hop) -> Result<Option<&EndpointRow>, DropReason> {
    if hop.incarnation == 0 {
        return Ok(None);
    }
    match world.endpoint(hop.ifindex) {
        Some(row) if row.incarnation == hop.incarnation => Ok(Some(row)),
        _ => Err(DropReason::NotReady),
    }
}

/// What a port of the host leads to: published on that address, or on all of its family.
#[inline(always)]
pub fn published<'a, W: World>(world: &'a W, tuple: &Tuple) -> Option<&'a PublishRow> {
    let key = |addr| PublishKey { addr, port: tuple.dport, protocol: tuple.protocol, pad: [0; 5] };
    match world.published(&key(tuple.dst)) {
        Some(row) => Some(row),
        None => world.published(&key(tuple.dst.unspecified())),
    }
}

/// Whether the world that is in force still allows a flow that an earlier one allowed. `false`: what made the flow
/// is no more (an endpoint, a published port), and the packet is to be looked at as the first of a new one.
///
/// # Errors
/// When policy denies it.
#[inline(always)]
pub fn recheck<W: World>(
    world: &W,
    config: &Config,
    known: &Known,
    headers: &Headers,
) -> Result<bool, Dropped> {
    let flow = known.entry.get();
    if flow.generation == config.generation && !headers.is_syn() {
        return Ok(true);
    }
    if flow.published != 0 {
        let original = known.original();
        if published(world, &original).is_none_or(|row| row.incarnation != flow.published) {
            return Ok(false);
        }
    }
    let (Ok(from), Ok(to)) = (endpoint_at(world, flow.originator), endpoint_at(world, flow.responder)) else {
        return Ok(false);
    };
    if flow.flags & FLOW_FROM_HOST == 0 && flow.originator != flow.responder {
        let (src, _) = flow.seen_source();
        let (dst, dport) = flow.seen_destination();
        let source = if from.is_some() { known.original().src } else { src };
        policy::judge(
            world,
            config.generation,
            Party { endpoint: from, addr: source },
            Party { endpoint: to, addr: dst },
            headers.tuple.protocol,
            dport,
        )?;
    }
    known.entry.allow(config.generation);
    Ok(true)
}

/// Translates the packet and says where it goes.
///
/// # Errors
/// When it cannot be sent; see [`DropReason`].
#[inline(always)]
pub fn send<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    known: &Known,
    headers: &Headers,
) -> Result<Verdict, Dropped> {
    let flow = known.entry.get();
    let translated = flow.flags & (FLOW_SOURCE_NAT | FLOW_DESTINATION_NAT) != 0;
    let (from, to) = (known.sender(), known.receiver());
    let target = endpoint_at(world, to)?;
    let crosses_uplink =
        (from.ifindex != 0 && from.incarnation == 0) || (to.ifindex != 0 && to.incarnation == 0);
    if translated || crosses_uplink {
        nat::decrement_ttl(packet, headers)?;
    }
    if translated {
        translate(packet, known, headers)?;
    }
    let length = packet.len();
    match target {
        Some(target) => {
            let source = if translated || crosses_uplink { Some(target.gateway_mac) } else { None };
            address_frame(packet, target.mac, source)?;
            let path = if from.incarnation == 0 { Path::FromOutside } else { Path::ToEndpoint };
            world.count(path, length);
            Ok(Verdict::ToEndpoint(to.ifindex))
        }
        None if to.ifindex != 0 => {
            world.count(Path::ToOutside, length);
            Ok(Verdict::ToUplink(to.ifindex))
        }
        None => {
            world.count(Path::ToHost, length);
            Ok(Verdict::Next)
        }
    }
}

/// Gives both ends the addresses and ports the receiver knows them by.
#[inline(always)]
fn translate<P: Packet>(packet: &mut P, known: &Known, headers: &Headers) -> Result<(), DropReason> {
    let flow = known.entry.get();
    let (source, destination): ((Addr, u16), (Addr, u16)) = match known.direction {
        Direction::Original => (flow.seen_source(), flow.seen_destination()),
        Direction::Reply => {
            let original = known.original();
            ((original.dst, original.dport), (original.src, original.sport))
        }
    };
    nat::rewrite(packet, headers, End::Source, source)?;
    nat::rewrite(packet, headers, End::Destination, destination)
}

/// Addresses the frame to its receiver; `source` where it did not stand on one wire with the sender.
#[inline(always)]
fn address_frame<P: Packet>(packet: &mut P, to: Mac, source: Option<Mac>) -> Result<(), DropReason> {
    packet.store(0, &to.0)?;
    match source {
        Some(source) => packet.store(6, &source.0),
        None => Ok(()),
    }
}
