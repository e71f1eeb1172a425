//! What flows look like from outside: the stable shape of `-o json`, and what tables are made of.
//!
//! Fields are only ever added. Times are nanoseconds.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::IpAddr;

use netfast_common::addr::Addr;
use netfast_common::conntrack::{self, FLOW_ASSURED, FLOW_DESTINATION_NAT, FLOW_SOURCE_NAT, Hop};
use netfast_common::protocol;
use serde::Serialize;

use super::{Entry, FlowState};
use crate::kernel::FlowCounts;

/// Flows, and the tables they are in.
#[derive(Clone, Debug, Serialize)]
pub struct FlowsView {
    /// Those that were asked for: by originator, then responder.
    pub flows: Vec<FlowView>,
    /// All entries.
    pub table: TableView,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowView {
    /// How far it has come.
    pub state: FlowState,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, or the number.
    pub protocol: String,
    /// Who sent first, as it sends.
    pub originator: EndView,
    /// Who was meant, as the originator addresses it.
    pub responder: EndView,
    /// What the responder sees the originator as; `None`: it is not translated.
    pub source_nat: Option<SocketView>,
    /// Where the responder is reached; `None`: it is not translated.
    pub destination_nat: Option<SocketView>,
    /// Time since its first packet.
    pub age_ns: u64,
    /// Time since its last packet, to a tenth of a second.
    pub idle_ns: u64,
    /// Time until it is over if no packet comes.
    pub left_ns: u64,
    /// Whether it is over: its next packet begins a new one.
    pub over: bool,
    /// Whether it is in the table of settled flows, or is to be.
    pub settled: bool,
    /// Packets and bytes of the originator.
    pub sent: CountsView,
    /// Packets and bytes of the responder.
    pub replied: CountsView,
    /// Number of the policies that allowed it.
    pub generation: u32,
    /// Whether these are in force; if not, they are asked again with its next packet.
    pub current: bool,
}

/// An end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndView {
    /// `endpoint`, `outside` or `host`.
    pub kind: &'static str,
    /// Name of the endpoint, as `name` or `namespace/name`; `None` also where it is gone.
    pub endpoint: Option<String>,
    /// Address and port.
    #[serde(flatten)]
    pub socket: SocketView,
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SocketView {
    /// Address.
    pub addr: IpAddr,
    /// Port; of an ICMP echo the identifier, on the side that asks; `None` for protocols without.
    pub port: Option<u16>,
}

/// What one side has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CountsView {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the Ethernet header on.
    pub bytes: u64,
}

/// The entries of all flows: one each, and another one of those that are translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableView {
    /// Entries of settled flows.
    pub settled: u64,
    /// Most entries of settled flows.
    pub settled_size: u32,
    /// Entries of new flows, whose originator has not answered yet.
    pub new: u64,
    /// Most entries of new flows.
    pub new_size: u32,
    /// Entries ever made. One that settles is made once more, and removed once more.
    pub made: u64,
    /// Entries that were removed: over, closed and opened anew, settled.
    pub removed: u64,
    /// Entries that `netfast flow flush` removed.
    pub flushed: u64,
    /// Entries that gave way to others as a table was full.
    pub evicted: u64,
}

impl From<FlowCounts> for TableView {
    fn from(counts: FlowCounts) -> Self {
        let evicted = counts.evicted();
        let FlowCounts { settled, settled_size, new, new_size, made, removed, flushed } = counts;
        Self { settled, settled_size, new, new_size, made, removed, flushed, evicted }
    }
}

/// A flow as it is at `now`; `endpoints` are names by incarnation.
pub(super) fn flow(entry: &Entry, endpoints: &HashMap<u32, String>, generation: u32, now: u64) -> FlowView {
    let Entry { key, flow } = entry;
    let (original, seen) = (entry.original(), entry.seen());
    let socket = |addr: Addr, port| SocketView { addr: addr.into(), port: port_of(key.protocol, port) };
    let end = |hop: Hop, socket| EndView {
        kind: kind(hop),
        endpoint: endpoints.get(&hop.incarnation).cloned(),
        socket,
    };
    let translated = |bit: u64, socket| (flow.flags & bit != 0).then_some(socket);
    let idle_ns = now.saturating_sub(flow.seen);
    let sent = |side: usize| CountsView { packets: flow.packets[side], bytes: flow.bytes[side] };
    FlowView {
        state: FlowState::of(key.protocol, flow.flags),
        protocol: protocol_name(key.protocol),
        originator: end(flow.originator, socket(original.src, original.sport)),
        responder: end(flow.responder, socket(original.dst, original.dport)),
        source_nat: translated(FLOW_SOURCE_NAT, socket(seen.src, seen.sport)),
        destination_nat: translated(FLOW_DESTINATION_NAT, socket(seen.dst, seen.dport)),
        age_ns: now.saturating_sub(flow.created),
        idle_ns,
        left_ns: conntrack::timeout(key.protocol, flow.flags).saturating_sub(idle_ns),
        over: entry.is_over(now),
        settled: flow.flags & FLOW_ASSURED != 0,
        sent: sent(0),
        replied: sent(1),
        generation: flow.generation,
        current: flow.generation == generation,
    }
}

/// By originator, then responder.
pub(super) fn order(one: &FlowView, other: &FlowView) -> Ordering {
    let ends = |flow: &FlowView| {
        let (from, to) = (flow.originator.socket, flow.responder.socket);
        (from.addr, to.addr, to.port, from.port)
    };
    // Endpoints, which have a name, stand before the host and the outside.
    let named = |flow: &FlowView| flow.originator.endpoint.is_none();
    named(one)
        .cmp(&named(other))
        .then_with(|| one.originator.endpoint.cmp(&other.originator.endpoint))
        .then_with(|| one.originator.kind.cmp(other.originator.kind))
        .then_with(|| ends(one).cmp(&ends(other)))
        .then_with(|| one.protocol.cmp(&other.protocol))
}

const fn kind(hop: Hop) -> &'static str {
    match (hop.incarnation, hop.ifindex) {
        (0, 0) => "host",
        (0, _) => "outside",
        _ => "endpoint",
    }
}

fn port_of(protocol: u8, port: u16) -> Option<u16> {
    match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => Some(port),
        // 0 stands for the side that answers.
        protocol::ICMP | protocol::ICMPV6 => Some(port).filter(|port| *port != 0),
        _ => None,
    }
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        protocol::ICMP => "icmp".to_owned(),
        protocol::ICMPV6 => "icmpv6".to_owned(),
        protocol::SCTP => "sctp".to_owned(),
        other => other.to_string(),
    }
}
