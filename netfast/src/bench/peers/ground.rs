//! Namespaces and wires that every peer begins with.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use crate::net::{Netlink, Netns, wait_until_running};

/// The host's way out.
pub(crate) const UPLINK: &str = "uplink0";
/// The device of everybody else.
pub(crate) const DEVICE: &str = "eth0";
/// The bridge of peers that have one.
pub(crate) const BRIDGE: &str = "docker0";

/// The subnet of the containers.
pub(crate) const SUBNET: &str = "10.88.0.0/16";
/// The host's address among them.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
/// The container that asks.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
/// The container that answers.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 3);
/// The subnet of the uplink.
pub(crate) const UPLINK_SUBNET: &str = "198.51.100.0/24";
/// The host's address on its uplink.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The address of the world outside.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

const SUBNET_BITS: u8 = 16;
const UPLINK_BITS: u8 = 24;

/// How long devices may take to run. They are used all the same then.
const CARRIER: Duration = Duration::from_secs(5);

/// A host and the world outside, joined by a wire.
pub(crate) struct Ground {
    pub(crate) host: Netns,
    pub(crate) outside: Netns,
    /// Index of the outside's device.
    pub(crate) outside_device: u32,
}

impl Ground {
    /// New namespaces, that nothing but this process knows.
    pub(crate) fn new() -> Result<Self> {
        let (host, outside) = (Netns::unshare()?, Netns::unshare()?);
        let (here, there) = (open(&host)?, open(&outside)?);
        let wire = here.create_wire(UPLINK, &outside, DEVICE).context("join the world outside")?;
        for (netlink, index, own, other) in
            [(&here, wire.host, HOST, OUTSIDE), (&there, wire.container, OUTSIDE, HOST)]
        {
            netlink.add_address(index, net(own, UPLINK_BITS)?)?;
            netlink.set_up(index)?;
            netlink.add_default_route(index, IpAddr::V4(other), false)?;
        }
        wait_for(&outside, DEVICE)?;
        Ok(Self { host, outside, outside_device: wire.container })
    }

    /// A bridge of the host with the gateway's address, as Docker makes one.
    pub(crate) fn bridge(&self) -> Result<u32> {
        let spec = crate::net::BridgeSpec {
            name: BRIDGE.to_owned(),
            mac: [2, 0x42, 0, 0, 0, 1],
            mtu: 1500,
            addresses: vec![net(GATEWAY, SUBNET_BITS)?],
            alias: String::new(),
        };
        Ok(Netlink::open(&self.host)?.create_bridge(&spec)?)
    }

    /// A new container at a bridge of the host.
    pub(crate) fn container(&self, bridge: u32, port: &str, address: Ipv4Addr) -> Result<Netns> {
        let container = Netns::unshare()?;
        let (host, inside) = (Netlink::open(&self.host)?, open(&container)?);
        let wire = host.create_wire(port, &container, DEVICE)?;
        host.set_controller(wire.host, bridge)?;
        host.set_up(wire.host)?;
        inside.add_address(wire.container, net(address, SUBNET_BITS)?)?;
        inside.set_up(wire.container)?;
        inside.add_default_route(wire.container, IpAddr::V4(GATEWAY), false)?;
        wait_for(&container, DEVICE)?;
        Ok(container)
    }
}

/// Two namespaces and nothing between them but a wire.
pub(super) fn wired() -> Result<[Netns; 2]> {
    let ends = [Netns::unshare()?, Netns::unshare()?];
    let netlinks = [open(&ends[0])?, open(&ends[1])?];
    let wire = netlinks[0].create_wire(DEVICE, &ends[1], DEVICE)?;
    for (netlink, index, address) in
        [(&netlinks[0], wire.host, CLIENT), (&netlinks[1], wire.container, SERVER)]
    {
        netlink.add_address(index, net(address, SUBNET_BITS)?)?;
        netlink.set_up(index)?;
    }
    wait_for(&ends[0], DEVICE)?;
    Ok(ends)
}

/// Waits until a device runs.
pub(crate) fn wait_for(netns: &Netns, device: &str) -> Result<()> {
    wait_until_running(netns, device, CARRIER)?;
    Ok(())
}

/// The devices of a namespace, its loopback up.
fn open(netns: &Netns) -> Result<Netlink> {
    let netlink = Netlink::open(netns)?;
    netlink.set_up(netlink.link("lo")?.index)?;
    Ok(netlink)
}

fn net(address: Ipv4Addr, bits: u8) -> Result<IpNet> {
    Ok(IpNet::new(IpAddr::V4(address), bits)?)
}
