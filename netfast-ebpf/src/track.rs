//! Flows: finding the one a packet is of, opening a new one, closing what is over.

use netfast_common::conntrack::{
    self, Direction, FLOW_ALIAS, FLOW_DESTINATION_NAT, FLOW_ORIGINATOR_IS_A, FLOW_SOURCE_NAT, Flow, Hop,
};
use netfast_common::flow::{FlowKey, Side, Tuple};
use netfast_common::protocol;
use netfast_common::reason::DropReason;

use crate::flow_ref::FlowRef;
use crate::parse::is_echo_request;
use crate::verdict::Outcome;
use crate::work::{Opening, Work};
use crate::world::World;

/// A flow that has an entry. The key of its main entry is [`Work::key`].
#[derive(Clone, Copy)]
pub(crate) struct Known {
    /// Its main entry.
    pub(crate) entry: FlowRef,
    /// Which way the packet goes.
    pub(crate) direction: Direction,
}

impl Known {
    /// Where the packet's sender is.
    #[inline(always)]
    pub(crate) fn sender(&self) -> Hop {
        let flow = self.entry.get();
        match self.direction {
            Direction::Original => flow.originator,
            Direction::Reply => flow.responder,
        }
    }

    /// Where the packet's receiver is.
    #[inline(always)]
    pub(crate) fn receiver(&self) -> Hop {
        let flow = self.entry.get();
        match self.direction {
            Direction::Original => flow.responder,
            Direction::Reply => flow.originator,
        }
    }

    /// The tuple as the originator sends it; `key` is that of the main entry.
    #[inline(always)]
    pub(crate) fn original(&self, key: &FlowKey) -> Tuple {
        key.tuple_from(originator_side(self.entry.get().flags))
    }
}

#[inline(always)]
const fn originator_side(flags: u64) -> Side {
    if flags & FLOW_ORIGINATOR_IS_A == 0 { Side::B } else { Side::A }
}

/// The tuple of the flow's packets as the responder sees them.
#[inline(always)]
fn seen(flow: &Flow) -> Tuple {
    let FlowKey { a, b, a_port, b_port, protocol, pad } = flow.key;
    Tuple { src: a, dst: b, sport: a_port, dport: b_port, protocol, pad }
}

/// Forgets the flow with this main key and entry. A function of its own in BPF: it happens once in a flow's life.
#[inline(never)]
pub(crate) fn remove<W: World>(world: &W, key: &FlowKey, entry: FlowRef) {
    let flow = entry.get();
    if flow.flags & (FLOW_SOURCE_NAT | FLOW_DESTINATION_NAT) != 0 {
        world.remove_flow(&seen(flow).key().0);
    }
    world.remove_flow(key);
}

/// The flow a packet is of. A flow that is over, or was closed and is being opened anew, is removed and not found.
///
/// # Errors
/// [`DropReason::InvalidState`] for an echo request that poses as the reply of another flow.
#[inline(always)]
pub(crate) fn find<W: World>(world: &W, work: &mut Work) -> Result<Option<Known>, DropReason> {
    let Work { headers, key, now, .. } = work;
    let tuple = &headers.tuple;
    let side;
    (*key, side) = tuple.key();
    let Some(found) = world.flow(key) else {
        return Ok(None);
    };
    let known = if found.get().flags & FLOW_ALIAS == 0 {
        let from_originator = originator_side(found.get().flags) == side;
        let direction = if from_originator { Direction::Original } else { Direction::Reply };
        Known { entry: found, direction }
    } else {
        // The main entry may have been evicted, or its key taken over by a flow with another translation.
        match world.flow(&found.get().key) {
            Some(entry) if entry.get().flags & FLOW_ALIAS == 0 && answers(tuple, entry.get()) => {
                *key = found.get().key;
                Known { entry, direction: Direction::Reply }
            }
            _ => {
                world.remove_flow(key);
                return Ok(None);
            }
        }
    };
    let flow = known.entry.get();
    let reopens = headers.is_syn() && conntrack::is_closed(flow.flags);
    if reopens || conntrack::is_over(tuple.protocol, flow.flags, flow.seen, *now) {
        remove(world, key, known.entry);
        return Ok(None);
    }
    let asks = is_echo_request(tuple.protocol, headers.icmp_type);
    if headers.is_echo() && asks != (known.direction == Direction::Original) {
        return Err(DropReason::InvalidState);
    }
    Ok(Some(known))
}

/// Whether a packet comes from where the flow's responder is reached, to where it sees the originator.
#[inline(always)]
fn answers(tuple: &Tuple, flow: &Flow) -> bool {
    (tuple.src, tuple.sport) == flow.seen_destination() && (tuple.dst, tuple.dport) == flow.seen_source()
}

/// Notes a packet of a flow.
#[inline(always)]
pub(crate) fn note(known: &Known, work: &Work) {
    let flags = known.entry.get().flags;
    let stepped = conntrack::step(flags, known.direction, work.headers.tcp_flags);
    if stepped != flags {
        known.entry.set_flags(stepped & !flags);
    }
    known.entry.touch(work.now);
    known.entry.count(known.direction, work.length);
}

