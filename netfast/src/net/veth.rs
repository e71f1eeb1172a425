//! Veth pairs: an endpoint's way into its network.

use std::os::fd::{AsFd, AsRawFd};

use nix::libc;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoData, InfoKind, InfoVeth,
    LinkAttribute,
};
use rtnetlink::{LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::netlink::Request;
use super::sysctl::{self, DeviceSetting, check_device_name};
use super::{Error, Netlink, Netns};

/// A veth pair to make.
#[derive(Debug)]
pub struct VethSpec<'a> {
    /// Name of the host's end.
    pub host_name: &'a str,
    /// Its hardware address; `None`: the kernel makes one up.
    pub host_mac: Option<[u8; 6]>,
    /// Index of the bridge it becomes a port of, if any.
    pub bridge: Option<u32>,
    /// The alias to mark it with.
    pub alias: &'a str,
    /// Namespace of the container's end.
    pub container_netns: &'a Netns,
    /// Name of the container's end, usually `eth0`.
    pub container_name: &'a str,
    /// Its hardware address.
    pub container_mac: [u8; 6],
    /// MTU of both ends.
    pub mtu: u32,
}

/// The two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VethPair {
    /// Index of the host's end.
    pub host: u32,
    /// The host's end's hardware address.
    pub host_mac: Option<[u8; 6]>,
    /// Index of the container's end, in its own namespace.
    pub container: u32,
}

impl Netlink {
    /// Makes a veth pair with one end in the container's namespace and the other at the host, in a bridge if there is to be
    /// one, which learns nothing from it and floods nothing to it. The host's end forwards (and no other device begins to)
    /// and has no IPv6 address. Both ends stay down. Nothing is left of the pair when that fails.
    ///
    /// # Errors
    /// [`Error::is_exists`] when one of the names is taken.
    pub fn create_veth(&self, spec: &VethSpec<'_>) -> Result<VethPair, Error> {
        check_device_name(spec.host_name)?;
        check_device_name(spec.container_name)?;
        self.create_pair(spec)?;
        let link = self.link(spec.host_name)?;
        self.finish_host_end(spec, link.index).inspect_err(|_| self.undo_link(link.index))?;
        match link.peer_index {
            Some(container) => Ok(VethPair { host: link.index, host_mac: link.mac, container }),
            None => Err(Error::answer("create veth pair", spec.host_name, "the host's end has no peer")),
        }
    }

    /// Joins two namespaces by a veth pair that is no netfast's: `name` here, `peer_name` in `peer`. Their link-local
    /// addresses are usable as soon as they are up. Both stay down.
    pub fn create_wire(&self, name: &str, peer: &Netns, peer_name: &str) -> Result<VethPair, Error> {
        check_device_name(name)?;
        check_device_name(peer_name)?;
        let far = LinkMessageBuilder::<LinkUnspec>::new()
            .name(peer_name)
            .setns_by_fd(peer.as_fd().as_raw_fd())
            .build();
        let near = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
            .name(name);
        let object = format_args!("{name} with {peer_name}");
        let request = Request { operation: "create veth pair", object: &object };
        self.change(request, RouteNetlinkMessage::NewLink(near.build()), NLM_F_CREATE | NLM_F_EXCL)?;
        let usable = [DeviceSetting::v6("accept_dad", "0")];
        sysctl::set_device(self.netns(), name, &usable)?;
        sysctl::set_device(peer, peer_name, &usable)?;
        let link = self.link(name)?;
        match link.peer_index {
            Some(container) => Ok(VethPair { host: link.index, host_mac: link.mac, container }),
            None => Err(Error::answer("create veth pair", name, "the near end has no peer")),
        }
    }

