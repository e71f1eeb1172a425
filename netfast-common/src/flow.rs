//! Flow keys. A flow has one key whichever way its packets go: the two ends are sorted.

use bytemuck::{Pod, Zeroable};

use crate::addr::Addr;

/// Addresses, ports and protocol of one packet, in the direction it travels.
///
/// ICMP echo has no ports: requests carry their identifier as source port and [`ECHO_PORT`] as destination port,
/// replies the reverse, so that a request never passes for the reply of a flow with the same identifier.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Tuple {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// The port that stands for "the side that answers echo requests" in the tuple of an ICMP echo packet.
pub const ECHO_PORT: u16 = 0;

impl Tuple {
    /// The tuple of a packet that answers this one.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        let Self { src, dst, sport, dport, protocol, pad } = self;
        Self { src: dst, dst: src, sport: dport, dport: sport, protocol, pad }
    }

    /// The key of the flow this packet is of, and which of its sides sent the packet.
    #[inline(always)]
    pub fn key(&self) -> (FlowKey, Side) {
        let Self { src, dst, sport, dport, protocol, .. } = *self;
        let key = |a, b, a_port, b_port| FlowKey { a, b, a_port, b_port, protocol, pad: [0; 3] };
        if (src, sport) <= (dst, dport) {
            (key(src, dst, sport, dport), Side::A)
        } else {
            (key(dst, src, dport, sport), Side::B)
        }
    }
}

/// One of the two ends of a flow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end that sorts first.
    A,
    /// The other one.
    B,
}

/// Key of a flow: its two ends in sorted order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct FlowKey {
    /// Address of the end that sorts first.
    pub a: Addr,
    /// Address of the other end.
    pub b: Addr,
    /// Port of side A.
    pub a_port: u16,
    /// Port of side B.
    pub b_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

impl FlowKey {
    /// The tuple of a packet of this flow sent by `side`.
    #[inline(always)]
    pub const fn tuple_from(&self, side: Side) -> Tuple {
        let Self { a, b, a_port, b_port, protocol, pad } = *self;
        let from_a = Tuple { src: a, dst: b, sport: a_port, dport: b_port, protocol, pad };
        match side {
            Side::A => from_a,
            Side::B => from_a.reversed(),
        }
    }
}

const _: () = assert!(size_of::<FlowKey>() == 40 && size_of::<Tuple>() == 40);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tuple() -> impl Strategy<Value = Tuple> {
        // Small ranges, so that equal addresses and ports are drawn too.
        (0_u8..4, 0_u8..4, 0_u16..4, 0_u16..4).prop_map(|(s, d, sport, dport)| Tuple {
            src: Addr::from_v4([10, 0, 0, s]),
            dst: Addr::from_v4([10, 0, 0, d]),
            sport,
            dport,
            protocol: crate::protocol::TCP,
            pad: [0; 3],
        })
    }

    proptest! {
        #[test]
        fn both_directions_have_one_key(t in tuple()) {
            prop_assert_eq!(t.key().0, t.reversed().key().0);
        }

        #[test]
        fn a_key_gives_the_tuple_back(t in tuple()) {
            let (key, side) = t.key();
            prop_assert_eq!(key.tuple_from(side), t);
        }

        #[test]
        fn sides_differ_unless_the_ends_are_equal(t in tuple()) {
            let same_end = (t.src, t.sport) == (t.dst, t.dport);
            prop_assert_eq!(t.key().1 == t.reversed().key().1, same_end);
        }
    }
}
