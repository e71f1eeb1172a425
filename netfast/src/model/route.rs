//! Routes inside endpoints' namespaces.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A route inside an endpoint's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Destinations.
    pub to: IpNet,
    /// Who takes them on; `None`: the gateway of that family, or nobody, if they are on the link.
    pub via: Option<IpAddr>,
    /// What else is said of it.
    #[serde(default)]
    pub options: RouteOptions,
}

impl Route {
    /// A route of which nothing else is said.
    pub fn new(to: IpNet, via: Option<IpAddr>) -> Self {
        Self { to, via, options: RouteOptions::default() }
    }

    /// Whether it is for all that has no better one, of the address family of `family`.
    pub fn is_default_of(&self, family: IpAddr) -> bool {
        self.to.prefix_len() == 0 && self.to.addr().is_ipv4() == family.is_ipv4() && self.options.is_in_main()
    }
}

/// What may be said of a route besides where it leads. Nothing is 0: that is what there is anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteOptions {
    /// Largest IP packet in bytes.
    pub mtu: Option<u32>,
    /// Largest TCP segment that the other end is told to send.
    pub advmss: Option<u32>,
    /// Of several routes to the same destinations, the lowest counts.
    pub priority: Option<u32>,
    /// Number of its table; `None`: the main one.
    pub table: Option<u32>,
    /// How far away the destinations are.
    pub scope: Option<u8>,
}

impl RouteOptions {
    /// Number of the main table.
    pub const MAIN: u32 = 254;
    /// The scope of what is on the link. Only nearer things have a higher one.
    pub const LINK: u8 = 253;

    /// Whether nobody takes on what is for the destinations, as they are on the link.
    pub fn is_on_link(&self) -> bool {
        self.scope.is_some_and(|scope| scope >= Self::LINK)
    }

    /// Whether the route is in the main table.
    pub fn is_in_main(&self) -> bool {
        self.table.is_none_or(|table| table == Self::MAIN)
    }

    /// Whether a route of `to` with the options `has` is as these want it. The kernel keeps no scope of IPv6 routes.
    pub fn suit(&self, to: IpNet, has: &Self) -> bool {
        fn suits<T: PartialEq + Copy>(wanted: Option<T>, has: Option<T>) -> bool {
            wanted.is_none() || wanted == has
        }
        suits(self.mtu, has.mtu)
            && suits(self.advmss, has.advmss)
            && suits(self.priority, has.priority)
            && suits(self.table, has.table)
            && (to.addr().is_ipv6() || suits(self.scope, has.scope))
    }
}
