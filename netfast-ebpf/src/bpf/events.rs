//! Events for those who read along.
//!
//! A packet's event is made in per-CPU memory and copied into the ring of each reader that wants it. All of it is in
//! functions of their own, reached only while [`gate`] says that somebody reads.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_boot_ns, bpf_ringbuf_output, bpf_skb_load_bytes, bpf_xdp_load_bytes,
};
use aya_ebpf::maps::RingBuf;
use netfast_common::event::{
    Answers, EVENT_PARSED, EVENT_SENT, Event, EventKind, HEAD, MAX_SNAP, Program, Reader, WANT_AUDITS,
    WANT_DROPS, WANT_FLOWS, WANT_PACKETS, WANT_VERDICTS, anybody, of_reader,
};
use netfast_common::flow::Tuple;
use netfast_common::reason::DropReason;
use netfast_ebpf::atomic::increment;
use netfast_ebpf::work::Work;

use super::maps;

/// An event and the bytes that follow it.
#[repr(C)]
pub(super) struct Record {
    event: Event,
    bytes: [u8; MAX_SNAP as usize],
}

/// What all readers want; 0: nobody reads.
#[inline(always)]
pub(super) fn gate() -> u32 {
    match maps::READERS.get_ptr(0) {
        // SAFETY: a word of a map; readers change it by atomic operations.
        Some(readers) => unsafe { ptr::read_volatile(&raw const (*readers).gate) },
        None => 0,
    }
}

/// The event under construction.
#[inline(always)]
fn record() -> Option<&'static mut Record> {
    // SAFETY: one element per CPU, and programs of packets do not interrupt each other.
    maps::EVENT.get_ptr_mut(0).map(|record| unsafe { &mut *record })
}

/// Forgets what was noted of the packet before.
#[inline(always)]
pub(super) fn begin(work: &mut Work) {
    work.is_first = false;
    work.headers.is_parsed = false;
    work.answers = Answers::default();
    work.audited.reason = 0;
}

/// Tells that the packet was dropped.
#[inline(never)]
pub(super) fn dropped(skb: *mut __sk_buff, program: Program, reason: DropReason, endpoint: u32, work: &Work) {
    if work.gate & anybody(WANT_DROPS) == 0 {
        return;
    }
    if let Some(record) = record() {
        describe(record, skb, program, work);
        record.event.kind = EventKind::Drop as u8;
        record.event.reason = reason as u8;
        record.event.incarnation = endpoint;
        hand_out(record, work.gate, WANT_DROPS);
    }
}

/// Tells what policies said of the packet, what those under audit would have done, and that it began a flow.
#[inline(never)]
pub(super) fn decided(skb: *mut __sk_buff, program: Program, work: &Work) {
    let gate = work.gate;
    let Some(record) = record() else { return };
    if gate & anybody(WANT_VERDICTS) != 0 && work.answers.is_any() {
        describe(record, skb, program, work);
        record.event.kind = EventKind::Verdict as u8;
        hand_out(record, gate, WANT_VERDICTS);
    }
    if gate & anybody(WANT_AUDITS) != 0 && work.audited.reason != 0 {
        describe(record, skb, program, work);
        record.event.kind = EventKind::Audit as u8;
        record.event.reason = work.audited.reason as u8;
        record.event.incarnation = work.audited.endpoint;
        record.event.answers = work.audited.answers;
        hand_out(record, gate, WANT_AUDITS);
    }
    if gate & anybody(WANT_FLOWS) != 0 && work.is_first {
        describe(record, skb, program, work);
        record.event.kind = EventKind::Flow as u8;
        let opening = &work.opening;
        record.event.seen = Tuple {
            src: opening.source,
            dst: opening.destination,
            sport: opening.source_port,
            dport: opening.port,
            protocol: work.headers.tuple.protocol,
            pad: [0; 3],
        };
        hand_out(record, gate, WANT_FLOWS);
    }
}

/// Tells that XDP dropped a packet of `length` bytes.
#[inline(never)]
pub(super) fn denied(context: *mut xdp_md, gate: u32, length: u32) {
    if gate & anybody(WANT_DROPS) == 0 {
        return;
    }
    let Some(record) = record() else { return };
    // SAFETY: a helper without arguments; the context of a program.
    let (time, ifindex) = unsafe { (bpf_ktime_get_boot_ns(), (*context).ingress_ifindex) };
    record.event = Event {
        time,
        ifindex,
        length,
        kind: EventKind::Drop as u8,
        program: Program::DenyXdp as u8,
        reason: DropReason::DeniedSource as u8,
        ..Event::default()
    };
    record.event.captured = load(length, HEAD, |wanted| {
        // SAFETY: the helper writes at most the memory's size.
        unsafe { bpf_xdp_load_bytes(context, 0, record.bytes.as_mut_ptr().cast(), wanted) }
    });
    hand_out(record, gate, WANT_DROPS);
}

/// Fills in what all events say of a packet.
#[inline(always)]
fn describe(Record { event, bytes }: &mut Record, skb: *mut __sk_buff, program: Program, work: &Work) {
    // SAFETY: a helper without arguments; the context of a program.
    unsafe {
        event.time = bpf_ktime_get_boot_ns();
        event.ifindex = (*skb).ifindex;
        event.length = (*skb).len;
    }
    event.program = program as u8;
    event.reason = 0;
    event.incarnation = 0;
    event.flags = 0;
    event.answers = work.answers;
    if work.headers.is_parsed {
        event.flags = EVENT_PARSED;
        event.tuple = work.headers.tuple;
        event.tcp_flags = work.headers.tcp_flags;
        event.icmp_type = work.headers.icmp_type;
    }
    event.captured = load_packet(skb, bytes, HEAD);
}

