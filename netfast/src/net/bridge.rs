//! Bridges: one per network, the gateway of its endpoints.

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::BridgeStpState;
use rtnetlink::{LinkBridge, LinkUnspec};

use super::netlink::Request;
use super::sysctl::{self, DeviceSetting, check_device_name};
use super::{Error, Netlink};

/// A bridge to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Name of the device.
    pub name: String,
    /// Its hardware address. Being set, it no longer follows the lowest one of the ports.
    pub mac: [u8; 6],
    /// Its MTU, which its ports shall have too.
    pub mtu: u32,
    /// Its addresses: the gateways, with the prefixes of the network.
    pub addresses: Vec<IpNet>,
    /// The alias to mark it with.
    pub alias: String,
}

impl Netlink {
    /// Makes a bridge, without spanning tree or multicast snooping, gives it its addresses and sets it up. Returns its
    /// index. Nothing is left of it when that fails.
    ///
    /// # Errors
    /// [`Error::is_exists`] when there is a device of that name.
    pub fn create_bridge(&self, spec: &BridgeSpec) -> Result<u32, Error> {
        check_device_name(&spec.name)?;
        let message = LinkBridge::new(&spec.name)
            .stp_state(BridgeStpState::Disabled)
            .mcast_snooping(false)
            .address(spec.mac.to_vec())
            .mtu(spec.mtu)
            .build();
        let request = Request { operation: "create bridge", object: &spec.name };
        self.change(request, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)?;
        let index = self.link(&spec.name)?.index;
        self.finish_bridge(spec, index).inspect_err(|_| self.undo_link(index))?;
        Ok(index)
    }

    fn finish_bridge(&self, spec: &BridgeSpec, index: u32) -> Result<(), Error> {
        // Before it goes up, or its link-local address would be tentative for a second.
        let settings = [DeviceSetting::v6("accept_dad", "0"), DeviceSetting::v6("accept_ra", "0")];
        sysctl::set_device(self.netns(), &spec.name, &settings)?;
        for address in &spec.addresses {
            self.add_address(index, *address)?;
        }
        // A new link ignores IFLA_IFALIAS, so it comes now (rtnl_create_link, Linux 6.18).
        let message = LinkUnspec::new_with_index(index).alias(&spec.alias).up().build();
        self.set_link("set up bridge", index, message)
    }

    /// Removes a half-made device; a failure is only told, as another one is on its way to the caller.
    pub(super) fn undo_link(&self, index: u32) {
        if let Err(error) = self.delete_link(index) {
            tracing::warn!(index, %error, "a half-made device stays behind");
        }
    }
}
