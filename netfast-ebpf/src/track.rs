//! Flows: finding the one a packet is of, opening a new one, closing what is over.

use netfast_common::conntrack::{
    self, Direction, FLOW_ALIAS, FLOW_ASSURED, FLOW_CROSSES, FLOW_DESTINATION_NAT, FLOW_ORIGINATOR_IS_A,
    FLOW_SETTLED, FLOW_SOURCE_NAT, Flow, Hop, SECOND,
};
use netfast_common::flow::{FlowKey, Side, Tuple};
use netfast_common::protocol;
use netfast_common::reason::DropReason;

use crate::flow_ref::FlowRef;
use crate::parse::{Headers, is_echo_request};
use crate::repeat::{Attempt, repeat};
use crate::work::Work;
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

    /// Whether one end knows the other by another address or port than it has.
    #[inline(always)]
    pub(crate) fn is_translated(&self) -> bool {
        self.entry.get().flags & (FLOW_SOURCE_NAT | FLOW_DESTINATION_NAT) != 0
    }
}

#[inline(always)]
const fn originator_side(flags: u64) -> Side {
    if flags & FLOW_ORIGINATOR_IS_A == 0 { Side::B } else { Side::A }
}

/// The tuple of the flow's packets as the responder sees them.
#[inline(always)]
pub(crate) fn seen(flow: &Flow) -> Tuple {
    let FlowKey { a, b, a_port, b_port, protocol, pad } = flow.key;
    Tuple { src: a, dst: b, sport: a_port, dport: b_port, protocol, pad }
}

/// Forgets the flow with this main key and entry. A function of its own in BPF: it happens once in a flow's life.
#[inline(never)]
pub(crate) fn remove<W: World>(world: &W, key: &FlowKey, entry: FlowRef) {
    let flow = entry.get();
    if flow.flags & (FLOW_SOURCE_NAT | FLOW_DESTINATION_NAT) != 0 && has_alias(world, flow, key) {
        world.remove_flow(&seen(flow).key().0);
    }
    world.remove_flow(key);
}

/// Whether this is the alias of the flow with that key. Evicted, its own tuple may be another flow's by now.
#[inline(always)]
fn is_alias_of(entry: &Flow, key: &FlowKey) -> bool {
    entry.flags & FLOW_ALIAS != 0 && entry.key == *key
}

/// The flow a packet is of. A flow that is over is removed and not found. One that was closed and is being opened anew is
/// not found either; [`open`] sees what becomes of its entry.
///
/// # Errors
/// [`DropReason::InvalidState`] for an echo request that poses as the reply of another flow.
#[inline(always)]
pub(crate) fn find<W: World>(world: &W, work: &mut Work) -> Result<Option<Known>, DropReason> {
    let Work { headers, key, now, opening, .. } = work;
    opening.reopens = false;
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
        end(world, work, known.entry, known.direction == Direction::Original);
        return Ok(None);
    }
    let asks = is_echo_request(tuple.protocol, headers.icmp_type);
    if headers.is_echo() && asks != (known.direction == Direction::Original) {
        return Err(DropReason::InvalidState);
    }
    Ok(Some(known))
}

/// Sees what becomes of the entry of a flow that ends with this packet. A function of its own in BPF, as [`remove`] is.
#[inline(never)]
fn end<W: World>(world: &W, work: &mut Work, entry: FlowRef, is_original: bool) {
    let Work { headers, opening, key, .. } = work;
    opening.reopens = is_original && headers.is_syn() && conntrack::is_closed(entry.get().flags);
    if !opening.reopens {
        remove(world, key, entry);
    }
}

/// Whether a packet comes from where the flow's responder is reached, to where it sees the originator.
#[inline(always)]
fn answers(tuple: &Tuple, flow: &Flow) -> bool {
    (tuple.src, tuple.sport) == flow.seen_destination() && (tuple.dst, tuple.dport) == flow.seen_source()
}

/// Notes a packet of a flow, and answers the flow: it may have settled, which gives it another entry.
#[inline(always)]
pub(crate) fn note<W: World>(world: &W, known: Known, work: &mut Work) -> Known {
    let flags = known.entry.get().flags;
    let Headers { tuple, tcp_flags, .. } = &work.headers;
    let stepped = conntrack::step(tuple.protocol, flags, known.direction, *tcp_flags);
    if stepped != flags {
        known.entry.set_flags(stepped & !flags);
    }
    known.entry.count(known.direction, work.length);
    let is_due = known.entry.touch(work.now);
    if stepped & !flags & FLOW_ASSURED != 0 && flags & FLOW_SETTLED == 0 {
        settle(world, work, known.entry);
        return Known { entry: world.flow(&work.key).unwrap_or(known.entry), ..known };
    }
    if is_due && flags & (FLOW_SOURCE_NAT | FLOW_DESTINATION_NAT) != 0 {
        keep_alias(world, work, known.entry);
    }
    known
}

