//! Which routes there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};

use super::netlink::Request;
use super::{Error, Netlink};

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destinations.
    pub to: IpNet,
    /// Who takes them on; `None`: they are on the link.
    pub via: Option<IpAddr>,
    /// Index of the device it leads out of.
    pub ifindex: Option<u32>,
}

impl Netlink {
    /// All routes of both families, of all tables.
    pub fn routes(&self) -> Result<Vec<Route>, Error> {
        let request = Request { operation: "list", object: &"routes" };
        let v4 = || RouteNetlinkMessage::GetRoute(RouteMessageBuilder::<Ipv4Addr>::new().build());
        let v6 = || RouteNetlinkMessage::GetRoute(RouteMessageBuilder::<Ipv6Addr>::new().build());
        let mut answers = self.dump(request, v4)?;
        answers.extend(self.dump(request, v6)?);
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(route) => Route::from_message(route),
                _ => None,
            })
            .collect())
    }
}

impl Route {
    fn from_message(message: &RouteMessage) -> Option<Self> {
        // A default route has no destination.
        let mut to = if message.header.address_family == rtnetlink::packet_route::AddressFamily::Inet {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        let (mut via, mut ifindex) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => to = plain(address)?,
                RouteAttribute::Gateway(address) => via = plain(address),
                RouteAttribute::Oif(index) => ifindex = Some(*index),
                _ => {}
            }
        }
        let to = IpNet::new(to, message.header.destination_prefix_length).ok()?;
        Some(Self { to, via, ifindex })
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}
