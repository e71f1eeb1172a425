//! Packets that an endpoint sends, as they come out of its veth.

use netfast_common::conntrack::Hop;
use netfast_common::flow::Tuple;
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    ADDRESS_ENDPOINT, ADDRESS_GATEWAY, ENDPOINT_ADOPTED, ENDPOINT_ANY_SOURCE, ENDPOINT_HELD,
    ENDPOINT_INTERNAL, ENDPOINT_READY, ENDPOINT_ROUTED, EndpointRow, SourceKey,
};

use crate::forward;
use crate::fragment::{self, Place};
use crate::further;
use crate::neighbour;
use crate::packet::Packet;
use crate::parse::{self, Headers, ethertype};
use crate::policy::{self, Party, PolicyPort};
use crate::related;
use crate::track::{self, Known};
use crate::verdict::{Dropped, Outcome, Verdict};
use crate::work::{Opening, Work};
use crate::world::World;

/// Decides on a packet that came out of the device the program runs at.
///
/// # Errors
/// When it is dropped.
#[inline(always)]
pub fn from_endpoint<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
) -> Result<Verdict, Dropped> {
    let endpoint = world.endpoint(packet.ifindex()).ok_or(DropReason::NotReady)?;
    work.sender_flags = endpoint.flags;
    handle(packet, world, work, endpoint).map_err(|dropped| dropped.or_at(endpoint))
}

#[inline(always)]
fn handle<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
    endpoint: &EndpointRow,
) -> Result<Verdict, Dropped> {
    if endpoint.flags & ENDPOINT_READY == 0 {
        return Err(DropReason::NotReady.into());
    }
    let frame = packet.frame()?;
    let is_free = endpoint.flags & ENDPOINT_ANY_SOURCE != 0;
    if frame.src != endpoint.mac && !is_free {
        return Err(DropReason::SpoofedMac.into());
    }
    if packet.has_vlan_tag() {
        return Err(DropReason::BadEthertype.into());
    }
    match frame.ether_type {
        ethertype::ARP => {
            let is_answer = neighbour::arp(packet, world, endpoint).unpack()?;
            return Ok(if is_answer { Verdict::to(endpoint) } else { Verdict::Next });
        }
        ethertype::IPV4 | ethertype::IPV6 => {}
        _ => return Err(DropReason::BadEthertype.into()),
    }
    parse::ip(packet, frame.ether_type, &mut work.headers).unpack()?;
    let headers = &work.headers;
    let own = if headers.tuple.src.is_v4() { endpoint.ip4 } else { endpoint.ip6 };
    let is_own = if headers.tuple.src == own {
        !own.is_unspecified()
    } else {
        further::has(world, endpoint, &headers.tuple.src)
    };
    if headers.is_neighbour_discovery() {
        let src = headers.tuple.src;
        if !is_own && !is_free && !src.is_link_local_v6() && !src.is_unspecified() {
            return Err(DropReason::SpoofedAddress.into());
        }
        let is_answer = neighbour::discovery(packet, world, endpoint, headers).unpack()?;
        return Ok(if is_answer { Verdict::to(endpoint) } else { Verdict::Next });
    }
    if !is_own && !is_free {
        // Hosts send reports from `::` and link-local addresses by themselves.
        let is_report = headers.tuple.dst.is_multicast();
        return Err(if is_report { DropReason::Multicast } else { DropReason::SpoofedAddress }.into());
    }

    work.config = world.config();
    work.tell_time(world);
    work.length = packet.len();
    if work.headers.is_fragment {
        admit(&work.headers).unpack()?;
        let place = Place { incarnation: endpoint.incarnation, is_egress: false };
        if let Some(verdict) = fragment::complete(packet, world, work, place)? {
            return Ok(verdict);
        }
    }
    if work.headers.is_icmp_error() {
        admit(&work.headers).unpack()?;
        if let Some(verdict) = related::forward(packet, world, work, endpoint.incarnation)? {
            return Ok(verdict);
        }
    }
    let known = if let Some(known) = established(world, work, endpoint)? {
        known
    } else {
        open(packet, world, work, endpoint).unpack()?;
        track::open(world, work)?
    };
    if endpoint.flags & ENDPOINT_HELD != 0 && goes_by_host(&known) {
        return Ok(Verdict::Next);
    }
    forward::send(packet, world, &known, work)
}

/// Whether a packet of this flow may go by way of the host's bridge or routes. A translated one may not: the host would not
/// take it, as it comes from an address of its own. A function of its own in BPF.
#[inline(never)]
fn goes_by_host(known: &Known) -> bool {
    known.receiver().incarnation != 0 && !known.is_translated()
}

/// Whether a packet may have such addresses. Not asked of a packet of a known flow, which had them when it began. A function
/// of its own in BPF: behind it, the verifier forgets which addresses it took the packet to have.
#[inline(never)]
fn admit(headers: &Headers) -> Outcome {
    let Tuple { src, dst, .. } = &headers.tuple;
    let reason = if dst.is_multicast() {
        DropReason::Multicast
    } else if dst.is_no_source() || src.is_no_source() {
        DropReason::Martian
    } else {
        return Outcome::pack(Ok(true));
    };
    Outcome::pack(Err(reason.into()))
}

