//! Packets from outside, as they come in at an uplink. Everything that is not for an endpoint goes on to the host
//! untouched.

use netfast_common::conntrack::Hop;
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    ADDRESS_ENDPOINT, CONFIG_DENY_IN_TC, ENDPOINT_ADOPTED, ENDPOINT_ROUTED, UPLINK_SHARED,
};

use crate::forward;
use crate::fragment::{self, Place};
use crate::packet::Packet;
use crate::parse::{self, ethertype};
use crate::policy::{self, Party, PolicyPort};
use crate::related;
use crate::track::{self, Known};
use crate::verdict::{Dropped, Outcome, Verdict};
use crate::work::Work;
use crate::world::World;

/// Decides on a packet that came in at the uplink the program runs at.
///
/// # Errors
/// When it is dropped.
#[inline(always)]
pub fn from_uplink<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
) -> Result<Verdict, Dropped> {
    match handle(packet, world, work) {
        Err(Dropped { reason: DropReason::SpoofedAddress, .. }) if is_shared(packet, world, work) => {
            Ok(Verdict::Next)
        }
        decided => decided,
    }
}

/// Whether the packet comes from an endpoint on another plugin's bridge, whose own program has seen it. A function of its
/// own in BPF.
#[inline(never)]
fn is_shared<P: Packet, W: World>(packet: &P, world: &W, work: &Work) -> bool {
    let is_from_endpoint =
        || world.address(&work.headers.tuple.src).is_some_and(|row| row.kind == ADDRESS_ENDPOINT);
    world.uplink(packet.ifindex()).is_some_and(|uplink| uplink.flags & UPLINK_SHARED != 0)
        && is_from_endpoint()
}

#[inline(always)]
fn handle<P: Packet, W: World>(packet: &mut P, world: &W, work: &mut Work) -> Result<Verdict, Dropped> {
    let Ok(frame) = packet.frame() else {
        return Ok(Verdict::Next);
    };
    if packet.has_vlan_tag() || !matches!(frame.ether_type, ethertype::IPV4 | ethertype::IPV6) {
        return Ok(Verdict::Next);
    }
    // What cannot be parsed is the host's to judge.
    if parse::ip(packet, frame.ether_type, &mut work.headers).unpack().is_err() {
        return Ok(Verdict::Next);
    }
    work.config = world.config();
    let headers = &work.headers;
    if work.config.flags & CONFIG_DENY_IN_TC != 0 && world.is_denied(&headers.tuple.src) {
        return Err(DropReason::DeniedSource.into());
    }
    let dst = headers.tuple.dst;
    if dst.is_multicast() || dst.is_loopback() || headers.is_neighbour_discovery() {
        return Ok(Verdict::Next);
    }

    work.tell_time(world);
    work.length = packet.len();
    if work.headers.is_fragment {
        match fragment(packet, world, work) {
            Ok(None) => {}
            Ok(Some(verdict)) => return Ok(verdict),
            // A lone one is the host's to judge, too.
            Err(Dropped { reason: DropReason::FragmentUnknown, .. }) => return Ok(Verdict::Next),
            Err(dropped) => return Err(dropped),
        }
    }
    if let Some(verdict) = related::forward(packet, world, work, 0)? {
        return Ok(verdict);
    }
    let known = match established(world, work)? {
        Some(known) => known,
        None if open(packet, world, work).unpack()? => track::open(world, work)?,
        None => return Ok(Verdict::Next),
    };
    if known.receiver().incarnation == 0 || known.sender().ifindex == 0 {
        return Ok(Verdict::Next);
    }
    forward::send(packet, world, &known, work)
}

/// Completes a fragment. `Some`: that is all there is to do.
#[inline(always)]
fn fragment<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
) -> Result<Option<Verdict>, Dropped> {
    if world.address(&work.headers.tuple.dst).is_none() {
        // It only passes through the host.
        return Ok(Some(Verdict::Next));
    }
    fragment::complete(packet, world, work, Place { incarnation: 0, is_egress: false })
}

