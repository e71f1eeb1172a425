//! Flows: finding the one a packet is of, opening a new one, closing what is over.

use netfast_common::addr::Addr;
use netfast_common::conntrack::{
    self, Direction, FLOW_ALIAS, FLOW_DESTINATION_NAT, FLOW_ORIGINATOR_IS_A, FLOW_SOURCE_NAT, Flow, Hop,
};
use netfast_common::flow::{FlowKey, Side, Tuple};
use netfast_common::protocol;
use netfast_common::reason::DropReason;
use netfast_common::rows::Config;

use crate::flow_ref::FlowRef;
use crate::parse::{Headers, is_echo_request};
use crate::world::World;

/// A flow that has an entry.
pub struct Known {
    /// Its main entry.
    pub entry: FlowRef,
    /// The key of the main entry.
    pub key: FlowKey,
    /// Which way the packet goes.
    pub direction: Direction,
}

impl Known {
    /// Where the packet's sender is.
    #[inline(always)]
    pub fn sender(&self) -> Hop {
        let flow = self.entry.get();
        match self.direction {
            Direction::Original => flow.originator,
            Direction::Reply => flow.responder,
        }
    }

    /// Where the packet's receiver is.
    #[inline(always)]
    pub fn receiver(&self) -> Hop {
        let flow = self.entry.get();
        match self.direction {
            Direction::Original => flow.responder,
            Direction::Reply => flow.originator,
        }
    }

    /// The tuple as the originator sends it.
    #[inline(always)]
    pub fn original(&self) -> Tuple {
        self.key.tuple_from(originator_side(self.entry.get().flags))
    }

