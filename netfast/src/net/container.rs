//! The container's side of an endpoint.

use std::net::IpAddr;

use ipnet::IpNet;

use super::netns_file::LOOPBACK_INDEX;
use super::sysctl::{self, DeviceSetting};
use super::{Error, Netlink, Netns};

/// Gives a device inside a container its addresses, sets it and `lo` up, and sends everything else to the gateways if
/// `default_route` is set. Repeating it changes nothing.
///
/// The addresses are usable at once (no duplicate address detection), router advertisements are not listened to. A
/// gateway outside the addresses' prefixes is taken to be on the link.
pub fn configure_container(
    netns: &Netns,
    ifindex: u32,
    addresses: &[IpNet],
    gateways: [Option<IpAddr>; 2],
    default_route: bool,
) -> Result<(), Error> {
    let netlink = Netlink::open(netns)?;
    netlink.set_up(LOOPBACK_INDEX)?;
    let device = netlink.link_by_index(ifindex)?.name;
    let mut settings = vec![DeviceSetting::v6("accept_dad", "0"), DeviceSetting::v6("accept_ra", "0")];
    if addresses.iter().any(|address| matches!(address, IpNet::V6(_))) {
        // Some runtimes switch IPv6 off in new namespaces; an address would then be refused with EACCES.
        settings.insert(0, DeviceSetting::v6("disable_ipv6", "0"));
    }
    sysctl::set_device(netns, &device, &settings)?;
    for address in addresses {
        netlink.add_address(ifindex, *address)?;
    }
    netlink.set_up(ifindex)?;
    if default_route {
        for gateway in gateways.into_iter().flatten() {
            let onlink = !addresses.iter().any(|address| address.contains(&gateway));
            netlink.set_default_route(ifindex, gateway, onlink)?;
        }
    }
    Ok(())
}
