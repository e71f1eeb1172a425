//! A packet of a known flow on its way: both ends checked, translated, sent.

use netfast_common::addr::{Addr, Mac};
use netfast_common::conntrack::{Direction, FLOW_CROSSES, FLOW_FROM_HOST, FLOW_REPLIED, Flow, Hop};
use netfast_common::counter::Path;
use netfast_common::flow::Tuple;
use netfast_common::protocol::UDP;
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    AddressRow, CONFIG_KEEP, ENDPOINT_INTERNAL, ENDPOINT_READY, EndpointRow, PublishKey, PublishRow,
    SourceKey,
};

use crate::cross;
use crate::flow_ref::FlowRef;
use crate::further;
use crate::nat;
use crate::packet::Packet;
use crate::parse::L3;
use crate::policy::{self, Party, PolicyPort};
use crate::report;
use crate::track::{Known, seen};
use crate::verdict::{Dropped, Outcome, Verdict};
use crate::work::{Opening, Work};
use crate::world::World;

/// The living endpoint at a hop: `None` where the hop is no endpoint.
///
/// # Errors
/// [`DropReason::NotReady`] when the endpoint that was there is gone.
#[inline(always)]
pub(crate) fn endpoint_at<W: World>(world: &W, hop: Hop) -> Result<Option<&EndpointRow>, DropReason> {
    if hop.incarnation == 0 {
        return Ok(None);
    }
    match world.endpoint(hop.ifindex) {
        Some(row) if row.incarnation == hop.incarnation => Ok(Some(row)),
        _ => Err(DropReason::NotReady),
    }
}

/// The endpoint at a hop, if packets may pass.
///
/// # Errors
/// [`DropReason::NotReady`] otherwise.
#[inline(always)]
pub(crate) fn ready<W: World>(world: &W, hop: Hop) -> Result<&EndpointRow, DropReason> {
    match endpoint_at(world, hop)? {
        Some(row) if row.flags & ENDPOINT_READY != 0 => Ok(row),
        _ => Err(DropReason::NotReady),
    }
}

/// The endpoint that has `addr`, as `row` says, and where it is.
///
/// # Errors
/// [`DropReason::NotReady`] when packets to it may not pass, or the address is changing hands: while a row is replaced, a
/// program may read another one in its place (see docs/decisions.md), so the endpoint's own row is what counts.
#[inline(always)]
pub(crate) fn owner<'a, W: World>(
    world: &'a W,
    row: &AddressRow,
    addr: &Addr,
) -> Result<(Hop, &'a EndpointRow), DropReason> {
    let hop = Hop { ifindex: row.ifindex, incarnation: row.incarnation };
    let endpoint = ready(world, hop)?;
    let own = if addr.is_v4() { &endpoint.ip4 } else { &endpoint.ip6 };
    if own == addr || further::has(world, endpoint, addr) {
        Ok((hop, endpoint))
    } else {
        Err(DropReason::NotReady)
    }
}

/// Fills in the endpoint behind a published port as a new flow's responder, and the source it is to see.
///
/// # Errors
/// [`DropReason::NotReady`] when packets to it may not pass yet, [`DropReason::SourceNotAllowed`] when it is not for
/// this source.
#[inline(always)]
pub(crate) fn publish_target<'a, W: World>(
    world: &'a W,
    publish: &PublishRow,
    opening: &mut Opening,
) -> Result<&'a EndpointRow, Dropped> {
    let row = world.address(&publish.addr).ok_or(DropReason::NotReady)?;
    let (hop, target) = owner(world, row, &publish.addr)?;
    opening.responder = hop;
    opening.destination = publish.addr;
    opening.port = publish.port;
    opening.published = publish.incarnation;
    // What an endpoint sends to itself is not for a list of sources to stop.
    let is_oneself = hop == opening.originator;
    if !is_oneself {
        allow_source(world, publish, opening.source, hop)?;
    }
    // Who sends to itself would keep the answer in its namespace, and who has no address of the endpoint's family cannot be
    // answered: it seems to come from the gateway.
    let is_v4 = publish.addr.is_v4();
    if is_oneself || opening.source.is_v4() != is_v4 {
        opening.source = if is_v4 { target.gateway4 } else { target.gateway6 };
        if opening.source.is_unspecified() {
            // Another plugin's device, which has no address of the host's.
            return Err(DropReason::NoRoute.into());
        }
    }
    Ok(target)
}

