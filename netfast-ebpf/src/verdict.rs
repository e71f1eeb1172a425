//! What becomes of a packet.

use netfast_common::reason::DropReason;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// On to whatever comes next: other people's programs, then the bridge or the host's stack.
    Next,
    /// Straight into the namespace behind this host veth.
    ToEndpoint(u32),
    /// Out of this uplink, to the next hop the host's routes say.
    ToUplink(u32),
}

/// A packet that goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Why.
    pub reason: DropReason,
    /// Incarnation of the endpoint it is counted against; 0: the one whose device the packet came to, if any.
    pub endpoint: u32,
}

impl From<DropReason> for Dropped {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self { reason, endpoint: 0 }
    }
}
