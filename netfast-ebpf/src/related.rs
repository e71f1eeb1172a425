//! ICMP errors about a known flow: they go back to the end whose packet they quote, translated like that flow, and
//! are no matter of policy, as path MTU discovery and refused connections depend on them.

use netfast_common::addr::Addr;
use netfast_common::conntrack::{self, Direction, FLOW_ALIAS};
use netfast_common::flow::{ECHO_PORT, Tuple};
use netfast_common::protocol;
use netfast_common::reason::DropReason;

use crate::cross_error;
use crate::forward;
use crate::nat;
use crate::packet::Packet;
use crate::parse::{Headers, extension, is_echo_reply, is_echo_request};
use crate::track::{Known, seen};
use crate::verdict::{Dropped, Outcome, Verdict};
use crate::work::Work;
use crate::world::World;

/// Bytes of an ICMP header in front of the quoted packet.
const ICMP_LEN: u32 = 8;

/// Sends on an ICMP error, if it is about a known flow whose other end is where the error comes from: the endpoint
/// of this incarnation, or, with 0, an uplink. `None`: it is a packet like any other.
///
/// # Errors
/// When it is about a known flow and cannot be sent.
#[inline(always)]
pub(crate) fn forward<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
    reporter: u32,
) -> Result<Option<Verdict>, Dropped> {
    if !work.headers.is_icmp_error() || !relate(packet, world, work, reporter).unpack()? {
        return Ok(None);
    }
    let (from, to) = (work.sender, work.receiver);
    let is_translated = work.quoted.tuple != work.quoted_target;
    let is_routed = forward::is_routed(from, to, is_translated);
    if is_routed {
        nat::decrement_ttl(packet, &work.headers)?;
    }
    forward::deliver(packet, world, (from, to), is_routed, work).map(Some)
}

/// Whether an ICMP error to the endpoint of this incarnation is about one of its flows, and quotes it as the endpoint
/// knows it.
#[inline(always)]
pub(crate) fn concerns<P: Packet, W: World>(packet: &P, world: &W, work: &mut Work, receiver: u32) -> bool {
    work.headers.is_icmp_error()
        && quote(packet, &work.headers, &mut work.quoted)
        && find(world, work)
        && work.receiver.incarnation == receiver
        && work.quoted.tuple == work.quoted_target
}

/// Finds the flow of an error and translates it. A function of its own in BPF: few packets need it.
#[inline(never)]
fn relate<P: Packet, W: World>(packet: &mut P, world: &W, work: &mut Work, reporter: u32) -> Outcome {
    Outcome::pack(try_relate(packet, world, work, reporter))
}

#[inline(always)]
fn try_relate<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
    reporter: u32,
) -> Result<bool, Dropped> {
    if !quote(packet, &work.headers, &mut work.quoted) || !find(world, work) {
        return Ok(false);
    }
    let Work { sender, receiver, headers, quoted, quoted_target, target, .. } = work;
    // From outside, any router on the way may report. An endpoint is no router, and reports what was sent to itself.
    let is_from_end = headers.tuple.src == quoted.tuple.dst;
    let is_credible = if reporter == 0 {
        sender.incarnation == 0 && sender.ifindex != 0 && receiver.incarnation != 0
    } else {
        sender.incarnation == reporter && is_from_end
    };
    if !is_credible {
        return Ok(false);
    }
    // What reports from the middle of an IPv6 path has no IPv4 address, and the other way round.
    let crosses = quoted.tuple.src.is_v4() != quoted_target.src.is_v4();
    target.src = if is_from_end || crosses { quoted_target.dst } else { headers.tuple.src };
    target.dst = quoted_target.src;
    if crosses {
        cross_error::error(packet, work).unpack()?;
    } else if quoted.tuple != *quoted_target {
        rewrite(packet, work).unpack()?;
    }
    Ok(true)
}

/// A function of its own in BPF.
#[inline(never)]
fn rewrite<P: Packet>(packet: &mut P, work: &Work) -> Outcome {
    let Work { headers, target, quoted, quoted_target, .. } = work;
    let rewritten = nat::rewrite_error(packet, headers, target, quoted, quoted_target);
    Outcome::pack(rewritten.map(|()| true).map_err(Into::into))
}

