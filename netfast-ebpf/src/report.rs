//! ICMP errors of our own: who sent a packet that cannot travel on is told so, as a router tells it. The packet turns
//! into the error, which quotes what it was.

use netfast_common::addr::Addr;
use netfast_common::checksum::{address_sum, finish};
use netfast_common::protocol;
use netfast_common::reason::DropReason;

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

/// Length of the IP header of an error, without options or extensions.
const fn header_len(is_v4: bool) -> u32 {
    if is_v4 { 20 } else { 40 }
}

/// What an error says.
struct Message {
    /// Type and code.
    kind: [u8; 2],
    /// The word behind the checksum.
    detail: u32,
}

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
    let moved = header_len(sender.is_v4()) + ICMP_LEN;
    packet.resize(L3 + moved + quoted)?;
    let sum = shift(packet, quoted, moved)?;
    packet.store(0, &Frame { dst: frame.src, src: frame.dst, ether_type: frame.ether_type })?;
    if sender.is_v4() {
        icmp_v4(packet, (hop, sender), &message, sum, quoted)?;
    } else {
        icmp_v6(packet, (hop, sender), &message, sum, quoted)?;
    }
    Ok(true)
}

/// Length of an ICMP header.
const ICMP_LEN: u32 = 8;

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

#[inline(always)]
fn icmp_v4<P: Packet>(
    packet: &mut P,
    (from, to): (Addr, Addr),
    message: &Message,
    sum: u64,
    quoted: u32,
) -> Result<(), DropReason> {
    let [total_high, total_low] = ((header_len(true) + ICMP_LEN + quoted) as u16).to_be_bytes();
    // "Internetwork control", as Linux and other routers mark them; not to be fragmented.
    let first = u32::from_ne_bytes([0x45, 0xc0, total_high, total_low]);
    let second = u32::from_ne_bytes([0, 0, 0x40, 0]);
    let third = u32::from_ne_bytes([TTL, protocol::ICMP, 0, 0]);
    let (from, to) = (u32::from_ne_bytes(from.v4_octets()), u32::from_ne_bytes(to.v4_octets()));
    let words = u64::from(first) + u64::from(second) + u64::from(third) + u64::from(from) + u64::from(to);
    let [a, b] = finish(words).to_ne_bytes();
    let third = u32::from_ne_bytes([TTL, protocol::ICMP, a, b]);
    packet.store(L3, &[first, second, third, from, to])?;
    store_message(packet, L3 + header_len(true), message, sum)
}

#[inline(always)]
fn icmp_v6<P: Packet>(
    packet: &mut P,
    (from, to): (Addr, Addr),
    message: &Message,
    sum: u64,
    quoted: u32,
) -> Result<(), DropReason> {
    let length = ICMP_LEN + quoted;
    let [length_high, length_low] = (length as u16).to_be_bytes();
    packet.store(
        L3,
        &[
            u32::from_ne_bytes([0x60, 0, 0, 0]),
            u32::from_ne_bytes([length_high, length_low, protocol::ICMPV6, TTL]),
        ],
    )?;
    packet.store(L3 + 8, &[from, to])?;
    let pseudo = address_sum(&from)
        + address_sum(&to)
        + u64::from(length.to_be())
        + u64::from(u32::from(protocol::ICMPV6).to_be());
    store_message(packet, L3 + header_len(false), message, sum + pseudo)
}

/// Writes the ICMP header; `sum` is that of all else its checksum covers.
#[inline(always)]
fn store_message<P: Packet>(packet: &mut P, at: u32, message: &Message, sum: u64) -> Result<(), DropReason> {
    let [kind, code] = message.kind;
    let detail = message.detail.to_be();
    let sum = sum + u64::from(u32::from_ne_bytes([kind, code, 0, 0])) + u64::from(detail);
    let [a, b] = finish(sum).to_ne_bytes();
    packet.store(at, &[u32::from_ne_bytes([kind, code, a, b]), detail])
}

/// Whether a packet is larger than the uplink it is to leave by takes; its MTU is in [`Work::mtu`] then. A function of
/// its own in BPF: few packets need it.
#[inline(never)]
pub(crate) fn is_too_big<P: Packet, W: World>(packet: &P, world: &W, ifindex: u32, work: &mut Work) -> bool {
    let Some(uplink) = world.uplink(ifindex) else {
        return false;
    };
    work.mtu = uplink.mtu;
    let length = match packet.segment() {
        0 => packet.len() - L3,
        // It is cut on its way out: what counts is one piece, with the headers every piece gets.
        segment => segment + transport_len(packet, &work.headers) + work.headers.l4 - L3,
    };
    length > uplink.mtu
}

/// Length of the transport header.
#[inline(always)]
fn transport_len<P: Packet>(packet: &P, headers: &Headers) -> u32 {
    if headers.tuple.protocol != protocol::TCP {
        return 8;
    }
    packet.load(headers.l4 + 12).map_or(20, |[offset]: [u8; 1]| u32::from(offset >> 4) * 4)
}