    /// Forgets the flow.
    #[inline(always)]
    pub fn remove<W: World>(&self, world: &W) {
        remove(world, &self.key, self.entry);
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

#[inline(always)]
fn remove<W: World>(world: &W, key: &FlowKey, entry: FlowRef) {
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
pub fn find<W: World>(world: &W, headers: &Headers, now: u64) -> Result<Option<Known>, DropReason> {
    let tuple = &headers.tuple;
    let (looked_up, side) = tuple.key();
    let Some(found) = world.flow(&looked_up) else {
        return Ok(None);
    };
    let known = if found.get().flags & FLOW_ALIAS == 0 {
        let from_originator = originator_side(found.get().flags) == side;
        let direction = if from_originator { Direction::Original } else { Direction::Reply };
        Known { entry: found, key: looked_up, direction }
    } else {
        let key = found.get().key;
        // The main entry may have been evicted, or its key taken over by a flow with another translation.
        match world.flow(&key) {
            Some(entry) if entry.get().flags & FLOW_ALIAS == 0 && seen(entry.get()).reversed() == *tuple => {
                Known { entry, key, direction: Direction::Reply }
            }
            _ => {
                world.remove_flow(&looked_up);
                return Ok(None);
            }
        }
    };
    let flow = known.entry.get();
    let reopens = headers.is_syn() && conntrack::is_closed(flow.flags);
    if reopens || conntrack::is_over(tuple.protocol, flow.flags, flow.seen, now) {
        known.remove(world);
        return Ok(None);
    }
    let asks = is_echo_request(tuple.protocol, headers.icmp_type);
    if headers.is_echo() && asks != (known.direction == Direction::Original) {
        return Err(DropReason::InvalidState);
    }
    Ok(Some(known))
}

/// Notes a packet of a flow.
#[inline(always)]
pub fn note(known: &Known, headers: &Headers, now: u64, length: u32) {
    let flags = known.entry.get().flags;
    let stepped = conntrack::step(flags, known.direction, headers.tcp_flags);
    if stepped != flags {
        known.entry.set_flags(stepped & !flags);
    }
    known.entry.touch(now);
    known.entry.count(known.direction, length);
}

/// What a new flow needs to be recorded.
pub struct Opening {
    /// The tuple as the originator sends it.
    pub original: Tuple,
    /// Source as the responder is to see it. With another address than the original's, the port is chosen; with the
    /// same, it changes only if the responder could not tell this flow from another.
    pub source: Addr,
    /// Destination as the responder is reached at.
    pub destination: (Addr, u16),
    /// The originator.
    pub originator: Hop,
    /// The responder.
    pub responder: Hop,
    /// Further `FLOW_*` bits.
    pub flags: u64,
    /// Incarnation of the published port; 0 without one.
    pub published: u32,
}

/// Records a new flow whose first packet this is, and returns it as any later packet would find it.
///
/// # Errors
/// [`DropReason::MasqueradeExhausted`] when no source port is left, [`DropReason::FlowTableFull`] when the entry
/// could not be written.
#[inline(always)]
pub fn open<W: World>(
    world: &W,
    config: &Config,
    opening: &Opening,
    headers: &Headers,
    now: u64,
    length: u32,
) -> Result<Known, DropReason> {
    let original = &opening.original;
    let (key, side) = original.key();
    let mut seen = *original;
    seen.src = opening.source;
    (seen.dst, seen.dport) = opening.destination;
    let mut flags = opening.flags;
    let translates_destination = opening.destination != (original.dst, original.dport);
    if opening.source != original.src || translates_destination {
        seen.sport = reserve(world, config, original, seen, &key, now)?;
        if translates_destination {
            flags |= FLOW_DESTINATION_NAT;
        }
        if (seen.src, seen.sport) != (original.src, original.sport) {
            flags |= FLOW_SOURCE_NAT;
        }
    }
    if side == Side::A {
        flags |= FLOW_ORIGINATOR_IS_A;
    }
    let flow = world.scratch()?;
    *flow = Flow {
        key: FlowKey {
            a: seen.src,
            b: seen.dst,
            a_port: seen.sport,
            b_port: seen.dport,
            protocol: seen.protocol,
            pad: [0; 3],
        },
        flags: conntrack::step(flags, Direction::Original, headers.tcp_flags),
        seen: now,
        created: now,
        generation: config.generation,
        responder: opening.responder,
        originator: opening.originator,
        published: opening.published,
        packets: [1, 0],
        bytes: [u64::from(length), 0],
    };
    // Where another CPU was faster, its entry stands and serves this packet too.
    let inserted = world.insert_flow(&key, flow);
    let entry = world.flow(&key).ok_or(DropReason::FlowTableFull)?;
    if inserted.is_err() && entry.get().flags & FLOW_ALIAS != 0 {
        return Err(DropReason::FlowTableFull);
    }
    Ok(Known { entry, key, direction: Direction::Original })
}

/// Source ports tried before giving up.
const PROBES: u16 = 32;

/// Reserves the tuple the responder is to see by writing the alias entry, and returns its source port.
#[inline(always)]
fn reserve<W: World>(
    world: &W,
    config: &Config,
    original: &Tuple,
    mut seen: Tuple,
    main: &FlowKey,
    now: u64,
) -> Result<u16, DropReason> {
    let (first, last) = (config.masquerade_first, config.masquerade_last);
    let in_range = original.sport >= first && original.sport <= last;
    let keeps_address = seen.src == original.src;
    let has_ports =
        matches!(seen.protocol, protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6);
    if (keeps_address || in_range || !has_ports) && try_reserve(world, &seen, main, now) {
        return Ok(seen.sport);
    }
    if !has_ports {
        return Err(DropReason::MasqueradeExhausted);
    }
    let span = u32::from(last - first) + 1;
    let mut port = u32::from(first) + world.random() % span;
    for _ in 0..PROBES {
        #[expect(clippy::cast_possible_truncation, reason = "it stays between two 16-bit numbers")]
        let candidate = port as u16;
        seen.sport = candidate;
        if try_reserve(world, &seen, main, now) {
            return Ok(candidate);
        }
        port += 1;
        if port > u32::from(last) {
            port = u32::from(first);
        }
    }
    Err(DropReason::MasqueradeExhausted)
}

/// Writes the alias entry of a tuple, unless a living flow has it.
#[inline(always)]
fn try_reserve<W: World>(world: &W, seen: &Tuple, main: &FlowKey, now: u64) -> bool {
    let (key, _) = seen.key();
    let Ok(alias) = world.scratch() else {
        return false;
    };
    *alias = Flow { key: *main, flags: FLOW_ALIAS, seen: now, created: now, ..Flow::default() };
    if world.insert_flow(&key, alias).is_ok() {
        return true;
    }
    let Some(entry) = world.flow(&key) else {
        return false;
    };
    let holder = if entry.get().flags & FLOW_ALIAS == 0 { Some(entry) } else { world.flow(&entry.get().key) };
    let is_free = holder.is_none_or(|holder| {
        let Flow { flags, seen: last_seen, .. } = *holder.get();
        conntrack::is_closed(flags) || conntrack::is_over(seen.protocol, flags, last_seen, now)
    });
    if is_free {
        if entry.get().flags & FLOW_ALIAS != 0 {
            world.remove_flow(&entry.get().key);
        }
        world.remove_flow(&key);
        return world.insert_flow(&key, alias).is_ok();
    }
    false
}
