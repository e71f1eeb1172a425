//! Networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::Name;

/// A network: endpoints that reach each other on one link, with the host as their gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: Name,
    /// IPv4 subnet, host bits zero. At least one of the two subnets is there.
    pub subnet: Option<Ipv4Net>,
    /// IPv6 subnet, host bits zero.
    pub subnet6: Option<Ipv6Net>,
    /// The gateway's IPv4 address; `None`: the first of the subnet.
    #[serde(default)]
    pub fixed_gateway: Option<Ipv4Addr>,
    /// The gateway's IPv6 address; `None`: the first of the subnet after the anycast address.
    #[serde(default)]
    pub fixed_gateway6: Option<Ipv6Addr>,
    /// No way outside, and no published ports.
    #[serde(default)]
    pub internal: bool,
    /// Its addresses are known outside: no masquerade, and endpoints are reachable without being published.
    #[serde(default)]
    pub routed: bool,
    /// Another plugin made it: the devices and addresses of its endpoints, their gateways and routes are that one's. It has no
    /// subnets that netfast knows of.
    #[serde(default)]
    pub adopted: bool,
    /// Largest IP packet in bytes.
    pub mtu: u16,
}

/// The MTU of a network that was given none.
pub const DEFAULT_MTU: u16 = 1500;

impl Network {
    /// A network of which nothing is said yet, its subnets neither.
    pub const fn new(name: Name) -> Self {
        Self {
            name,
            subnet: None,
            subnet6: None,
            fixed_gateway: None,
            fixed_gateway6: None,
            internal: false,
            routed: false,
            adopted: false,
            mtu: DEFAULT_MTU,
        }
    }

    /// A network that another plugin made.
    pub fn adopted(name: Name) -> Self {
        Self { adopted: true, ..Self::new(name) }
    }

    /// The gateway's IPv4 address.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        let first = |net: Ipv4Net| Ipv4Addr::from(u32::from(net.network()).wrapping_add(1));
        self.subnet.map(|net| self.fixed_gateway.unwrap_or_else(|| first(net)))
    }

    /// The gateway's IPv6 address.
    pub fn gateway6(&self) -> Option<Ipv6Addr> {
        let first = |net: Ipv6Net| Ipv6Addr::from(u128::from(net.network()).wrapping_add(1));
        self.subnet6.map(|net| self.fixed_gateway6.unwrap_or_else(|| first(net)))
    }

    /// Whether `addr` may be an endpoint's: inside the subnet and neither its first nor its last (broadcast)
    /// address nor the gateway.
    pub fn may_assign(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => self.subnet.is_some_and(|net| {
                net.contains(&addr)
                    && addr != net.network()
                    && addr != net.broadcast()
                    && Some(addr) != self.gateway()
            }),
            IpAddr::V6(addr) => self.subnet6.is_some_and(|net| {
                net.contains(&addr) && addr != net.network() && Some(addr) != self.gateway6()
            }),
        }
    }
}
