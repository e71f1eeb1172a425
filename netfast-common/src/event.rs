//! Events: what the programs tell those who read along.
//!
//! There is a fixed number of readers, each with a ring buffer of its own, as a ring has one position it is read at.
//! A reader says in [`Readers`] what it wants; while nobody wants anything, a packet costs one load of
//! [`Readers::gate`].

use bytemuck::{Pod, Zeroable};

use crate::flow::Tuple;
use crate::policy;

/// How many may read at a time.
pub const READERS: usize = 4;
/// Size of each reader's ring, a power of two of pages.
pub const RING_BYTES: u32 = 1 << 20;
/// Most bytes of a packet that an event carries.
pub const MAX_SNAP: u32 = 9216;
/// Bytes of its packet that an event carries which is not about the packet itself: enough for its headers.
pub const HEAD: u32 = 128;

/// Packets that are dropped.
pub const WANT_DROPS: u32 = 1;
/// Flows that begin.
pub const WANT_FLOWS: u32 = 1 << 1;
/// What policies say, each time they are asked.
pub const WANT_VERDICTS: u32 = 1 << 2;
/// The packets of endpoints.
pub const WANT_PACKETS: u32 = 1 << 3;

/// Packets that policies under audit would have dropped.
pub const WANT_AUDITS: u32 = 1 << 4;

/// `WANT_*` bits of any reader, for a test of [`Readers::gate`].
#[inline(always)]
pub const fn anybody(wants: u32) -> u32 {
    wants * 0x0101_0101
}

/// `WANT_*` bits of one reader, as they stand in [`Readers::gate`].
#[inline(always)]
pub const fn of_reader(number: usize, wants: u32) -> u32 {
    wants << (8 * number)
}

/// Who reads, and what. The single element of a map that readers have in their memory, so that they need no rights
/// and no lock to change their part.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Readers {
    /// `WANT_*` bits, eight for each reader. Changed by atomic operations only.
    pub gate: u32,
    /// Zero. What is written often stays on other cache lines.
    pub pad: [u32; 15],
    /// The readers.
    pub readers: [Reader; READERS],
}

/// One reader's part. It is written before the reader's bits are set in the gate.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Reader {
    /// Events that found no room in the ring. Added to by programs, atomically.
    pub lost: u64,
    /// Bit `1 << reason` for each drop reason that is wanted, of audits too.
    pub reasons: u32,
    /// Index of the host veth whose packets are wanted; 0: those of all endpoints.
    pub ifindex: u32,
    /// Bytes wanted of each packet, at most [`MAX_SNAP`].
    pub snap: u32,
    /// Zero.
    pub pad: [u32; 11],
}

/// What a program tells. As many bytes of the packet as [`Event::captured`] says follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Event {
    /// When: nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// The packet's addresses and ports as it came, if [`EVENT_PARSED`].
    pub tuple: Tuple,
    /// Of a new flow: its first packet's addresses and ports as the responder sees them.
    pub seen: Tuple,
    /// Index of the device the program ran at; of a captured packet, that of the endpoint's host veth.
    pub ifindex: u32,
    /// Length of the packet, from the Ethernet header on.
    pub length: u32,
    /// Incarnation of the endpoint a drop, or an audit, is counted against; 0: none.
    pub incarnation: u32,
    /// Bytes of the packet that follow.
    pub captured: u32,
    /// What policy said of both ends.
    pub answers: Answers,
    /// Code of an [`EventKind`].
    pub kind: u8,
    /// Code of a [`Program`].
    pub program: u8,
    /// Code of a [`DropReason`](crate::reason::DropReason): of a drop, or of what would have been one.
    pub reason: u8,
    /// `EVENT_*` bits.
    pub flags: u8,
    /// TCP flags, if [`EVENT_PARSED`]; 0 for other protocols.
    pub tcp_flags: u8,
    /// ICMP type, if [`EVENT_PARSED`]; 255 for other protocols.
    pub icmp_type: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// What policy said of both ends of a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Answers {
    /// Of the sender: code of an [`Answer`].
    pub egress: u32,
    /// Of the receiver: code of an [`Answer`].
    pub ingress: u32,
    /// Number of the rule that lets it out, or does not; 0: none speaks of it.
    pub egress_rule: u32,
    /// Number of the rule that lets it in, or does not; 0: none speaks of it.
    pub ingress_rule: u32,
}

