//! Which routes there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Request;
use super::{Error, Netlink};
use crate::model::RouteOptions;

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destinations.
    pub to: IpNet,
    /// Who takes them on; `None`: they are on the link.
    pub via: Option<IpAddr>,
    /// Index of the device it leads out of.
    pub ifindex: Option<u32>,
    /// What else is said of it. Table and scope always are.
    pub options: RouteOptions,
}

impl Netlink {
    /// All routes of both families, of all tables.
    pub fn routes(&self) -> Result<Vec<Route>, Error> {
        let mut routes = self.routes_of(AddressFamily::Inet, RouteType::Unspec)?;
        routes.extend(self.routes_of(AddressFamily::Inet6, RouteType::Unspec)?);
        Ok(routes)
    }

    /// The devices whose IPv4 addresses the namespace takes packets for, in a VRF too: the kernel does not go through all
    /// devices to tell.
    pub(super) fn devices_of_local_routes(&self) -> Result<Vec<u32>, Error> {
        let routes = self.routes_of(AddressFamily::Inet, RouteType::Local)?;
        Ok(routes.iter().filter_map(|route| route.ifindex).collect())
    }

    /// The routes of a family, of all tables; of one type, or of any.
    fn routes_of(&self, family: AddressFamily, kind: RouteType) -> Result<Vec<Route>, Error> {
        let request = Request { operation: "list", object: &"routes" };
        let answers = self.dump(request, || {
            // Whatever else a message said would be what the routes must be like.
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.header.kind = kind;
            RouteNetlinkMessage::GetRoute(message)
        })?;
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
        let mut to = if message.header.address_family == AddressFamily::Inet {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        let (mut via, mut ifindex) = (None, None);
        let mut options = RouteOptions {
            table: Some(message.header.table.into()),
            scope: Some(message.header.scope.into()),
            ..RouteOptions::default()
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => to = plain(address)?,
                RouteAttribute::Gateway(address) => via = plain(address),
                RouteAttribute::Oif(index) => ifindex = Some(*index),
                RouteAttribute::Priority(priority) => options.priority = Some(*priority),
                RouteAttribute::Table(table) => options.table = Some(*table),
                RouteAttribute::Metrics(metrics) => {
                    for metric in metrics {
                        match metric {
                            RouteMetric::Mtu(mtu) => options.mtu = Some(*mtu),
                            RouteMetric::Advmss(advmss) => options.advmss = Some(*advmss),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let to = IpNet::new(to, message.header.destination_prefix_length).ok()?;
        Some(Self { to, via, ifindex, options })
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}