/// Stands for the device the program runs at.
pub(super) const OWN_DEVICE: u32 = 0;

/// Hands out the packet as the endpoint behind the host veth `ifindex` sends or receives it.
#[inline(never)]
pub(super) fn captured(skb: *mut __sk_buff, gate: u32, ifindex: u32, is_sent: bool) {
    let Some(record) = record() else { return };
    // SAFETY: a helper without arguments; the context of a program.
    unsafe {
        record.event.time = bpf_ktime_get_boot_ns();
        record.event.length = (*skb).len;
        record.event.ifindex = if ifindex == OWN_DEVICE { (*skb).ifindex } else { ifindex };
    }
    record.event.kind = EventKind::Packet as u8;
    record.event.flags = if is_sent { EVENT_SENT } else { 0 };
    let Some(readers) = maps::READERS.get_ptr_mut(0) else { return };
    macro_rules! capture {
        ($($number:literal => $ring:ident),+) => {$(
            if gate & of_reader($number, WANT_PACKETS) != 0 {
                // SAFETY: part of a map's element.
                let reader = unsafe { &raw mut (*readers).readers[$number] };
                capture(skb, record, reader, &maps::$ring);
            }
        )+};
    }
    capture!(0 => RING0, 1 => RING1, 2 => RING2, 3 => RING3);
}

/// Copies the packet for one reader, if it asked for this endpoint.
#[inline(always)]
fn capture(skb: *mut __sk_buff, record: &mut Record, reader: *mut Reader, ring: &RingBuf) {
    // SAFETY: words of a map, written before the reader's bits in the gate.
    let (ifindex, snap) = unsafe { ((*reader).ifindex, (*reader).snap) };
    if ifindex == 0 || ifindex == record.event.ifindex {
        record.event.captured = load_packet(skb, &mut record.bytes, snap);
        output(record, reader, ring);
    }
}

/// Loads the first bytes of a packet, at most `limit`; says how many.
#[inline(always)]
fn load_packet(skb: *mut __sk_buff, bytes: &mut [u8; MAX_SNAP as usize], limit: u32) -> u32 {
    // SAFETY: the context of a program.
    load(unsafe { (*skb).len }, limit, |wanted| {
        // SAFETY: the helper writes at most the memory's size.
        unsafe { bpf_skb_load_bytes(skb.cast::<c_void>(), 0, bytes.as_mut_ptr().cast::<c_void>(), wanted) }
    })
}

/// Fewest bytes that are loaded: an Ethernet header, as no packet is shorter.
const LEAST: u64 = 14;

/// Has `helper` load the first bytes of a packet of `length` bytes: at least [`LEAST`], else at most `limit` and
/// [`MAX_SNAP`]. Says how many it loaded.
#[inline(always)]
fn load(length: u32, limit: u32, helper: impl FnOnce(u32) -> i64) -> u32 {
    let bounded = u64::from(length.min(limit)).clamp(LEAST, u64::from(MAX_SNAP));
    // The verifier of Linux 6.1 follows bounds neither through 32-bit arithmetic nor from "not zero". So they are compared
    // once more, as 64 bits, and the compiler must not know that this is for nothing.
    // SAFETY: a local variable.
    let wanted = unsafe { ptr::read_volatile(&raw const bounded) };
    if wanted < LEAST || wanted > u64::from(MAX_SNAP) {
        return 0;
    }
    let wanted = wanted as u32;
    if helper(wanted) == 0 { wanted } else { 0 }
}

/// Copies the event into the rings of those who want it.
#[inline(always)]
fn hand_out(record: &mut Record, gate: u32, want: u32) {
    let Some(readers) = maps::READERS.get_ptr_mut(0) else { return };
    let reason = 1_u32 << (record.event.reason & 31);
    macro_rules! hand {
        ($($number:literal => $ring:ident),+) => {$(
            if gate & of_reader($number, want) != 0 {
                // SAFETY: part of a map's element.
                let reader = unsafe { &raw mut (*readers).readers[$number] };
                // SAFETY: a word of a map, written before the reader's bits in the gate.
                if want & (WANT_DROPS | WANT_AUDITS) == 0 || unsafe { (*reader).reasons } & reason != 0 {
                    output(record, reader, &maps::$ring);
                }
            }
        )+};
    }
    hand!(0 => RING0, 1 => RING1, 2 => RING2, 3 => RING3);
}

/// Copies the event into a ring, or counts it as lost.
#[inline(always)]
fn output(record: &mut Record, reader: *mut Reader, ring: &RingBuf) {
    let size = size_of::<Event>() as u64 + u64::from(record.event.captured).min(u64::from(MAX_SNAP));
    // SAFETY: the record is at least `size` bytes; a ring is its map.
    let result = unsafe {
        bpf_ringbuf_output(
            ptr::from_ref(ring).cast_mut().cast::<c_void>(),
            ptr::from_mut(record).cast::<c_void>(),
            size,
            0,
        )
    };
    if result != 0 {
        // SAFETY: a word of a map.
        unsafe { increment(&raw mut (*reader).lost) };
    }
}
