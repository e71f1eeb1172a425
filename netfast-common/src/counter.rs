//! Counters of the whole instance. Each is a packet and a byte count per CPU.

use bytemuck::{Pod, Zeroable};

use crate::reason::DropReason;

/// One counter's value on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the Ethernet header on.
    pub bytes: u64,
}

/// What happened to a packet that was not dropped.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// Redirected to another endpoint (or, in a hairpin, to the sender itself).
    ToEndpoint = 0,
    /// Sent out of an uplink.
    ToOutside = 1,
    /// Taken from an uplink and redirected to an endpoint.
    FromOutside = 2,
    /// From an endpoint to the host's own stack.
    ToHost = 3,
    /// From the host's own stack to an endpoint.
    FromHost = 4,
    /// ARP requests and neighbour solicitations answered.
    Neighbour = 5,
    /// A fragment that overtook the first one of its packet, or is of such a packet, sent to where the kernel puts them
    /// in order.
    ToDefrag = 6,
}

impl Path {
    /// All paths, in the order of their codes.
    pub const ALL: [Self; 7] = [
        Self::ToEndpoint,
        Self::ToOutside,
        Self::FromOutside,
        Self::ToHost,
        Self::FromHost,
        Self::Neighbour,
        Self::ToDefrag,
    ];

    /// The name used in JSON and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ToEndpoint => "to_endpoint",
            Self::ToOutside => "to_outside",
            Self::FromOutside => "from_outside",
            Self::ToHost => "to_host",
            Self::FromHost => "from_host",
            Self::Neighbour => "neighbour",
            Self::ToDefrag => "to_defrag",
        }
    }
}

/// What became of flow entries. A settled flow's entries move from one table to the other: made once more, and removed
/// once more.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// An entry was made.
    Made = 12,
    /// A program removed an entry.
    Removed = 13,
    /// Userspace removed an entry.
    Flushed = 14,
}

/// Index of a flow event's counter in the counter map.
#[inline(always)]
pub const fn flow_index(event: FlowEvent) -> u32 {
    event as u32
}

/// Index of a path's counter in the counter map.
#[inline(always)]
pub const fn path_index(path: Path) -> u32 {
    path as u32
}

/// Index of the counter of packets that policies under audit would have dropped for a reason, which is one of the two of
/// policies.
#[inline(always)]
pub const fn audit_index(reason: DropReason) -> u32 {
    match reason {
        DropReason::PolicyEgress => 11,
        _ => 10,
    }
}

/// Index of a drop reason's counter in the counter map. Reasons start at 16, which leaves room for paths, audits and flow events.
#[inline(always)]
pub const fn drop_index(reason: DropReason) -> u32 {
    16 + reason as u32
}

/// Entries of the counter map.
pub const COUNTERS: u32 = 16 + DropReason::COUNT;