/// Finds the flow of the quoted packet as it was on its way to its receiver. Fills in the error's two ends, and the
/// quoted packet as its sender knows it. A function of its own in BPF.
#[inline(never)]
fn find<W: World>(world: &W, work: &mut Work) -> bool {
    let Work { headers, quoted, quoted_target, sender, receiver, now, key, .. } = work;
    let tuple = &quoted.tuple;
    if headers.tuple.dst != tuple.src {
        return false;
    }
    (*key, _) = tuple.key();
    let Some(mut entry) = world.flow(key) else {
        return false;
    };
    if entry.get().flags & FLOW_ALIAS != 0 {
        *key = entry.get().key;
        entry = match world.flow(key) {
            Some(main) if main.get().flags & FLOW_ALIAS == 0 => main,
            _ => return false,
        };
    }
    let flow = entry.get();
    if conntrack::is_over(tuple.protocol, flow.flags, flow.seen, *now) {
        return false;
    }
    let original = Known { entry, direction: Direction::Original }.original(key);
    let seen = seen(flow);
    let ends = if *tuple == seen {
        *quoted_target = original;
        (flow.responder, flow.originator)
    } else if *tuple == original.reversed() {
        *quoted_target = seen.reversed();
        (flow.originator, flow.responder)
    } else {
        return false;
    };
    (*sender, *receiver) = ends;
    true
}

/// Reads the packet an ICMP error quotes, of which there may be no more than 8 bytes behind the IP header; `false`:
/// it is nothing that a flow has. A function of its own in BPF.
#[inline(never)]
fn quote<P: Packet>(packet: &P, headers: &Headers, quoted: &mut Headers) -> bool {
    try_quote(packet, headers, quoted).is_ok_and(|is_of_a_flow| is_of_a_flow)
}

#[inline(always)]
fn try_quote<P: Packet>(packet: &P, headers: &Headers, quoted: &mut Headers) -> Result<bool, DropReason> {
    let l3 = headers.l4 + ICMP_LEN;
    quoted.tuple.pad = [0; 3];
    quoted.is_later_fragment = false;
    if headers.tuple.protocol == protocol::ICMP {
        let words: [u32; 5] = packet.load(l3)?;
        let [version_and_length, ..] = words[0].to_ne_bytes();
        let [_, _, fragment_high, fragment_low] = words[1].to_ne_bytes();
        if version_and_length >> 4 != 4 || fragment_high & 0x1f != 0 || fragment_low != 0 {
            return Ok(false);
        }
        quoted.tuple.src = Addr::from_v4(words[3].to_ne_bytes());
        quoted.tuple.dst = Addr::from_v4(words[4].to_ne_bytes());
        quoted.tuple.protocol = words[2].to_ne_bytes()[1];
        quoted.l4 = l3 + u32::from(version_and_length & 0xf) * 4;
    } else {
        let words: [u32; 2] = packet.load(l3)?;
        if words[0].to_ne_bytes()[0] >> 4 != 6 {
            return Ok(false);
        }
        [quoted.tuple.src, quoted.tuple.dst] = packet.load(l3 + 8)?;
        quoted.tuple.protocol = words[1].to_ne_bytes()[2];
        quoted.l4 = l3 + 40;
        if quoted.tuple.protocol == extension::FRAGMENT {
            // Senders that know of a smaller MTU make fragments, of which a router behind may say the same again.
            let [next, _, offset_high, offset_low]: [u8; 4] = packet.load(quoted.l4)?;
            if offset_high != 0 || offset_low & 0xf8 != 0 {
                return Ok(false);
            }
            quoted.tuple.protocol = next;
            quoted.l4 += 8;
        }
    }
    Ok(ports(packet.load(quoted.l4)?, &mut quoted.tuple))
}

/// Reads ports from the first words of a transport header.
#[inline(always)]
fn ports([first, second, third]: [u16; 3], tuple: &mut Tuple) -> bool {
    let protocol = tuple.protocol;
    (tuple.sport, tuple.dport) = match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => (u16::from_be(first), u16::from_be(second)),
        protocol::ICMP | protocol::ICMPV6 => {
            let [kind, _] = first.to_ne_bytes();
            let id = u16::from_be(third);
            if is_echo_request(protocol, kind) {
                (id, ECHO_PORT)
            } else if is_echo_reply(protocol, kind) {
                (ECHO_PORT, id)
            } else {
                return false;
            }
        }
        // Of other protocols a flow has no ports.
        _ => (0, 0),
    };
    true
}
