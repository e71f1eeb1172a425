//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::RouteFlags;

use super::netlink::Request;
use super::{Error, Netlink};

impl Netlink {
    /// Sends everything without a better route to `gateway`, by the device given. A default route of the same metric
    /// that is there already stays. `onlink`: the gateway is on the link though no prefix of the device says so.
    pub fn add_default_route(&self, ifindex: u32, gateway: IpAddr, onlink: bool) -> Result<(), Error> {
        let everything = match gateway {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        match self.write_route(ifindex, everything, gateway, onlink, NLM_F_EXCL) {
            Err(error) if error.is_exists() => Ok(()),
            result => result,
        }
    }

    /// Sends what is for `to` to `gateway`, in the same way, but a route to there is replaced. Both are of one family.
    pub fn set_route(&self, ifindex: u32, to: IpNet, gateway: IpAddr, onlink: bool) -> Result<(), Error> {
        self.write_route(ifindex, to, gateway, onlink, NLM_F_REPLACE)
    }

    fn write_route(
        &self,
        ifindex: u32,
        to: IpNet,
        gateway: IpAddr,
        onlink: bool,
        flags: u16,
    ) -> Result<(), Error> {
        let object = format_args!("to {to} via {gateway}, device with index {ifindex}");
        let request = Request { operation: "set route", object: &object };
        let mut message = match (to, gateway) {
            (IpNet::V4(to), IpAddr::V4(gateway)) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to.network(), to.prefix_len())
                .output_interface(ifindex)
                .gateway(gateway)
                .build(),
            (IpNet::V6(to), IpAddr::V6(gateway)) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to.network(), to.prefix_len())
                .output_interface(ifindex)
                .gateway(gateway)
                .build(),
            _ => return Err(request.answer("destination and gateway are of different families")),
        };
        if onlink {
            message.header.flags |= RouteFlags::Onlink;
        }
        self.change(request, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | flags)
    }
}
