//! Packets that an endpoint sends, as they come out of its veth.

use netfast_common::addr::Addr;
use netfast_common::conntrack::Hop;
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    ADDRESS_ENDPOINT, ADDRESS_GATEWAY, Config, ENDPOINT_INTERNAL, ENDPOINT_READY, ENDPOINT_ROUTED,
    EndpointRow,
};
use network_types::eth::EthHdr;

use crate::forward;
use crate::neighbour;
use crate::packet::Packet;
use crate::parse::{self, Headers, ethertype};
use crate::policy::{self, Party};
use crate::track::{self, Opening};
use crate::verdict::{Dropped, Verdict};
use crate::world::World;

/// Decides on a packet that came out of the device the program runs at.
///
/// # Errors
/// When it is dropped.
#[inline(always)]
pub fn from_endpoint<P: Packet, W: World>(packet: &mut P, world: &W) -> Result<Verdict, Dropped> {
    let endpoint = world.endpoint(packet.ifindex()).ok_or(DropReason::NotReady)?;
    handle(packet, world, endpoint).map_err(|dropped| match dropped.endpoint {
        0 => Dropped { endpoint: endpoint.incarnation, ..dropped },
        _ => dropped,
    })
}

#[inline(always)]
fn handle<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    endpoint: &EndpointRow,
) -> Result<Verdict, Dropped> {
    if endpoint.flags & ENDPOINT_READY == 0 {
        return Err(DropReason::NotReady.into());
    }
    let frame: EthHdr = packet.load(0)?;
    if frame.src_addr != endpoint.mac.0 {
        return Err(DropReason::SpoofedMac.into());
    }
    if packet.has_vlan_tag() {
        return Err(DropReason::BadEthertype.into());
    }
    match frame.ether_type {
        ethertype::ARP => return neighbour::arp(packet, world, endpoint),
        ethertype::IPV4 | ethertype::IPV6 => {}
        _ => return Err(DropReason::BadEthertype.into()),
    }
    let headers = parse::ip(packet, world, frame.ether_type)?;
    let own = if headers.tuple.src.is_v4() { endpoint.ip4 } else { endpoint.ip6 };
    let is_own = headers.tuple.src == own && !own.is_unspecified();
    if headers.is_neighbour_discovery() {
        let src = headers.tuple.src;
        if !is_own && !src.is_link_local_v6() && !src.is_unspecified() {
            return Err(DropReason::SpoofedAddress.into());
        }
        return neighbour::discovery(packet, world, endpoint, &headers);
    }
    if headers.tuple.dst.is_multicast() {
        // Before the source is looked at: hosts send reports from `::` and link-local addresses by themselves.
        return Err(DropReason::Multicast.into());
    }
    if !is_own {
        return Err(DropReason::SpoofedAddress.into());
    }
    if headers.tuple.dst.is_loopback() || headers.tuple.dst.is_unspecified() {
        return Err(DropReason::Martian.into());
    }

    let config = world.config();
    let now = world.now();
    if let Some(known) = track::find(world, &headers, now)? {
        if known.sender().incarnation == endpoint.incarnation
            && forward::recheck(world, &config, &known, &headers)?
        {
            track::note(&known, &headers, now, packet.len());
            return forward::send(packet, world, &known, &headers);
        }
        known.remove(world);
    }
    let opening = open(packet, world, &config, endpoint, &headers)?;
    let known = track::open(world, &config, &opening, &headers, now, packet.len())?;
    forward::send(packet, world, &known, &headers)
}

/// What the first packet of a flow leads to.
struct Destination<'a> {
    /// Where it goes.
    hop: Hop,
    /// The endpoint there, if one is.
    endpoint: Option<&'a EndpointRow>,
    /// Address and port it has there.
    at: (Addr, u16),
    /// Source it must carry, if not its own.
    source: Option<Addr>,
    /// Incarnation of the published port that led there; 0 without one.
    published: u32,
}

