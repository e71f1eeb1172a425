//! How much an instance may hold: the sizes of its maps.

use netfast_common::maps;
use serde::{Deserialize, Serialize};

/// How many rows each map may hold. They are fixed as long as an instance is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Endpoints.
    pub endpoints: u32,
    /// Addresses of endpoints, gateways and the host.
    pub addresses: u32,
    /// Prefixes that policies tell apart.
    pub cidrs: u32,
    /// Policy rows, twice: those of the policies in force and those that are to follow.
    pub rules: u32,
    /// Settled flows; a translated one counts twice. Of more, the ones not used for longest are forgotten.
    pub flows: u32,
    /// Flows whose originator has not answered yet, counted likewise.
    pub new_flows: u32,
    /// Packets in fragments of which the ports are remembered.
    pub fragments: u32,
    /// Published ports, counted per host address, family and protocol.
    pub published: u32,
    /// Prefixes of sources that may use published ports, and further addresses of endpoints.
    pub sources: u32,
    /// Uplinks.
    pub uplinks: u32,
    /// Denied prefixes.
    pub denied: u32,
    /// Host sockets whose destination was translated.
    pub sockets: u32,
}

impl Default for Limits {
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
            sources: maps::MAX_SOURCES,
            uplinks: maps::MAX_UPLINKS,
            denied: maps::MAX_DENIED,
            sockets: maps::MAX_SOCKETS,
        }
    }
}

/// One of the limits.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Its name in `netfast.yaml`.
    pub name: &'static str,
    /// The smallest it may be.
    pub least: u32,
    /// The largest it may be.
    pub most: u32,
    /// Its place.
    pub field: fn(&mut Limits) -> &mut u32,
}

/// All limits. The kernel recycles rows of LRU maps in batches of up to 128, so those have that many at least.
pub const LIMITS: [Limit; 12] = [
    Limit { name: "endpoints", least: 1, most: 1 << 16, field: |limits| &mut limits.endpoints },
    Limit { name: "addresses", least: 16, most: 1 << 20, field: |limits| &mut limits.addresses },
    Limit { name: "cidrs", least: 16, most: 1 << 20, field: |limits| &mut limits.cidrs },
    Limit { name: "rules", least: 16, most: 1 << 24, field: |limits| &mut limits.rules },
    Limit { name: "flows", least: 128, most: 1 << 24, field: |limits| &mut limits.flows },
    Limit { name: "new_flows", least: 128, most: 1 << 24, field: |limits| &mut limits.new_flows },
    Limit { name: "fragments", least: 128, most: 1 << 20, field: |limits| &mut limits.fragments },
    Limit { name: "published", least: 1, most: 1 << 20, field: |limits| &mut limits.published },
    Limit { name: "sources", least: 1, most: 1 << 24, field: |limits| &mut limits.sources },
    Limit { name: "uplinks", least: 1, most: 1 << 16, field: |limits| &mut limits.uplinks },
    Limit { name: "denied", least: 1, most: 1 << 24, field: |limits| &mut limits.denied },
    Limit { name: "sockets", least: 128, most: 1 << 20, field: |limits| &mut limits.sockets },
];
