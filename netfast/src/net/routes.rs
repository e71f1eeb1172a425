//! Which routes there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric};
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
        let request = Request { operation: "list", object: &"routes" };
        let mut answers = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            // Whatever else a message said would be what the routes must be like.
            answers.extend(self.dump(request, || {
                let mut message = RouteMessage::default();
                message.header.address_family = family;
                RouteNetlinkMessage::GetRoute(message)
            })?);
        }
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