/// Moves a flow from the nursery to the settled ones. A function of its own in BPF: it happens once in a flow's life.
#[inline(never)]
fn settle<W: World>(world: &W, work: &mut Work, entry: FlowRef) {
    let Work { key, draft, .. } = work;
    *draft = *entry.get();
    draft.flags |= FLOW_SETTLED;
    // `Taken` means another CPU was faster, or there is no room: then it stays where it is.
    let _ = world.settle_flow(key, draft);
    if draft.flags & (FLOW_SOURCE_NAT | FLOW_DESTINATION_NAT) != 0 {
        let (alias, _) = seen(draft).key();
        draft.key = *key;
        draft.flags = FLOW_ALIAS;
        let _ = world.settle_flow(&alias, draft);
    }
}

/// Sees that a translated flow has its alias still: where packets go one way only nobody looks it up, and it is the next
/// to be evicted. A function of its own in BPF: it happens ten times a second.
#[inline(never)]
fn keep_alias<W: World>(world: &W, work: &mut Work, entry: FlowRef) {
    let Work { key, draft, now, .. } = work;
    let flow = entry.get();
    let (alias, _) = seen(flow).key();
    match world.flow(&alias) {
        Some(found) if is_alias_of(found.get(), key) => {}
        // Its tuple is another flow's by now. It begins anew, with another source port.
        Some(_) => entry.expire(),
        None => {
            draft.key = *key;
            draft.flags = FLOW_ALIAS;
            draft.seen = *now;
            draft.created = flow.created;
            let written = if flow.flags & FLOW_SETTLED == 0 {
                world.insert_flow(&alias, draft)
            } else {
                world.settle_flow(&alias, draft)
            };
            // Where it could not be written the next packets try again.
            let _ = written;
        }
    }
}

/// Records a new flow, as [`Work::opening`] describes it. Its first packet then finds it like any later one.
///
/// # Errors
/// [`DropReason::MasqueradeExhausted`] when no source port is left, [`DropReason::FlowTableFull`] when the entry
/// could not be written.
#[inline(always)]
pub(crate) fn open<W: World>(world: &W, work: &mut Work) -> Result<Known, DropReason> {
    // To the nanosecond, as flows with the same tuple are told apart by it.
    work.now = world.now();
    if !record(world, work) {
        return Err(DropReason::MasqueradeExhausted);
    }
    // Where another CPU was faster, its entry stands and serves this packet too.
    let entry = if work.opening.reopens { world.flow(&work.key) } else { world.new_flow(&work.key) };
    match entry {
        Some(entry) if entry.get().flags & FLOW_ALIAS == 0 => {
            work.is_first = true;
            Ok(Known { entry, direction: Direction::Original })
        }
        _ => Err(DropReason::FlowTableFull),
    }
}

/// Gives a new connection the entry of the closed one that had its tuple, if it leads the same way: to make another one costs
/// several times as much. Otherwise that one is removed. A function of its own in BPF.
#[inline(never)]
fn take_over<W: World>(world: &W, work: &mut Work) -> bool {
    let Work { headers, opening, config, now, length, key, .. } = work;
    let Some(entry) = world.flow(key) else {
        return false;
    };
    let flow = entry.get();
    if flow.flags & FLOW_ALIAS != 0 || !conntrack::is_closed(flow.flags) {
        // Another CPU was faster.
        return false;
    }
    let original = &headers.tuple;
    let ports = config.masquerade_first..=config.masquerade_last;
    let is_same = (flow.key.a, flow.key.b, flow.key.b_port)
        == (opening.source, opening.destination, opening.port)
        && (flow.originator, flow.responder, flow.published)
            == (opening.originator, opening.responder, opening.published)
        && (opening.source == original.src || ports.contains(&flow.key.a_port))
        && (flow.flags & (FLOW_SOURCE_NAT | FLOW_DESTINATION_NAT) == 0 || has_alias(world, flow, key));
    if !is_same {
        opening.last_port = flow.key.a_port;
        remove(world, key, entry);
        return false;
    }
    opening.source_port = flow.key.a_port;
    entry.begin(original.protocol, headers.tcp_flags, *now, config.generation, *length);
    true
}

/// Whether a translated flow can be found by what its responder sees.
#[inline(always)]
fn has_alias<W: World>(world: &W, flow: &Flow, key: &FlowKey) -> bool {
    let (alias, _) = seen(flow).key();
    world.flow(&alias).is_some_and(|found| is_alias_of(found.get(), key))
}