/// Sees that a source may use a published port.
///
/// # Errors
/// [`DropReason::SourceNotAllowed`] when it may not, counted against the endpoint at `to`.
#[inline(always)]
fn allow_source<W: World>(world: &W, publish: &PublishRow, source: Addr, to: Hop) -> Result<(), Dropped> {
    if publish.sources == 0 || world.is_source(&SourceKey::new(publish.sources, source)) {
        return Ok(());
    }
    Err(Dropped { reason: DropReason::SourceNotAllowed, endpoint: to.incarnation })
}

/// What a port of the host leads to: published on that address, or on all of its family.
#[inline(always)]
pub(crate) fn published<'a, W: World>(
    world: &'a W,
    generation: u32,
    tuple: &Tuple,
) -> Option<&'a PublishRow> {
    let mut key = PublishKey::new(tuple.dst, tuple.dport, tuple.protocol);
    if let Some(row) = world.published(generation, &key) {
        return Some(row);
    }
    key.addr = tuple.dst.unspecified();
    world.published(generation, &key)
}

/// Whether the world that is in force still allows a flow that an earlier one allowed. `false`: what made the flow
/// is no more (an endpoint, a published port) or leads elsewhere, and the packet is to be looked at as the first of a new
/// one. `SENT`: the packet comes from an endpoint, so that one of a flow to the host is its originator's.
///
/// # Errors
/// When policy denies it.
#[inline(always)]
pub(crate) fn recheck<const SENT: bool, W: World>(
    world: &W,
    known: Known,
    work: &mut Work,
) -> Result<bool, Dropped> {
    if known.entry.get().generation == work.config.generation && !work.headers.is_syn() {
        return Ok(true);
    }
    judge_again::<SENT, W>(world, known.entry, work).unpack()
}

/// Judges a known flow in the world that is in force. A function of its own in BPF: few packets need it.
#[inline(never)]
fn judge_again<const SENT: bool, W: World>(world: &W, entry: FlowRef, work: &mut Work) -> Outcome {
    Outcome::pack(try_judge_again::<SENT, W>(world, Known { entry, direction: Direction::Original }, work))
}

#[inline(always)]
fn try_judge_again<const SENT: bool, W: World>(
    world: &W,
    known: Known,
    work: &mut Work,
) -> Result<bool, Dropped> {
    let flow = known.entry.get();
    let original = known.original(&work.key);
    let was_published = flow.published != 0;
    let publish = if was_published || (SENT && is_for_host(world, flow, &original)) {
        published(world, work.config.generation, &original)
    } else {
        None
    };
    if was_published {
        match publish {
            Some(row) if row.incarnation == flow.published => {
                if flow.originator != flow.responder {
                    allow_source(world, row, original.src, flow.responder)?;
                }
            }
            _ => return Ok(false),
        }
    }
    let (Ok(from), Ok(to)) = (endpoint_at(world, flow.originator), endpoint_at(world, flow.responder)) else {
        return Ok(false);
    };
    let is_internal = from.is_some_and(|from| from.flags & ENDPOINT_INTERNAL != 0);
    if !was_published && publish.is_some() && !is_internal {
        return Ok(false);
    }
    if flow.flags & FLOW_FROM_HOST == 0 && flow.originator != flow.responder && !is_kept(flow, work) {
        let (dst, dport) = flow.seen_destination();
        policy::judge(
            world,
            work.config.generation,
            Party { endpoint: from, addr: original.src },
            Party { endpoint: to, addr: dst },
            PolicyPort { protocol: original.protocol, port: dport },
            &mut work.answers,
        )?;
    }
    // An answer of the host's does not say where the next question is to go.
    if SENT || flow.responder != Hop::default() || original.protocol != UDP {
        known.entry.allow(work.config.generation);
    }
    Ok(true)
}

/// Whether a flow leads to a port of the host that may have been published since. A connection goes on with the process that
/// it was made with; any packet of UDP may be a first one.
#[inline(always)]
fn is_for_host<W: World>(world: &W, flow: &Flow, original: &Tuple) -> bool {
    let is_connection = original.protocol != UDP && flow.flags & FLOW_REPLIED != 0;
    // What another plugin's bridge leads outside is for no address of the host.
    flow.responder == Hop::default() && !is_connection && world.address(&original.dst).is_some()
}

