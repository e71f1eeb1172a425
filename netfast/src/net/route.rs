//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteScope};

use super::netlink::Request;
use super::{Error, Netlink};
use crate::model::RouteOptions;

impl Netlink {
    /// Sends everything without a better route to `gateway`, by the device given. A default route of the same metric
    /// that is there already stays. `onlink`: the gateway is on the link though no prefix of the device says so.
    pub fn add_default_route(&self, ifindex: u32, gateway: IpAddr, onlink: bool) -> Result<(), Error> {
        let everything = match gateway {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        let options = RouteOptions::default();
        match self.write_route(ifindex, everything, Some(gateway), onlink, &options, NLM_F_EXCL) {
            Err(error) if error.is_exists() => Ok(()),
            result => result,
        }
    }

    /// Sends what is for `to` to `gateway`, or out of the device where that is nobody, in the same way; but a route to there is
    /// replaced. Both are of one family.
    pub fn set_route(
        &self,
        ifindex: u32,
        to: IpNet,
        gateway: Option<IpAddr>,
        onlink: bool,
        options: &RouteOptions,
    ) -> Result<(), Error> {
        self.write_route(ifindex, to, gateway, onlink, options, NLM_F_REPLACE)
    }

    fn write_route(
        &self,
        ifindex: u32,
        to: IpNet,
        gateway: Option<IpAddr>,
        onlink: bool,
        options: &RouteOptions,
        flags: u16,
    ) -> Result<(), Error> {
        let via = gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        let object = format_args!("to {to}{via}, device with index {ifindex}");
        let request = Request { operation: "set route", object: &object };
        let mut message = match (to, gateway) {
            (IpNet::V4(to), None | Some(IpAddr::V4(_))) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to.network(), to.prefix_len())
                .output_interface(ifindex)
                .build(),
            (IpNet::V6(to), None | Some(IpAddr::V6(_))) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to.network(), to.prefix_len())
                .output_interface(ifindex)
                .build(),
            _ => return Err(request.answer("destination and gateway are of different families")),
        };
        message.attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        set_options(&mut message, options);
        if onlink {
            message.header.flags |= RouteFlags::Onlink;
        }
        self.change(request, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | flags)
    }
}

fn set_options(message: &mut RouteMessage, options: &RouteOptions) {
    let RouteOptions { mtu, advmss, priority, table, scope } = *options;
    let metrics: Vec<_> =
        mtu.map(RouteMetric::Mtu).into_iter().chain(advmss.map(RouteMetric::Advmss)).collect();
    if !metrics.is_empty() {
        message.attributes.push(RouteAttribute::Metrics(metrics));
    }
    message.attributes.extend(priority.map(RouteAttribute::Priority));
    // It counts more than what the header says.
    message.attributes.extend(table.map(RouteAttribute::Table));
    if let Some(scope) = scope {
        message.header.scope = RouteScope::from(scope);
    }
}