/// Writes the entries of a new flow; `false`: no source port is left. A function of its own in BPF, with a stack of
/// its own.
#[inline(never)]
fn record<W: World>(world: &W, work: &mut Work) -> bool {
    let side;
    (work.key, side) = work.headers.tuple.key();
    if work.opening.reopens && take_over(world, work) {
        return true;
    }
    let mut flags = if side == Side::A { FLOW_ORIGINATOR_IS_A } else { 0 };
    let Work { headers, opening, .. } = work;
    let original = &headers.tuple;
    opening.source_port = original.sport;
    let translates_destination = (opening.destination, opening.port) != (original.dst, original.dport);
    if translates_destination {
        flags |= FLOW_DESTINATION_NAT;
    }
    opening.flags |= flags;
    if (translates_destination || opening.source != original.src) && !reserve(world, work) {
        return false;
    }
    write(world, work);
    true
}

/// Writes the main entry. A function of its own in BPF: behind it, the verifier forgets what was decided before.
#[inline(never)]
fn write<W: World>(world: &W, work: &mut Work) {
    let Work { headers, opening, draft, config, now, length, key, .. } = work;
    let mut flags = opening.flags;
    if (opening.source, opening.source_port) != (headers.tuple.src, headers.tuple.sport) {
        flags |= FLOW_SOURCE_NAT;
    }
    if opening.source.is_v4() != headers.tuple.src.is_v4() {
        flags |= FLOW_CROSSES;
    }
    draft.key.a = opening.source;
    draft.key.b = opening.destination;
    draft.key.a_port = opening.source_port;
    draft.key.b_port = opening.port;
    draft.key.protocol = headers.tuple.protocol;
    draft.key.pad = [0; 3];
    draft.flags = conntrack::step(draft.key.protocol, flags, Direction::Original, headers.tcp_flags);
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
}

/// Source ports tried before giving up.
const PROBES: u32 = 32;
/// With so many of them, ports of flows that closed lately are passed over.
const PATIENT_PROBES: u32 = 24;
/// How long a closed flow's port is better left alone: who closed first remembers its segments that long (Linux'
/// `TCP_TIMEWAIT_LEN`), and takes the SYN of somebody whose time stamps are behind for one of those.
const REST: u64 = 60 * SECOND;

/// A search for a source port by which the responder can tell a new flow from all others.
struct Probe<'a, W> {
    world: &'a W,
    work: &'a mut Work,
    tried: u32,
    found: bool,
}

impl<W: World> Attempt for Probe<'_, W> {
    #[inline(always)]
    fn attempt(&mut self) -> bool {
        let Work { config, opening, .. } = self.work;
        let port = opening.source_port;
        opening.source_port = if port < config.masquerade_first || port >= config.masquerade_last {
            config.masquerade_first
        } else {
            port + 1
        };
        self.found = try_reserve(self.world, self.work, self.tried < PATIENT_PROBES);
        self.tried += 1;
        self.found
    }
}

/// Chooses [`Opening::source_port`](crate::work::Opening::source_port) and reserves the tuple the responder is to see; `false`: none is left. A function
/// of its own in BPF.
#[inline(never)]
fn reserve<W: World>(world: &W, work: &mut Work) -> bool {
    let Work { config, headers, opening, .. } = work;
    let original = &headers.tuple;
    let (first, last) = (config.masquerade_first, config.masquerade_last);
    let has_ports =
        matches!(original.protocol, protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6);
    let keeps_port =
        !has_ports || opening.source == original.src || (original.sport >= first && original.sport <= last);
    let is_patient = has_ports && opening.source != original.src;
    let last_port = core::mem::take(&mut opening.last_port);
    if is_patient && last_port >= first && last_port <= last {
        opening.source_port = last_port;
        if try_reserve(world, work, false) {
            return true;
        }
        work.opening.source_port = work.headers.tuple.sport;
    }
    if keeps_port && try_reserve(world, work, is_patient) {
        return true;
    }
    if !has_ports || last < first {
        return false;
    }
    let span = u32::from(last - first) + 1;
    work.opening.source_port = first + (world.random() % span) as u16;
    let mut probe = Probe { world, work, tried: 0, found: false };
    repeat(PROBES, &mut probe);
    probe.found
}

/// Writes the alias entry for [`Opening::source_port`](crate::work::Opening::source_port), unless a living flow has that tuple; if patient, one that
/// closed lately neither. A function of its own in BPF.
#[inline(never)]
fn try_reserve<W: World>(world: &W, work: &mut Work, is_patient: bool) -> bool {
    let Work { headers, opening, draft, key: main, now, .. } = work;
    let protocol = headers.tuple.protocol;
    let seen = Tuple {
        src: opening.source,
        dst: opening.destination,
        sport: opening.source_port,
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
        if is_patient
            && !conntrack::is_reset(flow.flags)
            && conntrack::is_closed(flow.flags)
            && now.saturating_sub(flow.seen) < REST
        {
            return false;
        }
        if is_alias {
            world.remove_flow(&entry.get().key);
        }
    }
    world.remove_flow(&key);
    world.insert_flow(&key, draft).is_ok()
}
