//! Working memory: what is known of the packet in hand. The 512 bytes of a program's stack have no room for it.

use core::hint::cold_path;

use netfast_common::addr::Addr;
use netfast_common::conntrack::{Flow, Hop};
use netfast_common::event::Answers;
use netfast_common::flow::{FlowKey, Tuple};
use netfast_common::rows::Config;

use crate::budget::Budget;
use crate::parse::Headers;
use crate::verdict::Decision;
use crate::world::World;

/// Everything the stages hand on to each other. It lives in a per-CPU map and keeps the last packet's values, so that
/// each stage writes a field before another reads it.
#[repr(C)]
pub struct Work {
    /// The instance's settings, as they were when the packet came.
    pub config: Config,
    /// When the packet came, to a hundredth of a second: nanoseconds of `CLOCK_BOOTTIME`. Where it begins a flow, to the
    /// nanosecond.
    pub now: u64,
    /// The tick in which that was asked for.
    pub tick: u64,
    /// Length of the packet.
    pub length: u32,
    /// The `ENDPOINT_*` bits of the sender. Written, and looked at, at what endpoints send only.
    pub sender_flags: u32,
    /// Fragments that were put in order come by a second time, and this is one.
    pub is_returned: bool,
    /// The parsed packet.
    pub headers: Headers,
    /// Key of the flow's main entry.
    pub key: FlowKey,
    /// What a new flow leads to.
    pub opening: Opening,
    /// Addresses and ports as the packet's receiver is to see them.
    pub target: Tuple,
    /// Of an ICMP error about a known flow: the packet it quotes.
    pub quoted: Headers,
    /// That packet's addresses and ports as its sender knows them.
    pub quoted_target: Tuple,
    /// Where the error comes from.
    pub sender: Hop,
    /// Where it goes.
    pub receiver: Hop,
    /// An entry under construction.
    pub draft: Flow,
    /// Whom an uplink hands the packet to.
    pub next_hop: NextHop,
    /// What was decided on the packet.
    pub decision: Decision,
    /// MTU of the uplink that a packet is too big for.
    pub mtu: u32,
    /// The ICMP errors this CPU has sent. (Unlike all else, this and the next are of packets before.)
    pub reported: Budget,
    /// The packets whose fragments this CPU has begun to divert.
    pub diverted: Budget,
    /// What policy said of both ends. Reset, and looked at, while somebody reads events only.
    pub answers: Answers,
    /// What policies under audit would have dropped it for. Reset, and looked at, while somebody reads events only.
    pub audited: Audited,
    /// What those who read events want, as it was when the packet came.
    pub gate: u32,
    /// The packet began a flow. Reset, and looked at, while somebody reads events only.
    pub is_first: bool,
}

/// What policies under audit say of a packet that passes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Code of the drop reason, which is never 0; 0: they would let it pass, or there are none.
    pub reason: u32,
    /// Incarnation of the endpoint whose policies would drop it.
    pub endpoint: u32,
    /// What they said of both ends.
    pub answers: Answers,
}

/// The next hop that the host's routes name: `struct bpf_redir_neigh` of the kernel's UAPI.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHop {
    /// `AF_INET` or `AF_INET6`; 0: whoever sends the packet is to ask the routes itself.
    pub family: u32,
    /// Its address in network byte order; IPv4 in the first word.
    pub address: [u32; 4],
}

/// What a new flow needs to be recorded, beside the tuple of its first packet.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Source as the responder is to see it. With another address than the packet's, the port is chosen; with the
    /// same, it changes only if the responder could not tell this flow from another.
    pub source: Addr,
    /// Address the responder is reached at.
    pub destination: Addr,
    /// The originator.
    pub originator: Hop,
    /// The responder.
    pub responder: Hop,
    /// Further `FLOW_*` bits.
    pub flags: u64,
    /// Incarnation of the published port; 0 without one.
    pub published: u32,
    /// Port the responder is reached at.
    pub port: u16,
    /// Source port as the responder is to see it.
    pub source_port: u16,
    /// The source port that this flow had when it was opened the last time; 0: none. Its server may remember that, and
    /// knows a connection that goes on by its time stamps.
    pub last_port: u16,
    /// A closed connection has an entry under this tuple.
    pub reopens: bool,
}

impl Work {
    /// Notes when the packet came. To read the clock takes a tenth of all that is done for a packet of an open flow, so within a
    /// tick the time of an earlier packet will do.
    #[inline(always)]
    pub(crate) fn tell_time<W: World>(&mut self, world: &W) {
        let tick = world.tick();
        if tick != self.tick {
            cold_path();
            self.tick = tick;
            self.now = world.now();
        }
    }

    /// Memory as a test's stand-in for the kernel has it.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn zeroed() -> Self {
        let hop = Hop::default();
        let opening = Opening {
            source: Addr::default(),
            destination: Addr::default(),
            originator: hop,
            responder: hop,
            flags: 0,
            published: 0,
            port: 0,
            source_port: 0,
            last_port: 0,
            reopens: false,
        };
        Self {
            config: Config::default(),
            now: 0,
            tick: 0,
            length: 0,
            sender_flags: 0,
            is_returned: false,
            headers: Headers::default(),
            key: FlowKey::default(),
            opening,
            target: Tuple::default(),
            quoted: Headers::default(),
            quoted_target: Tuple::default(),
            sender: hop,
            receiver: hop,
            draft: Flow::default(),
            next_hop: NextHop::default(),
            decision: Decision::default(),
            mtu: 0,
            reported: Budget::default(),
            diverted: Budget::default(),
            answers: Answers::default(),
            audited: Audited::default(),
            gate: 0,
            is_first: false,
        }
    }
}
