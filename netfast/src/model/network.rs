//! Networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
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
    /// Subnets besides these two.
    #[serde(default)]
    pub more: Vec<Subnet>,
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
            more: Vec::new(),
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

    /// The same network with these subnets in the place of all others: the first of each family, and those besides.
    #[must_use]
    pub fn with_subnets(self, subnets: impl IntoIterator<Item = Subnet>) -> Self {
        let mut network = Self {
            subnet: None,
            subnet6: None,
            fixed_gateway: None,
            fixed_gateway6: None,
            more: Vec::new(),
            ..self
        };
        for subnet in subnets {
            match subnet.net {
                IpNet::V4(net) if network.subnet.is_none() => {
                    network.subnet = Some(net);
                    network.fixed_gateway = subnet.fixed_gateway.and_then(v4);
                }
                IpNet::V6(net) if network.subnet6.is_none() => {
                    network.subnet6 = Some(net);
                    network.fixed_gateway6 = subnet.fixed_gateway.and_then(v6);
                }
                _ => network.more.push(subnet),
            }
        }
        network
    }

    /// All its subnets: the first of each family, IPv4 before IPv6, and those besides.
    pub fn subnets(&self) -> impl Iterator<Item = Subnet> + '_ {
        let v4 = self
            .subnet
            .map(|net| Subnet { net: net.into(), fixed_gateway: self.fixed_gateway.map(IpAddr::V4) });
        let v6 = self
            .subnet6
            .map(|net| Subnet { net: net.into(), fixed_gateway: self.fixed_gateway6.map(IpAddr::V6) });
        v4.into_iter().chain(v6).chain(self.more.iter().copied())
    }

    /// The subnet that holds an address.
    pub fn subnet_of(&self, addr: IpAddr) -> Option<Subnet> {
        self.subnets().find(|subnet| subnet.net.contains(&addr))
    }

    /// The addresses of its gateways.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.subnets().map(|subnet| subnet.gateway())
    }

    /// The gateway of whoever has an address.
    pub fn gateway_of(&self, addr: IpAddr) -> Option<IpAddr> {
        self.subnet_of(addr).map(|subnet| subnet.gateway())
    }

    /// The gateway's IPv4 address, in its first subnet.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.gateways().find_map(v4)
    }

    /// The gateway's IPv6 address, in its first subnet.
    pub fn gateway6(&self) -> Option<Ipv6Addr> {
        self.gateways().find_map(v6)
    }

    /// Whether `addr` may be an endpoint's, as it is in one of the subnets and nothing else there.
    pub fn may_assign(&self, addr: IpAddr) -> bool {
        self.subnet_of(addr).is_some_and(|subnet| subnet.may_assign(addr))
    }
}

const fn v4(ip: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(ip) = ip { Some(ip) } else { None }
}

const fn v6(ip: IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(ip) = ip { Some(ip) } else { None }
}

/// A subnet of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its addresses, host bits zero.
    pub net: IpNet,
    /// The gateway's address, of the same family; `None`: the first, in IPv6 after the anycast address.
    #[serde(default)]
    pub fixed_gateway: Option<IpAddr>,
}

impl Subnet {
    /// The gateway's address.
    pub fn gateway(&self) -> IpAddr {
        self.fixed_gateway.unwrap_or_else(|| match self.net {
            IpNet::V4(net) => Ipv4Addr::from(u32::from(net.network()).wrapping_add(1)).into(),
            IpNet::V6(net) => Ipv6Addr::from(u128::from(net.network()).wrapping_add(1)).into(),
        })
    }

    /// An address of it, with the length of its prefix.
    pub fn with_prefix(&self, addr: IpAddr) -> IpNet {
        // An address of another family, which is in no such subnet, stands alone.
        IpNet::new(addr, self.net.prefix_len()).unwrap_or_else(|_| addr.into())
    }

    /// Whether `addr` may be an endpoint's: neither the first nor the last (broadcast) one of IPv4, nor the first of IPv6,
    /// nor the gateway.
    pub fn may_assign(&self, addr: IpAddr) -> bool {
        self.net.contains(&addr)
            && addr != self.net.network()
            && (addr.is_ipv6() || addr != self.net.broadcast())
            && addr != self.gateway()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_those_that_were_given() {
        let subnet = |net: &str, gateway: &str| Subnet {
            net: net.parse().unwrap(),
            fixed_gateway: gateway.parse().ok(),
        };
        let given = [
            subnet("10.0.0.0/24", ""),
            subnet("fd00::/64", "fd00::ff"),
            subnet("2001:db8::/64", ""),
            subnet("10.1.0.0/24", "10.1.0.9"),
        ];
        let network = Network::new("lab".parse().unwrap()).with_subnets(given);
        assert_eq!(network.subnets().collect::<Vec<_>>(), given);
        assert_eq!((network.gateway(), network.more.len()), (Some(Ipv4Addr::new(10, 0, 0, 1)), 2));
        let gateway_of = |ip: &str| network.gateway_of(ip.parse().unwrap()).map(|ip| ip.to_string());
        for (ip, gateway) in [
            ("10.0.0.7", Some("10.0.0.1")),
            ("10.1.0.7", Some("10.1.0.9")),
            ("fd00::7", Some("fd00::ff")),
            ("2001:db8::7", Some("2001:db8::1")),
            ("10.2.0.7", None),
        ] {
            assert_eq!(gateway_of(ip).as_deref(), gateway, "{ip}");
        }
        for (ip, may) in [
            ("10.1.0.2", true),
            ("10.1.0.0", false),
            ("10.1.0.255", false),
            ("10.1.0.9", false),
            ("2001:db8::1", false),
            ("2001:db8::ffff:ffff:ffff:ffff", true),
            ("10.2.0.2", false),
        ] {
            assert_eq!(network.may_assign(ip.parse().unwrap()), may, "{ip}");
        }
    }
}