/// Records a new flow, as [`Work::opening`] describes it. Its first packet then finds it like any later one.
///
/// # Errors
/// [`DropReason::MasqueradeExhausted`] when no source port is left, [`DropReason::FlowTableFull`] when the entry
/// could not be written.
#[inline(always)]
pub(crate) fn open<W: World>(world: &W, work: &mut Work) -> Result<Known, DropReason> {
    Outcome::unpack(record(world, work)).map_err(|dropped| dropped.reason)?;
    // Where another CPU was faster, its entry stands and serves this packet too.
    match world.flow(&work.key) {
        Some(entry) if entry.get().flags & FLOW_ALIAS == 0 => {
            Ok(Known { entry, direction: Direction::Original })
        }
        _ => Err(DropReason::FlowTableFull),
    }
}

/// Writes the entries of a new flow. A function of its own in BPF, with a stack of its own.
#[inline(never)]
fn record<W: World>(world: &W, work: &mut Work) -> Outcome {
    Outcome::pack(try_record(world, work).map(|()| true).map_err(Into::into))
}

#[inline(always)]
fn try_record<W: World>(world: &W, work: &mut Work) -> Result<(), DropReason> {
    let Opening { source, destination, port, flags, .. } = work.opening;
    let original = &work.headers.tuple;
    let side;
    (work.key, side) = original.key();
    let mut flags = flags;
    let mut sport = original.sport;
    let translates_destination = (destination, port) != (original.dst, original.dport);
    if source != original.src || translates_destination {
        sport = reserve(world, work)?;
        if translates_destination {
            flags |= FLOW_DESTINATION_NAT;
        }
        if (source, sport) != (work.headers.tuple.src, work.headers.tuple.sport) {
            flags |= FLOW_SOURCE_NAT;
        }
    }
    if side == Side::A {
        flags |= FLOW_ORIGINATOR_IS_A;
    }
    let Work { headers, opening, draft, config, now, length, key } = work;
    draft.key.a = source;
    draft.key.b = destination;
    draft.key.a_port = sport;
    draft.key.b_port = port;
    draft.key.protocol = headers.tuple.protocol;
    draft.key.pad = [0; 3];
    draft.flags = conntrack::step(flags, Direction::Original, headers.tcp_flags);
    draft.seen = *now;
    draft.created = *now;
    draft.generation = config.generation;
    draft.responder = opening.responder;
    draft.originator = opening.originator;
    draft.published = opening.published;
    draft.packets = [1, 0];
    draft.bytes = [u64::from(*length), 0];
    // `Taken` means another CPU was faster; what it wrote is looked at by the caller.
    let _ = world.insert_flow(key, draft);
    Ok(())
}

/// Source ports tried before giving up.
const PROBES: u16 = 32;

/// Reserves the tuple the responder is to see by writing the alias entry, and returns its source port.
#[inline(always)]
fn reserve<W: World>(world: &W, work: &mut Work) -> Result<u16, DropReason> {
    let original = &work.headers.tuple;
    let (first, last) = (work.config.masquerade_first, work.config.masquerade_last);
    let sport = original.sport;
    let keeps_address = work.opening.source == original.src;
    let has_ports =
        matches!(original.protocol, protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6);
    let is_welcome = keeps_address || (sport >= first && sport <= last) || !has_ports;
    if is_welcome && try_reserve(world, work, sport) {
        return Ok(sport);
    }
    if !has_ports || last < first {
        return Err(DropReason::MasqueradeExhausted);
    }
    let span = u32::from(last - first) + 1;
    let mut candidate = u32::from(first) + world.random() % span;
    for _ in 0..PROBES {
        #[expect(clippy::cast_possible_truncation, reason = "it stays between two 16-bit numbers")]
        let port = candidate as u16;
        if try_reserve(world, work, port) {
            return Ok(port);
        }
        candidate += 1;
        if candidate > u32::from(last) {
            candidate = u32::from(first);
        }
    }
    Err(DropReason::MasqueradeExhausted)
}

/// Writes the alias entry for source port `sport`, unless a living flow has that tuple.
#[inline(never)]
fn try_reserve<W: World>(world: &W, work: &mut Work, sport: u16) -> bool {
    let Work { headers, opening, draft, key: main, now, .. } = work;
    let protocol = headers.tuple.protocol;
    let seen = Tuple {
        src: opening.source,
        dst: opening.destination,
        sport,
        dport: opening.port,
        protocol,
        pad: [0; 3],
    };
    let (key, _) = seen.key();
    draft.key = *main;
    draft.flags = FLOW_ALIAS;
    draft.seen = *now;
    draft.created = *now;
    if world.insert_flow(&key, draft).is_ok() {
        return true;
    }
    let Some(entry) = world.flow(&key) else {
        return false;
    };
    let is_alias = entry.get().flags & FLOW_ALIAS != 0;
    let holder = if is_alias { world.flow(&entry.get().key) } else { Some(entry) };
    if let Some(holder) = holder {
        let flow = holder.get();
        if !conntrack::is_closed(flow.flags) && !conntrack::is_over(protocol, flow.flags, flow.seen, *now) {
            return false;
        }
        if is_alias {
            world.remove_flow(&entry.get().key);
        }
    }
    world.remove_flow(&key);
    world.insert_flow(&key, draft).is_ok()
}
