//! Connection tracking: the entry of a flow and the pure state machine both sides run.
//!
//! A flow's *main* entry stands under the tuple as its originator sends it. Where addresses are translated, an
//! *alias* entry under the tuple as the responder sees it names the main entry; state, generation and counters
//! live in the main entry only.
//!
//! A flow begins in the *nursery*, a table of its own, and moves to the table of settled flows when its originator has
//! answered an answer ([`FLOW_ASSURED`]). Who sends from addresses that are not his never gets there, so that a flood
//! evicts other beginnings, but no settled flow.

use bytemuck::{Pod, Zeroable};

use crate::addr::Addr;
use crate::flow::FlowKey;
use crate::protocol;

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// A flow's entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow {
    /// Main entry: what the responder sees as the source (`a`) and what it is reached at (`b`), which are the
    /// originator's own words where nothing is translated. Alias: the key of the main entry.
    pub key: FlowKey,
    /// `FLOW_*` bits, set by either direction's packets.
    pub flags: u64,
    /// When the last packet came, to a tenth of a second.
    pub seen: u64,
    /// When the flow began.
    pub created: u64,
    /// Generation of the world that allowed it.
    pub generation: u32,
    /// Where packets to the responder go.
    pub responder: Hop,
    /// Where packets to the originator go.
    pub originator: Hop,
    /// Incarnation of the published port that led to the responder; 0 without one.
    pub published: u32,
    /// Packets of the originator, then of the responder.
    pub packets: [u64; 2],
    /// Bytes of the originator, then of the responder.
    pub bytes: [u64; 2],
}

/// Where the packets of one direction go.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Hop {
    /// Interface index of the endpoint's host veth or of the uplink; 0: the host itself.
    pub ifindex: u32,
    /// Incarnation of the endpoint; 0: not an endpoint.
    pub incarnation: u32,
}

const _: () = assert!(size_of::<Flow>() == 120);

/// The entry is an alias.
pub const FLOW_ALIAS: u64 = 1;
/// Side A of the key is the originator (of an alias: the originator as the responder sees it).
pub const FLOW_ORIGINATOR_IS_A: u64 = 1 << 1;
/// The source is translated.
pub const FLOW_SOURCE_NAT: u64 = 1 << 2;
/// The destination is translated.
pub const FLOW_DESTINATION_NAT: u64 = 1 << 3;
/// The host itself is the originator.
pub const FLOW_FROM_HOST: u64 = 1 << 4;
/// The responder has sent.
pub const FLOW_REPLIED: u64 = 1 << 5;
/// The originator has sent after the responder had (in TCP: has acknowledged): it exists, and gets what is sent to it.
pub const FLOW_ASSURED: u64 = 1 << 6;
/// The originator has sent a FIN.
pub const FLOW_ORIGINATOR_FIN: u64 = 1 << 7;
/// The responder has sent a FIN.
pub const FLOW_RESPONDER_FIN: u64 = 1 << 8;
/// Either side has sent a RST.
pub const FLOW_RST: u64 = 1 << 9;
/// One end speaks IPv6 and the other IPv4.
pub const FLOW_CROSSES: u64 = 1 << 10;
/// The originator has acknowledged something after a RST.
pub const FLOW_ORIGINATOR_WENT_ON: u64 = 1 << 11;
/// The responder has acknowledged something after a RST.
pub const FLOW_RESPONDER_WENT_ON: u64 = 1 << 12;
/// The entry is in the table of settled flows. It stays there when a new connection takes over the entry of a closed one.
pub const FLOW_SETTLED: u64 = 1 << 13;

/// The flags that do not change from a connection to the next one that leads the same way.
pub const FLOW_LASTING: u64 = FLOW_ORIGINATOR_IS_A
    | FLOW_SOURCE_NAT
    | FLOW_DESTINATION_NAT
    | FLOW_FROM_HOST
    | FLOW_CROSSES
    | FLOW_SETTLED;

/// Direction of a packet within its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the originator.
    Original,
    /// From the responder.
    Reply,
}

/// TCP flag bits, as in byte 13 of the header.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset the connection.
    pub const RST: u8 = 4;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 16;
}

/// How long a flow outlives its last packet, in nanoseconds.
///
/// Established TCP outlives the default keepalive of 7200 s (`tcp_keepalive_time`).
#[inline(always)]
pub const fn timeout(protocol: u8, flags: u64) -> u64 {
    let seconds = match protocol {
        protocol::TCP if is_closed(flags) => 20,
        protocol::TCP if flags & FLOW_ASSURED == 0 => 60,
        protocol::TCP => 8000,
        protocol::UDP if flags & FLOW_REPLIED == 0 => 30,
        protocol::UDP => 180,
        protocol::ICMP | protocol::ICMPV6 => 30,
        _ => 600,
    };
    seconds * SECOND
}

/// Whether a flow is over at time `now`: what comes then is the first packet of a new one.
#[inline(always)]
pub const fn is_over(protocol: u8, flags: u64, seen: u64, now: u64) -> bool {
    now.saturating_sub(seen) > timeout(protocol, flags)
}

/// Whether both sides have closed, or one has reset, so that a new SYN may take the entry over.
#[inline(always)]
pub const fn is_closed(flags: u64) -> bool {
    let both_fin = FLOW_ORIGINATOR_FIN | FLOW_RESPONDER_FIN;
    is_reset(flags) || flags & both_fin == both_fin
}

