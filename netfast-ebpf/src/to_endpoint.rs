//! Packets that reach an endpoint's veth from the host's stack or over the bridge. What the programs redirect does
//! not come here: its receiver's policy was asked at the source.

use netfast_common::conntrack::{FLOW_FROM_HOST, Hop};
use netfast_common::counter::Path;
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    ADDRESS_ENDPOINT, ENDPOINT_ADOPTED, ENDPOINT_READY, ENDPOINT_ROUTED, EndpointRow,
};

use crate::forward;
use crate::fragment::{self, Place};
use crate::further;
use crate::packet::Packet;
use crate::parse::{self, ethertype};
use crate::policy::{self, Party, PolicyPort};
use crate::related;
use crate::track;
use crate::verdict::{Dropped, Outcome, Verdict};
use crate::work::Work;
use crate::world::World;

/// Decides on a packet about to enter the device the program runs at.
///
/// # Errors
/// When it is dropped.
#[inline(always)]
pub fn to_endpoint<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
) -> Result<Verdict, Dropped> {
    let endpoint = world.endpoint(packet.ifindex()).ok_or(DropReason::NotReady)?;
    if packet.is_decided() {
        return Ok(Verdict::Next);
    }
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
    match frame.ether_type {
        // The host's own requests: its neighbours are static, but whoever deletes one gets it resolved.
        ethertype::ARP => return Ok(Verdict::Next),
        ethertype::IPV4 | ethertype::IPV6 => {}
        _ => return Err(DropReason::BadEthertype.into()),
    }
    parse::ip(packet, frame.ether_type, &mut work.headers).unpack()?;
    let headers = &work.headers;
    if headers.is_neighbour_discovery() {
        return Ok(Verdict::Next);
    }
    if headers.tuple.dst.is_multicast() {
        return Err(DropReason::Multicast.into());
    }
    let own = if headers.tuple.dst.is_v4() { endpoint.ip4 } else { endpoint.ip6 };
    if headers.tuple.dst != own && !further::has(world, endpoint, &headers.tuple.dst) {
        return Err(DropReason::NoSuchAddress.into());
    }

    work.config = world.config();
    work.tell_time(world);
    work.length = packet.len();
    if work.headers.is_fragment {
        let place = Place { incarnation: endpoint.incarnation, is_egress: true };
        if let Some(verdict) = fragment::complete(packet, world, work, place)? {
            return Ok(verdict);
        }
    }
    if related::concerns(packet, world, work, endpoint.incarnation) {
        world.count(Path::FromHost, work.length);
        return Ok(Verdict::Next);
    }
    if let Some(known) = track::find(world, work)? {
        if known.receiver().incarnation == endpoint.incarnation
            && forward::recheck::<false, W>(world, known, work)?
        {
            let _ = track::note(world, known, work);
            world.count(Path::FromHost, work.length);
            return Ok(Verdict::Next);
        }
        track::remove(world, &work.key, known.entry);
    }
    open(world, work, endpoint).unpack()?;
    let _known = track::open(world, work)?;
    world.count(Path::FromHost, work.length);
    Ok(Verdict::Next)
}

/// Finds out whether the first packet of a flow may pass. A function of its own in BPF, with a stack of its own.
#[inline(never)]
fn open<W: World>(world: &W, work: &mut Work, endpoint: &EndpointRow) -> Outcome {
    Outcome::pack(try_open(world, work, endpoint).map(|()| true))
}

#[inline(always)]
fn try_open<W: World>(world: &W, work: &mut Work, endpoint: &EndpointRow) -> Result<(), Dropped> {
    let Work { headers, opening, answers, .. } = work;
    let tuple = &headers.tuple;
    opening.source = tuple.src;
    opening.destination = tuple.dst;
    opening.port = tuple.dport;
    opening.originator = Hop::default();
    opening.responder = Hop { ifindex: endpoint.ifindex, incarnation: endpoint.incarnation };
    opening.published = 0;
    opening.flags = 0;
    let mut from = None;
    match world.address(&tuple.src) {
        Some(row) if row.kind == ADDRESS_ENDPOINT => {
            if row.network != endpoint.network {
                return Err(DropReason::OtherNetwork.into());
            }
            if endpoint.flags & ENDPOINT_ADOPTED != 0 {
                // What an endpoint sends its own program has seen, and redirected or noted. So somebody else on the other
                // plugin's bridge has sent this.
                return Err(DropReason::SpoofedAddress.into());
            }
            // Bridged, since the sender's own program was taken off.
            opening.originator = Hop { ifindex: row.ifindex, incarnation: row.incarnation };
            from = forward::endpoint_at(world, opening.originator)?;
        }
        // The own node reaches its endpoints whatever policy says: health checks depend on it.
        Some(_) => {
            opening.flags = FLOW_FROM_HOST;
            return Ok(());
        }
        // Forwarded by the host's own routing, or by another plugin's bridge.
        None if endpoint.flags & (ENDPOINT_ROUTED | ENDPOINT_ADOPTED) != 0 => {}
        None => return Err(DropReason::Unpublished.into()),
    }
    let is_audited = policy::judge(
        world,
        work.config.generation,
        Party { endpoint: from, addr: tuple.src },
        Party { endpoint: Some(endpoint), addr: tuple.dst },
        PolicyPort { protocol: tuple.protocol, port: tuple.dport },
        answers,
    )?;
    if is_audited {
        policy::audit(world, work, from, Some(endpoint));
    }
    Ok(())
}