/// The flow the packet is of, if it may go on.
#[inline(always)]
fn established<W: World>(
    world: &W,
    work: &mut Work,
    endpoint: &EndpointRow,
) -> Result<Option<Known>, Dropped> {
    let Some(known) = track::find(world, work)? else {
        return Ok(None);
    };
    if known.sender().incarnation == endpoint.incarnation && forward::recheck::<true, W>(world, known, work)?
    {
        return Ok(Some(track::note(world, known, work)));
    }
    track::remove(world, &work.key, known.entry);
    Ok(None)
}

/// Finds out what the first packet of a flow leads to, and whether it may. A function of its own in BPF, with a stack
/// of its own.
#[inline(never)]
fn open<P: Packet, W: World>(packet: &P, world: &W, work: &mut Work, endpoint: &EndpointRow) -> Outcome {
    Outcome::pack(try_open(packet, world, work, endpoint).map(|()| true))
}

#[inline(always)]
fn try_open<P: Packet, W: World>(
    packet: &P,
    world: &W,
    work: &mut Work,
    endpoint: &EndpointRow,
) -> Result<(), Dropped> {
    admit(&work.headers).unpack()?;
    let Work { headers, opening, config, answers, .. } = work;
    // Answers that nobody asked for. Taken for questions they would be masqueraded, and hold the tuple of the flow they
    // are late for.
    if parse::is_echo_reply(headers.tuple.protocol, headers.icmp_type) || headers.is_syn_ack() {
        return Err(DropReason::InvalidState.into());
    }
    opening.source = headers.tuple.src;
    opening.destination = headers.tuple.dst;
    opening.port = headers.tuple.dport;
    opening.originator = Hop { ifindex: endpoint.ifindex, incarnation: endpoint.incarnation };
    opening.responder = Hop::default();
    opening.published = 0;
    opening.flags = 0;
    let target = destination(packet, world, config.generation, &headers.tuple, opening, endpoint)?;
    // Outside it would pass for the host's word on any connection, those of the host's own processes too.
    if headers.is_icmp_report() && opening.source != headers.tuple.src {
        return Err(DropReason::InvalidState.into());
    }
    // What an endpoint sends to itself through a published port is not for policies to stop.
    if opening.responder != opening.originator {
        let is_audited = policy::judge(
            world,
            work.config.generation,
            Party { endpoint: Some(endpoint), addr: headers.tuple.src },
            Party { endpoint: target, addr: opening.destination },
            PolicyPort { protocol: headers.tuple.protocol, port: opening.port },
            answers,
        )?;
        if is_audited {
            policy::audit(world, work, Some(endpoint), target);
        }
    }
    Ok(())
}

/// Fills in where the flow leads; returns the endpoint there, if one is.
#[inline(always)]
fn destination<'a, P: Packet, W: World>(
    packet: &P,
    world: &'a W,
    generation: u32,
    tuple: &Tuple,
    opening: &mut Opening,
    endpoint: &EndpointRow,
) -> Result<Option<&'a EndpointRow>, Dropped> {
    let Some(row) = world.address(&tuple.dst) else {
        if endpoint.flags & ENDPOINT_ADOPTED == 0 {
            outside(packet, world, tuple, opening, endpoint)?;
        }
        return Ok(None);
    };
    if row.kind == ADDRESS_ENDPOINT {
        if row.network != endpoint.network {
            return Err(DropReason::OtherNetwork.into());
        }
        let (hop, target) = forward::owner(world, row, &tuple.dst)?;
        opening.responder = hop;
        return Ok(Some(target));
    }
    let is_internal = endpoint.flags & ENDPOINT_INTERNAL != 0;
    if is_internal && !(row.kind == ADDRESS_GATEWAY && row.network == endpoint.network) {
        return Err(DropReason::Internal.into());
    }
    if is_internal {
        return Ok(None);
    }
    let Some(publish) = forward::published(world, generation, tuple) else {
        return Ok(None);
    };
    forward::publish_target(world, publish, opening).map(Some)
}

/// Fills in the way outside, for an address that is neither an endpoint's nor the host's.
#[inline(always)]
fn outside<P: Packet, W: World>(
    packet: &P,
    world: &W,
    tuple: &Tuple,
    opening: &mut Opening,
    endpoint: &EndpointRow,
) -> Result<(), DropReason> {
    if endpoint.flags & ENDPOINT_INTERNAL != 0 {
        return Err(DropReason::Internal);
    }
    let ifindex = world.route(packet.ifindex(), tuple)?;
    // The host's route for an unused address of a network leads to its bridge, which is no uplink.
    let uplink = world.uplink(ifindex).ok_or(DropReason::NoSuchAddress)?;
    opening.responder = Hop { ifindex, incarnation: 0 };
    let keeps_source = endpoint.flags & ENDPOINT_ROUTED != 0
        || world.is_source(&SourceKey::new(SourceKey::NOT_MASQUERADED, tuple.dst));
    if !keeps_source {
        opening.source = if tuple.src.is_v4() { uplink.ip4 } else { uplink.ip6 };
        if opening.source.is_unspecified() {
            return Err(DropReason::NoUplinkAddress);
        }
    }
    Ok(())
}
