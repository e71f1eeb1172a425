//! A flow's entry in place, as it may be read and changed while other CPUs do the same.

use core::ptr::NonNull;

use netfast_common::conntrack::{self, Direction, FLOW_LASTING, Flow};

use crate::atomic;

/// A flow's entry in the map.
///
/// The map never moves an entry; one that is removed meanwhile stays readable for as long as the program runs.
#[derive(Clone, Copy)]
pub struct FlowRef(NonNull<Flow>);

impl FlowRef {
    /// Wraps the address of an entry.
    ///
    /// # Safety
    /// It must stay valid, though not unchanged, for as long as the program handles the packet.
    #[inline(always)]
    pub const unsafe fn new(entry: NonNull<Flow>) -> Self {
        Self(entry)
    }

    /// The entry. Its counters, flags and times may be changing.
    #[inline(always)]
    pub fn get(&self) -> &Flow {
        // SAFETY: valid by the contract of `new`. The fields others change are plain words, and a reader takes any
        // of their values; in BPF there is no compiler on the other side to assume more.
        unsafe { self.0.as_ref() }
    }

    /// Sets flags, none of which is ever cleared.
    #[inline(always)]
    pub fn set_flags(&self, flags: u64) {
        // SAFETY: a field of a valid entry.
        atomic::or(unsafe { &raw mut (*self.0.as_ptr()).flags }, flags);
    }

    /// Notes when the flow was last seen, and says whether it wrote that. A tenth of a second is fine enough for
    /// timeouts of seconds, and spares busy flows the write.
    #[inline(always)]
    pub fn touch(&self, now: u64) -> bool {
        let is_due = now.saturating_sub(self.get().seen) > 100_000_000;
        if is_due {
            self.set_seen(now);
        }
        is_due
    }

    /// Ends the flow: its next packet begins a new one.
    #[inline(always)]
    pub fn expire(&self) {
        self.set_seen(0);
    }

    #[inline(always)]
    fn set_seen(&self, seen: u64) {
        // SAFETY: a field of a valid entry; a lost race stores another CPU's almost equal time.
        unsafe { (&raw mut (*self.0.as_ptr()).seen).write_volatile(seen) };
    }

    /// Notes that the world of this generation allows the flow.
    #[inline(always)]
    pub fn allow(&self, generation: u32) {
        // SAFETY: a field of a valid entry.
        unsafe { (&raw mut (*self.0.as_ptr()).generation).write_volatile(generation) };
    }

    /// Begins a new connection that leads the same way as the closed one whose entry this is. Who looks meanwhile, on another
    /// CPU, has a late packet of the old one in hand: it sees the one or the other, and both lead to the same ends.
    #[inline(always)]
    pub fn begin(&self, protocol: u8, tcp_flags: u8, now: u64, generation: u32, length: u32) {
        let lasting = self.get().flags & FLOW_LASTING;
        let flags = conntrack::step(protocol, lasting, Direction::Original, tcp_flags);
        let entry = self.0.as_ptr();
        // SAFETY: fields of a valid entry.
        unsafe {
            (&raw mut (*entry).packets).write_volatile([1, 0]);
            (&raw mut (*entry).bytes).write_volatile([u64::from(length), 0]);
            (&raw mut (*entry).created).write_volatile(now);
        }
        self.set_seen(now);
        self.allow(generation);
        // Last: until then nobody takes it for open.
        // SAFETY: as above.
        unsafe { (&raw mut (*entry).flags).write_volatile(flags) };
    }

    /// Counts a packet.
    #[inline(always)]
    pub fn count(&self, direction: Direction, length: u32) {
        let side = match direction {
            Direction::Original => 0,
            Direction::Reply => 1,
        };
        // SAFETY: fields of a valid entry, `side` is one of two.
        unsafe {
            atomic::add(&raw mut (*self.0.as_ptr()).packets[side], 1);
            atomic::add(&raw mut (*self.0.as_ptr()).bytes[side], u64::from(length));
        }
    }
}
