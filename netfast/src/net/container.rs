//! The container's side of an endpoint.

use std::net::IpAddr;

use ipnet::IpNet;

use super::netns_file::LOOPBACK_INDEX;
use super::sysctl::{self, DeviceSetting};
use super::{Error, Netlink, Netns};
use crate::model::Route;

/// What a device inside a container is to have.
#[derive(Clone, Debug)]
pub struct ContainerSpec<'a> {
    /// Its name.
    pub device: &'a str,
    /// Its addresses, with the prefixes that are on the link.
    pub addresses: Vec<IpNet>,
    /// Who takes on what is for elsewhere: at most one of each family. One outside the addresses' prefixes is taken to be on
    /// the link.
    pub gateways: Vec<IpAddr>,
    /// Whether everything without a better route goes to the gateways, unless another device has it already.
    pub default_route: bool,
    /// Other routes. One that is for everything stands in the place of that to the gateway.
    pub routes: &'a [Route],
}

/// Gives a device inside a container its addresses, sets it and `lo` up, and writes the routes. Repeating it changes
/// nothing.
///
/// The addresses are usable at once (no duplicate address detection), router advertisements are not listened to. A device
/// without an IPv6 address gets no link-local one either.
pub fn configure_container(netns: &Netns, ifindex: u32, spec: &ContainerSpec<'_>) -> Result<(), Error> {
    let ContainerSpec { device, addresses, gateways, default_route, routes } = spec;
    let netlink = Netlink::open(netns)?;
    netlink.set_up(LOOPBACK_INDEX)?;
    if addresses.iter().any(|address| matches!(address, IpNet::V6(_))) {
        let settings = [
            // Some runtimes switch IPv6 off in new namespaces; an address would then be refused with EACCES.
            DeviceSetting::v6("disable_ipv6", "0"),
            DeviceSetting::v6("accept_dad", "0"),
            DeviceSetting::v6("accept_ra", "0"),
        ];
        sysctl::set_device(netns, device, &settings)?;
    } else {
        // It says nothing then that nobody would hear. What was opened of a namespace's settings makes all others' take longer.
        netlink.forbid_link_local(ifindex)?;
    }
    for address in addresses {
        netlink.add_address(ifindex, *address)?;
    }
    netlink.set_up(ifindex)?;
    let is_onlink = |gateway: &IpAddr| !addresses.iter().any(|address| address.contains(gateway));
    if *default_route {
        let is_said = |gateway: &IpAddr| routes.iter().any(|route| route.is_default_of(*gateway));
        for gateway in gateways.iter().filter(|gateway| !is_said(gateway)) {
            netlink.add_default_route(ifindex, *gateway, is_onlink(gateway))?;
        }
    }
    for Route { to, via, options } in *routes {
        let own = || gateways.iter().find(|gateway| gateway.is_ipv4() == to.addr().is_ipv4());
        let via = via.as_ref().or_else(own).filter(|_| !options.is_on_link());
        // A family that the network does not have is not routed either.
        if via.is_some() || options.is_on_link() {
            netlink.set_route(ifindex, *to, via.copied(), via.is_some_and(is_onlink), options)?;
        }
    }
    Ok(())
}