/// Whether one side has reset. Nobody looks at sequence numbers here; but where both sides go on, neither has sent that RST,
/// or believed it.
#[inline(always)]
pub const fn is_reset(flags: u64) -> bool {
    let both_went_on = FLOW_ORIGINATOR_WENT_ON | FLOW_RESPONDER_WENT_ON;
    flags & FLOW_RST != 0 && flags & both_went_on != both_went_on
}

/// The flags of a flow after a packet: `tcp_flags` is 0 for other protocols.
#[inline(always)]
pub const fn step(protocol: u8, flags: u64, direction: Direction, tcp_flags: u8) -> u64 {
    let acknowledges = tcp_flags & (tcp::SYN | tcp::RST | tcp::ACK) == tcp::ACK;
    let went_on = flags & FLOW_RST != 0 && acknowledges;
    let mut flags = flags;
    match direction {
        Direction::Original => {
            // A second SYN, or a RST by the true owner of the address, shows nobody who wants the connection.
            if flags & FLOW_REPLIED != 0 && (protocol != protocol::TCP || acknowledges) {
                flags |= FLOW_ASSURED;
            }
            if went_on {
                flags |= FLOW_ORIGINATOR_WENT_ON;
            }
            if tcp_flags & tcp::FIN != 0 {
                flags |= FLOW_ORIGINATOR_FIN;
            }
        }
        Direction::Reply => {
            flags |= FLOW_REPLIED;
            if went_on {
                flags |= FLOW_RESPONDER_WENT_ON;
            }
            if tcp_flags & tcp::FIN != 0 {
                flags |= FLOW_RESPONDER_FIN;
            }
        }
    }
    if tcp_flags & tcp::RST != 0 {
        flags |= FLOW_RST;
    }
    flags
}

impl Flow {
    /// The translated source: address and port as the responder sees them.
    #[inline(always)]
    pub const fn seen_source(&self) -> (Addr, u16) {
        (self.key.a, self.key.a_port)
    }

    /// The translated destination: address and port the responder is reached at.
    #[inline(always)]
    pub const fn seen_destination(&self) -> (Addr, u16) {
        (self.key.b, self.key.b_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_connection_from_open_to_close() {
        let syn = step(protocol::TCP, 0, Direction::Original, tcp::SYN);
        assert_eq!(timeout(protocol::TCP, syn), 60 * SECOND);
        let synack = step(protocol::TCP, syn, Direction::Reply, tcp::SYN | tcp::ACK);
        assert_eq!(
            timeout(protocol::TCP, synack),
            60 * SECOND,
            "an open port answers a spoofed SYN by itself"
        );
        let open = step(protocol::TCP, synack, Direction::Original, tcp::ACK);
        assert!(timeout(protocol::TCP, open) > 7200 * SECOND);
        let half = step(protocol::TCP, open, Direction::Original, tcp::FIN | tcp::ACK);
        assert!(!is_closed(half), "the other side may go on sending for hours");
        let closed = step(protocol::TCP, half, Direction::Reply, tcp::FIN | tcp::ACK);
        assert!(is_closed(closed));
        assert_eq!(timeout(protocol::TCP, closed), 20 * SECOND);
    }

    #[test]
    fn a_reset_closes() {
        assert!(is_closed(step(protocol::TCP, FLOW_REPLIED | FLOW_ASSURED, Direction::Reply, tcp::RST)));
    }

    #[test]
    fn a_reset_after_which_both_sides_go_on_closes_nothing() {
        let goes_on = |flags, direction| step(protocol::TCP, flags, direction, tcp::ACK);
        let reset = step(protocol::TCP, FLOW_REPLIED | FLOW_ASSURED, Direction::Reply, tcp::RST);
        for (one, other) in [(Direction::Original, Direction::Reply), (Direction::Reply, Direction::Original)]
        {
            // What was on its way already.
            let in_flight = goes_on(goes_on(reset, one), one);
            let answered = step(protocol::TCP, in_flight, other, tcp::RST | tcp::ACK);
            assert!(is_closed(in_flight) && is_closed(answered));
            let living = goes_on(in_flight, other);
            assert!(!is_closed(living) && timeout(protocol::TCP, living) > 7200 * SECOND);
            let finished = living | FLOW_ORIGINATOR_FIN | FLOW_RESPONDER_FIN;
            assert!(is_closed(finished));
        }
    }

    #[test]
    fn only_an_acknowledgement_settles_a_tcp_connection() {
        let replied = FLOW_REPLIED;
        for (tcp_flags, settles) in [
            (tcp::SYN, false),
            (tcp::RST, false),
            (tcp::RST | tcp::ACK, false),
            (tcp::ACK, true),
            (tcp::FIN | tcp::ACK, true),
        ] {
            let flags = step(protocol::TCP, replied, Direction::Original, tcp_flags);
            assert_eq!(flags & FLOW_ASSURED != 0, settles, "{tcp_flags:#x}");
        }
        let unasked = step(protocol::TCP, 0, Direction::Original, tcp::ACK);
        assert_eq!(unasked & FLOW_ASSURED, 0, "nobody has answered yet");
    }

    #[test]
    fn udp_lives_longer_once_answered() {
        let asked = step(protocol::UDP, 0, Direction::Original, 0);
        let answered = step(protocol::UDP, asked, Direction::Reply, 0);
        assert!(is_over(protocol::UDP, asked, 0, 31 * SECOND));
        assert!(!is_over(protocol::UDP, answered, 0, 31 * SECOND));
    }

    #[test]
    fn a_clock_that_reads_earlier_ends_nothing() {
        assert!(!is_over(protocol::UDP, 0, 10 * SECOND, 9 * SECOND));
    }
}
