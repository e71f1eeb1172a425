//! ICMP errors of our own: who sent a packet that cannot travel on is told so, as a router tells it. The packet turns
//! into the error, which quotes what it was.

use netfast_common::addr::Addr;
use netfast_common::protocol;
use netfast_common::reason::DropReason;

use crate::error_message::{self, ICMP_LEN, Message};
use crate::header::{self, Fields};
use crate::packet::{Frame, Packet};
use crate::parse::{Headers, L3, icmp};
use crate::repeat::{Attempt, repeat};
use crate::verdict::{Outcome, Verdict};
use crate::work::Work;
use crate::world::World;

/// Most bytes of the packet that are quoted: more than all headers that are read of it, and a multiple of a word.
const QUOTED: u32 = 128;
const WORD: u32 = 4;
/// Errors a second and CPU, as routers are asked to bound them (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f).
const RATE: u32 = 1000;
/// The TTL they start with.
const TTL: u8 = 64;
/// "Internetwork control", as Linux and other routers mark those of IPv4.
const CLASS: u8 = 0xc0;

/// Turns a dropped packet into the error about it, if there is one to send for this reason, and says where to.
#[inline(always)]
pub fn report<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
    reason: DropReason,
) -> Option<Verdict> {
    if !matches!(reason, DropReason::TtlExpired | DropReason::TooBig) {
        return None;
    }
    if !turn(packet, world, work, reason == DropReason::TooBig).unpack().is_ok_and(|turned| turned) {
        return None;
    }
    let ifindex = packet.ifindex();
    match world.endpoint(ifindex) {
        Some(endpoint) => Some(Verdict::to(endpoint)),
        None => Some(Verdict::ToUplink(ifindex)),
    }
}

/// A function of its own in BPF: few packets need it.
#[inline(never)]
fn turn<P: Packet, W: World>(packet: &mut P, world: &W, work: &mut Work, is_too_big: bool) -> Outcome {
    Outcome::pack(try_turn(packet, world, work, is_too_big).map_err(Into::into))
}

#[inline(always)]
fn try_turn<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
    is_too_big: bool,
) -> Result<bool, DropReason> {
    let headers = &work.headers;
    // Errors are about the beginning of packets that are no errors themselves, and go to single hosts.
    let sender = headers.tuple.src;
    if headers.is_icmp_error()
        || headers.is_later_fragment
        || sender.is_multicast()
        || sender.is_unspecified()
    {
        return Ok(false);
    }
    let Some(hop) = hop(packet, world, sender.is_v4()) else {
        return Ok(false);
    };
    if !work.reported.spend(work.now, RATE) {
        return Ok(false);
    }
    let frame: Frame = packet.load(0)?;
    let message = message(sender.is_v4(), is_too_big, work.mtu);
    let quoted = (packet.len() - L3).min(QUOTED) / WORD * WORD;
    let header = header::len(sender.is_v4());
    packet.resize(L3 + header + ICMP_LEN + quoted)?;
    let sum = shift(packet, quoted, header + ICMP_LEN)?;
    packet.store(0, &Frame { dst: frame.src, src: frame.dst, ether_type: frame.ether_type })?;
    let payload = ICMP_LEN + quoted;
    let fields = Fields { class: CLASS, payload, ttl: TTL, protocol: protocol::ICMP, src: hop, dst: sender };
    if sender.is_v4() {
        packet.store(L3, &header::v4(&fields))?;
        error_message::store(packet, L3 + header, &message, sum)?;
    } else {
        packet.store(L3, &header::v6(&Fields { class: 0, protocol: protocol::ICMPV6, ..fields }))?;
        let sum = sum + error_message::pseudo_header((&hop, &sender), payload);
        error_message::store(packet, L3 + header, &message, sum)?;
    }
    Ok(true)
}

const fn message(is_v4: bool, is_too_big: bool, mtu: u32) -> Message {
    match (is_v4, is_too_big) {
        // "Fragmentation needed", with the MTU in the lower half (RFC 1191).
        (true, true) => Message { kind: [icmp::UNREACHABLE, 4], detail: mtu & 0xffff },
        (true, false) => Message { kind: [icmp::TIME_EXCEEDED, 0], detail: 0 },
        (false, true) => Message { kind: [icmp::TOO_BIG_V6, 0], detail: mtu },
        (false, false) => Message { kind: [icmp::TIME_EXCEEDED_V6, 0], detail: 0 },
    }
}

/// The address that speaks: the gateway to an endpoint, the uplink's own to the world outside.
#[inline(always)]
fn hop<P: Packet, W: World>(packet: &P, world: &W, is_v4: bool) -> Option<Addr> {
    let ifindex = packet.ifindex();
    let (ip4, ip6) = if let Some(endpoint) = world.endpoint(ifindex) {
        (endpoint.gateway4, endpoint.gateway6)
    } else {
        let uplink = world.uplink(ifindex)?;
        (uplink.ip4, uplink.ip6)
    };
    let addr = if is_v4 { ip4 } else { ip6 };
    if addr.is_unspecified() { None } else { Some(addr) }
}

/// Moves the beginning of a packet towards its end, the last word first, and adds it up.
struct Shift<'a, P> {
    packet: &'a mut P,
    /// Offset behind the next word.
    at: u32,
    /// By how many bytes it moves.
    by: u32,
    /// Sum of the words, in the byte order of the packet.
    sum: u64,
    /// A word could not be read or written.
    failed: bool,
}

impl<P: Packet> Attempt for Shift<'_, P> {
    #[inline(always)]
    fn attempt(&mut self) -> bool {
        self.at -= WORD;
        let Ok(word) = self.packet.load::<u32>(self.at) else {
            self.failed = true;
            return true;
        };
        self.failed = self.packet.store(self.at + self.by, &word).is_err();
        self.sum += u64::from(word);
        self.failed || self.at <= L3
    }
}

/// Moves `length` bytes behind the Ethernet header by `by` bytes; returns their sum.
///
/// # Errors
/// [`DropReason::DatapathError`] when a helper fails.
#[inline(always)]
fn shift<P: Packet>(packet: &mut P, length: u32, by: u32) -> Result<u64, DropReason> {
    let mut shift = Shift { packet, at: L3 + length, by, sum: 0, failed: false };
    repeat(QUOTED / WORD, &mut shift);
    if shift.failed { Err(DropReason::DatapathError) } else { Ok(shift.sum) }
}

/// Whether a packet is larger than the uplink it is to leave by takes, if it grows by so much before; the most it may have is
/// in [`Work::mtu`] then. A function of its own in BPF: few packets need it.
#[inline(never)]
pub(crate) fn is_too_big<P: Packet, W: World>(
    packet: &P,
    world: &W,
    ifindex: u32,
    work: &mut Work,
    growth: i32,
) -> bool {
    let Some(uplink) = world.uplink(ifindex) else {
        return false;
    };
    work.mtu = uplink.mtu.wrapping_add_signed(-growth);
    let length = match packet.segment() {
        0 => packet.len() - L3,
        // It is cut on its way out: what counts is one piece, with the headers every piece gets.
        segment => segment + transport_len(packet, &work.headers) + work.headers.l4 - L3,
    };
    length > work.mtu
}

/// Length of the transport header.
#[inline(always)]
fn transport_len<P: Packet>(packet: &P, headers: &Headers) -> u32 {
    if headers.tuple.protocol != protocol::TCP {
        return 8;
    }
    packet.load(headers.l4 + 12).map_or(20, |[offset]: [u8; 1]| u32::from(offset >> 4) * 4)
}