    /// One message makes both ends, each in its place: moving one later costs an RCU grace period or more (16-21 ms
    /// measured on Linux 6.18). Each end uses one queue in any case. Where a message does not say that this is all it is to have, it
    /// gets one for each CPU first, and an expedited grace period passes until the others are out of use (`veth_init_queues`).
    fn create_pair(&self, spec: &VethSpec<'_>) -> Result<(), Error> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(spec.container_name)
            .address(spec.container_mac.to_vec())
            .mtu(spec.mtu)
            .setns_by_fd(spec.container_netns.as_fd().as_raw_fd())
            .append_extra_attribute(LinkAttribute::NumTxQueues(1))
            .append_extra_attribute(LinkAttribute::NumRxQueues(1))
            .build();
        let mut host = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .name(spec.host_name)
            .mtu(spec.mtu)
            .append_extra_attribute(LinkAttribute::NumTxQueues(1))
            .append_extra_attribute(LinkAttribute::NumRxQueues(1));
        if let Some(bridge) = spec.bridge {
            host = host.controller(bridge);
        }
        if let Some(mac) = spec.host_mac {
            host = host.address(mac.to_vec());
        }
        let object = format_args!("{} with {} in the container", spec.host_name, spec.container_name);
        let request = Request { operation: "create veth pair", object: &object };
        self.change(request, RouteNetlinkMessage::NewLink(host.build()), NLM_F_CREATE | NLM_F_EXCL)
    }

    fn finish_host_end(&self, spec: &VethSpec<'_>, index: u32) -> Result<(), Error> {
        // Port settings and alias are ignored in the message that makes the link, so they follow.
        let message = |families: Vec<AfSpecUnspec>| {
            let families = LinkAttribute::AfSpecUnspec(families);
            match spec.bridge {
                Some(_) => port(index).alias(spec.alias).append_extra_attribute(families).build(),
                None => LinkUnspec::new_with_index(index)
                    .alias(spec.alias)
                    .append_extra_attribute(families)
                    .build(),
            }
        };
        let both = message(vec![forwarding(), no_link_local()]);
        match self.set_link("configure host veth", index, both) {
            Err(error) if has_no_ipv6(&error) => {
                self.set_link("configure host veth", index, message(vec![forwarding()]))?;
            }
            result => result?,
        }
        // No message says so of IPv6. Router advertisements never reach the host by a port of a bridge.
        sysctl::set_device(self.netns(), spec.host_name, &[DeviceSetting::v6("forwarding", "1")])
    }

    /// Makes a device a port of a bridge, which learns nothing from it and floods nothing to it.
    pub fn join_bridge(&self, index: u32, bridge: u32) -> Result<(), Error> {
        self.set_controller(index, bridge)?;
        self.set_link("configure bridge port", index, port(index).build())
    }

    /// Has a device be no port of a bridge any more.
    pub fn leave_bridge(&self, index: u32) -> Result<(), Error> {
        self.set_link("take out of bridge", index, LinkUnspec::new_with_index(index).nocontroller().build())
    }

    /// Keeps a device from getting a link-local address. IPv6 itself stays on: `bpf_fib_lookup` asks the host's end of a
    /// pair whether it forwards, though the host speaks through the bridge.
    pub(super) fn forbid_link_local(&self, index: u32) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(index)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![no_link_local()]))
            .build();
        match self.set_link("configure IPv6 of device", index, message) {
            // It gets no address anyway.
            Err(error) if has_no_ipv6(&error) => Ok(()),
            result => result,
        }
    }
}

/// What a port of a network's bridge is to be like.
fn port(index: u32) -> LinkMessageBuilder<LinkBridgePort> {
    LinkBridgePort::new(index).learning(false).flood(false).mcast_flood(false).bcast_flood(false)
}

fn no_link_local() -> AfSpecUnspec {
    AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)])
}

fn forwarding() -> AfSpecUnspec {
    let mut settings = InetDevConf::default();
    settings.forwarding = 1;
    AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(settings)])
}

/// Whether a device was refused what concerns IPv6 because it has none: switched off at boot, or an MTU below 1280.
fn has_no_ipv6(error: &Error) -> bool {
    error.errno() == Some(libc::EAFNOSUPPORT)
}
