//! Sizes of the maps.

use netfast_common::maps;
use serde::{Deserialize, Serialize};

/// How many rows each map may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sizes {
    /// Endpoints.
    pub endpoints: u32,
    /// Addresses of endpoints, gateways and the host.
    pub addresses: u32,
    /// Prefixes that policies tell apart.
    pub cidrs: u32,
    /// Policy rows.
    pub rules: u32,
    /// Settled flows.
    pub flows: u32,
    /// Flows whose originator has not answered yet.
    pub new_flows: u32,
    /// Packets in fragments of which the ports are remembered.
    pub fragments: u32,
    /// Published ports.
    pub published: u32,
    /// Uplinks.
    pub uplinks: u32,
    /// Denied prefixes.
    pub denied: u32,
    /// Host sockets whose destination was translated.
    pub sockets: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            endpoints: maps::MAX_ENDPOINTS,
            addresses: maps::MAX_ADDRESSES,
            cidrs: maps::MAX_CIDRS,
            rules: maps::MAX_RULES,
            flows: maps::MAX_FLOWS,
            new_flows: maps::MAX_NEW_FLOWS,
            fragments: maps::MAX_FRAGMENTS,
            published: maps::MAX_PUBLISHED,
            uplinks: maps::MAX_UPLINKS,
            denied: maps::MAX_DENIED,
            sockets: maps::MAX_SOCKETS,
        }
    }
}

impl Sizes {
    /// The size of each map that has a settable one. The others have the size the object gives them.
    pub(super) fn by_map(&self) -> [(&'static str, u32); 12] {
        [
            (maps::ENDPOINT, self.endpoints),
            (maps::SLOT, self.endpoints),
            (maps::ADDRESS, self.addresses),
            (maps::CIDR, self.cidrs),
            (maps::RULE, self.rules),
            (maps::FLOW, self.flows),
            (maps::NURSERY, self.new_flows),
            (maps::FRAGMENT, self.fragments),
            (maps::PUBLISH, self.published),
            (maps::UPLINK, self.uplinks),
            (maps::DENY, self.denied),
            (maps::SOCKET, self.sockets),
        ]
    }
}
