//! Which limit is the size of which map.

use netfast_common::maps;

use crate::model::Limits;

/// A map, the limit that is its size, and that limit's value. The other maps have the size the object gives them.
pub(super) fn by_map(limits: &Limits) -> [(&'static str, &'static str, u32); 15] {
    [
        (maps::ENDPOINT, "endpoints", limits.endpoints),
        (maps::SLOT, "endpoints", limits.endpoints),
        (maps::ADDRESS, "addresses", limits.addresses),
        (maps::CIDR, "cidrs", limits.cidrs),
        (maps::RULE, "rules", limits.rules),
        (maps::FLOW, "flows", limits.flows),
        (maps::NURSERY, "new_flows", limits.new_flows),
        (maps::FRAGMENT, "fragments", limits.fragments),
        (maps::DIVERTED, "fragments", limits.fragments),
        (maps::PUBLISH[0], "published", limits.published),
        (maps::PUBLISH[1], "published", limits.published),
        (maps::SOURCE, "sources", limits.sources),
        (maps::UPLINK, "uplinks", limits.uplinks),
        (maps::DENY, "denied", limits.denied),
        (maps::SOCKET, "sockets", limits.sockets),
    ]
}

/// The limit that is a map's size, if there is one.
pub(super) fn limit_of(map: &str) -> Option<&'static str> {
    by_map(&Limits::default()).into_iter().find(|(name, ..)| *name == map).map(|(_, limit, _)| limit)
}