#[inline(always)]
fn open<P: Packet, W: World>(
    packet: &P,
    world: &W,
    config: &Config,
    endpoint: &EndpointRow,
    headers: &Headers,
) -> Result<Opening, Dropped> {
    let tuple = &headers.tuple;
    if parse::is_echo_reply(tuple.protocol, headers.icmp_type) {
        return Err(DropReason::InvalidState.into());
    }
    let destination = destination(packet, world, endpoint, headers)?;
    let originator = Hop { ifindex: endpoint.ifindex, incarnation: endpoint.incarnation };
    let (addr, port) = destination.at;
    // What an endpoint sends to itself through a published port is not for policies to stop.
    if destination.hop != originator {
        policy::judge(
            world,
            config.generation,
            Party { endpoint: Some(endpoint), addr: tuple.src },
            Party { endpoint: destination.endpoint, addr },
            tuple.protocol,
            port,
        )?;
    }
    Ok(Opening {
        original: *tuple,
        source: destination.source.unwrap_or(tuple.src),
        destination: destination.at,
        originator,
        responder: destination.hop,
        flags: 0,
        published: destination.published,
    })
}

#[inline(always)]
fn destination<'a, P: Packet, W: World>(
    packet: &P,
    world: &'a W,
    endpoint: &EndpointRow,
    headers: &Headers,
) -> Result<Destination<'a>, DropReason> {
    let tuple = &headers.tuple;
    let at = (tuple.dst, tuple.dport);
    let Some(row) = world.address(&tuple.dst) else {
        return outside(packet, world, endpoint, headers);
    };
    if row.kind == ADDRESS_ENDPOINT {
        if row.network != endpoint.network {
            return Err(DropReason::OtherNetwork);
        }
        let hop = Hop { ifindex: row.ifindex, incarnation: row.incarnation };
        let target = ready(world, hop)?;
        return Ok(Destination { hop, endpoint: Some(target), at, source: None, published: 0 });
    }
    let is_internal = endpoint.flags & ENDPOINT_INTERNAL != 0;
    if is_internal && !(row.kind == ADDRESS_GATEWAY && row.network == endpoint.network) {
        return Err(DropReason::Internal);
    }
    if !is_internal && let Some(publish) = forward::published(world, tuple) {
        let row = world.address(&publish.addr).ok_or(DropReason::NotReady)?;
        let hop = Hop { ifindex: row.ifindex, incarnation: row.incarnation };
        let target = ready(world, hop)?;
        // A packet to oneself must seem to come from elsewhere, or its answer would never leave the namespace.
        let source = if hop.ifindex == endpoint.ifindex {
            Some(if tuple.src.is_v4() { endpoint.gateway4 } else { endpoint.gateway6 })
        } else {
            None
        };
        return Ok(Destination {
            hop,
            endpoint: Some(target),
            at: (publish.addr, publish.port),
            source,
            published: publish.incarnation,
        });
    }
    Ok(Destination { hop: Hop::default(), endpoint: None, at, source: None, published: 0 })
}

/// The way outside, for an address that is neither an endpoint's nor the host's.
#[inline(always)]
fn outside<'a, P: Packet, W: World>(
    packet: &P,
    world: &W,
    endpoint: &EndpointRow,
    headers: &Headers,
) -> Result<Destination<'a>, DropReason> {
    let tuple = &headers.tuple;
    if endpoint.flags & ENDPOINT_INTERNAL != 0 {
        return Err(DropReason::Internal);
    }
    let ifindex = world.route(packet.ifindex(), tuple, packet.len())?;
    // The host's route for an unused address of a network leads to its bridge, which is no uplink.
    let uplink = world.uplink(ifindex).ok_or(DropReason::NoSuchAddress)?;
    let source = if endpoint.flags & ENDPOINT_ROUTED != 0 {
        None
    } else {
        let source = if tuple.src.is_v4() { uplink.ip4 } else { uplink.ip6 };
        if source.is_unspecified() {
            return Err(DropReason::NoUplinkAddress);
        }
        Some(source)
    };
    let hop = Hop { ifindex, incarnation: 0 };
    Ok(Destination { hop, endpoint: None, at: (tuple.dst, tuple.dport), source, published: 0 })
}

/// The endpoint at a hop, if packets may pass.
#[inline(always)]
pub(crate) fn ready<W: World>(world: &W, hop: Hop) -> Result<&EndpointRow, DropReason> {
    match forward::endpoint_at(world, hop)? {
        Some(row) if row.flags & ENDPOINT_READY != 0 => Ok(row),
        _ => Err(DropReason::NotReady),
    }
}
