//! Routes. Only default routes are ever set.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::RouteFlags;

use super::netlink::Request;
use super::{Error, Netlink};

impl Netlink {
    /// Sends everything without a better route to `gateway`, by the device given. A default route of the same metric
    /// is replaced. `onlink`: the gateway is on the link though no prefix of the device says so.
    pub fn set_default_route(&self, ifindex: u32, gateway: IpAddr, onlink: bool) -> Result<(), Error> {
        let mut message = match gateway {
            IpAddr::V4(ip) => {
                RouteMessageBuilder::<Ipv4Addr>::new().output_interface(ifindex).gateway(ip).build()
            }
            IpAddr::V6(ip) => {
                RouteMessageBuilder::<Ipv6Addr>::new().output_interface(ifindex).gateway(ip).build()
            }
        };
        if onlink {
            message.header.flags |= RouteFlags::Onlink;
        }
        let object = format_args!("via {gateway}, device with index {ifindex}");
        let request = Request { operation: "set default route", object: &object };
        self.change(request, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
    }
}