impl Answers {
    /// Whether policy was asked at all.
    #[inline(always)]
    pub const fn is_any(&self) -> bool {
        self.egress | self.ingress != Answer::NotAsked as u32
    }

    /// Notes what was said of the sender.
    #[inline(always)]
    pub const fn set_egress(&mut self, verdict: policy::Verdict) {
        (self.egress, self.egress_rule) = Answer::of(verdict);
    }

    /// Notes what was said of the receiver.
    #[inline(always)]
    pub const fn set_ingress(&mut self, verdict: policy::Verdict) {
        (self.ingress, self.ingress_rule) = Answer::of(verdict);
    }
}

/// The packet could be parsed; otherwise only its bytes are known.
pub const EVENT_PARSED: u8 = 1;
/// Of a captured packet: the endpoint sent it. Otherwise it received it.
pub const EVENT_SENT: u8 = 1 << 1;

/// Declares an enum with codes, and its inverse.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal,)+ }) => {
        $(#[$doc])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $code,)+
        }

        impl $name {
            /// The one with this code.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

codes! {
    /// What an event is about.
    EventKind {
        /// A packet was dropped.
        Drop = 1,
        /// A flow began.
        Flow = 2,
        /// Policies were asked.
        Verdict = 3,
        /// A packet of an endpoint.
        Packet = 4,
        /// Policies under audit would have dropped a packet. The event's answers are theirs.
        Audit = 5,
    }
}

codes! {
    /// The program that tells it.
    Program {
        /// At what an endpoint sends.
        FromEndpoint = 1,
        /// At what the host sends an endpoint.
        ToEndpoint = 2,
        /// At what comes from outside.
        FromUplink = 3,
        /// At what comes from outside, before there is a socket buffer.
        DenyXdp = 4,
        /// At what comes back in order.
        FromDefrag = 5,
    }
}

impl Program {
    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromEndpoint => "from_endpoint",
            Self::ToEndpoint => "to_endpoint",
            Self::FromUplink => "from_uplink",
            Self::DenyXdp => "deny_xdp",
            Self::FromDefrag => "from_defrag",
        }
    }
}

codes! {
    /// What policy says of one end.
    Answer {
        /// Nobody asked.
        NotAsked = 0,
        /// No policy speaks of the end.
        Open = 1,
        /// A rule allows it; without a rule: the end is not isolated.
        Allowed = 2,
        /// A rule denies it; without a rule: the end is isolated and none allows it.
        Denied = 3,
    }
}

impl Answer {
    /// The code and the number of the rule of a verdict.
    #[inline(always)]
    const fn of(verdict: policy::Verdict) -> (u32, u32) {
        match verdict {
            policy::Verdict::Open => (Self::Open as u32, 0),
            policy::Verdict::Allowed(row) => (Self::Allowed as u32, row.number()),
            policy::Verdict::Denied(row) => (Self::Denied as u32, row.number()),
        }
    }
}

const _: () = assert!(size_of::<Event>() == 128 && size_of::<Readers>() == 64 * (1 + READERS));
const _: () = assert!(READERS * 8 == 32, "the gate has a byte for each reader");
const _: () = assert!(crate::reason::DropReason::COUNT <= 32, "a reader's reasons fit their word");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readers_wishes_are_somebodys() {
        for number in 0..READERS {
            let gate = of_reader(number, WANT_FLOWS);
            assert_ne!(gate & anybody(WANT_FLOWS), 0);
            assert_eq!(gate & anybody(WANT_DROPS | WANT_VERDICTS | WANT_PACKETS), 0);
            let others = (0..READERS).filter(|other| *other != number);
            assert!(others.into_iter().all(|other| gate & of_reader(other, 0xff) == 0));
        }
    }

    #[test]
    fn codes_have_their_inverse() {
        for code in 0..=u8::MAX {
            assert!(EventKind::from_code(code).is_none_or(|kind| kind as u8 == code));
            assert!(Program::from_code(code).is_none_or(|program| program as u8 == code));
            assert!(Answer::from_code(code).is_none_or(|answer| answer as u8 == code));
        }
    }
}