/// Whether policies are not asked again: the flow has been answered, and such flows are to go on. A SYN begins anew.
#[inline(always)]
const fn is_kept(flow: &Flow, work: &Work) -> bool {
    work.config.flags & CONFIG_KEEP != 0 && flow.flags & FLOW_REPLIED != 0 && !work.headers.is_syn()
}

/// Whether a hop is an uplink.
#[inline(always)]
const fn is_outside(hop: Hop) -> bool {
    hop.ifindex != 0 && hop.incarnation == 0
}

/// Translates the packet and says where it goes.
///
/// # Errors
/// When it cannot be sent; see [`DropReason`].
#[inline(always)]
pub(crate) fn send<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    known: &Known,
    work: &mut Work,
) -> Result<Verdict, Dropped> {
    let is_translated = known.is_translated();
    // Before anything is changed: an error about the packet quotes it as it came.
    let (from, to) = (known.sender(), known.receiver());
    let is_routed = is_routed(from, to, is_translated);
    if is_routed {
        if work.headers.ttl <= 1 {
            return Err(DropReason::TtlExpired.into());
        }
        let growth =
            if known.entry.get().flags & FLOW_CROSSES != 0 { cross::growth(&work.headers) } else { 0 };
        let length = (work.length - L3).wrapping_add_signed(growth);
        if is_outside(to)
            && length > work.config.smallest_mtu
            && report::is_too_big(packet, world, to.ifindex, work, growth)
        {
            return Err(DropReason::TooBig.into());
        }
    }
    let crosses = is_translated && aim(known.entry, known.direction == Direction::Original, work);
    if is_outside(to) {
        world.next_hop(packet.ifindex(), to.ifindex, work, crosses)?;
    }
    if is_translated {
        rewrite(packet, work).unpack()?;
    } else if is_routed {
        nat::decrement_ttl(packet, &work.headers)?;
    }
    deliver(packet, world, (from, to), is_routed, work)
}

/// Whether a packet between these two crosses the host's routing, which counts its TTL down. Otherwise they are on one wire.
#[inline(always)]
pub(crate) const fn is_routed(from: Hop, to: Hop, is_translated: bool) -> bool {
    is_translated || is_outside(from) || is_outside(to)
}

/// Addresses a packet to its receiver and says where it goes.
///
/// # Errors
/// When it cannot be sent; see [`DropReason`].
#[inline(always)]
pub(crate) fn deliver<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    (from, to): (Hop, Hop),
    is_routed: bool,
    work: &Work,
) -> Result<Verdict, Dropped> {
    let target = if to.incarnation == 0 { None } else { Some(ready(world, to)?) };
    let length = work.length;
    match target {
        Some(target) => {
            let source = if is_routed { Some(target.gateway_mac) } else { None };
            address_frame(packet, target.mac, source)?;
            let path = if from.incarnation == 0 { Path::FromOutside } else { Path::ToEndpoint };
            world.count(path, length);
            Ok(Verdict::to(target))
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

/// Fills in [`Work::target`]: the addresses and ports by which the receiver knows both ends. Says whether they are of the other
/// family. A function of its own in BPF, so that the verifier forgets how they came about.
#[inline(never)]
fn aim(entry: FlowRef, is_original: bool, work: &mut Work) -> bool {
    let flow = entry.get();
    let direction = if is_original { Direction::Original } else { Direction::Reply };
    let known = Known { entry, direction };
    work.target = match direction {
        Direction::Original => seen(flow),
        Direction::Reply => known.original(&work.key).reversed(),
    };
    work.target.src.is_v4() != work.headers.tuple.src.is_v4()
}

/// Translates the packet and counts its TTL down. A function of its own in BPF.
#[inline(never)]
fn rewrite<P: Packet>(packet: &mut P, work: &mut Work) -> Outcome {
    if work.headers.tuple.src.is_v4() != work.target.src.is_v4() {
        return cross::packet(packet, work);
    }
    Outcome::pack(nat::rewrite(packet, &work.headers, &work.target).map(|()| true).map_err(Into::into))
}

/// Addresses the frame to its receiver; `source` where it did not stand on one wire with the sender.
#[inline(always)]
fn address_frame<P: Packet>(packet: &mut P, to: Mac, source: Option<Mac>) -> Result<(), DropReason> {
    match source {
        Some(source) => packet.store(0, &[to, source]),
        // Neighbours know each other's address, so it is written already.
        None if packet.frame()?.dst == to => Ok(()),
        None => packet.store(0, &to),
    }
}