/// The flow the packet is of, if it may go on.
#[inline(always)]
fn established<W: World>(world: &W, work: &mut Work) -> Result<Option<Known>, Dropped> {
    let Some(known) = track::find(world, work)? else {
        return Ok(None);
    };
    let sender = known.sender();
    if sender.incarnation != 0 && world.address(&work.headers.tuple.src).is_none() {
        // Of an endpoint that is gone: another plugin's container may have its address by now, and is outside.
        track::remove(world, &work.key, known.entry);
        return Ok(None);
    }
    let is_the_host = sender.ifindex == 0 && world.address(&work.headers.tuple.src).is_some();
    if sender.incarnation != 0 || is_the_host {
        // From outside, with the address of an endpoint, or of the host itself.
        return Err(DropReason::SpoofedAddress.into());
    }
    if known.receiver().incarnation == 0 || sender.ifindex == 0 {
        // The host's own: not for policies. Or the host's stack has a part in it, with another plugin's routes: not for
        // policies here.
        return Ok(Some(known));
    }
    if forward::recheck::<false, W>(world, known, work)? {
        return Ok(Some(track::note(world, known, work)));
    }
    track::remove(world, &work.key, known.entry);
    Ok(None)
}

/// Finds out what the first packet of a flow leads to, and whether it may; `false`: to the host itself. A function of
/// its own in BPF, with a stack of its own.
#[inline(never)]
fn open<P: Packet, W: World>(packet: &P, world: &W, work: &mut Work) -> Outcome {
    Outcome::pack(try_open(packet, world, work))
}

#[inline(always)]
fn try_open<P: Packet, W: World>(packet: &P, world: &W, work: &mut Work) -> Result<bool, Dropped> {
    let Work { headers, opening, config, answers, .. } = work;
    let tuple = &headers.tuple;
    let source = world.address(&tuple.src);
    if source.is_some_and(|row| row.kind == ADDRESS_ENDPOINT) {
        return Err(DropReason::SpoofedAddress.into());
    }
    let is_the_host = source.is_some();
    let Some(row) = world.address(&tuple.dst) else {
        return Ok(false);
    };
    opening.source = tuple.src;
    opening.destination = tuple.dst;
    opening.port = tuple.dport;
    opening.originator = Hop { ifindex: packet.ifindex(), incarnation: 0 };
    opening.published = 0;
    opening.flags = 0;
    let target = if row.kind == ADDRESS_ENDPOINT {
        let (hop, target) = forward::owner(world, row, &tuple.dst)?;
        opening.responder = hop;
        if target.flags & ENDPOINT_ADOPTED != 0 {
            // The other plugin's routes and filters come first; the endpoint's own program judges it.
            return Ok(false);
        }
        if target.flags & ENDPOINT_ROUTED == 0 {
            return Err(Dropped { reason: DropReason::Unpublished, endpoint: target.incarnation });
        }
        target
    } else {
        let Some(publish) = forward::published(world, config.generation, tuple) else {
            return Ok(false);
        };
        forward::publish_target(world, publish, opening)?
    };
    if tuple.src.is_link_local_v6() {
        // Only the host knows by which device to answer.
        return Ok(false);
    }
    if tuple.src.is_no_source() {
        return Err(DropReason::Martian.into());
    }
    if is_the_host {
        // To the host itself it would be the host's to judge.
        return Err(DropReason::SpoofedAddress.into());
    }
    let is_audited = policy::judge(
        world,
        work.config.generation,
        Party { endpoint: None, addr: tuple.src },
        Party { endpoint: Some(target), addr: opening.destination },
        PolicyPort { protocol: tuple.protocol, port: opening.port },
        answers,
    )?;
    if is_audited {
        policy::audit(world, work, None, Some(target));
    }
    Ok(true)
}
