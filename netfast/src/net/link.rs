//! Network devices: listing, flags, removal.

use std::thread;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::InterfaceFlags;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoPortData, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::error::was_there;
use super::netlink::Request;
use super::{Error, Netlink, Netns};

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, unique in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The driver's name for its kind (`veth`, `bridge`); physical devices and `lo` have none.
    pub kind: Option<String>,
    /// Hardware address, where it is one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// Largest packet in bytes, without the link-layer header.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it is `lo`.
    pub loopback: bool,
    /// Kind of link layer: the kernel's `ARPHRD_*` number.
    pub arphrd: u16,
    /// The bridge (bond, VRF) it is a port of.
    pub controller: Option<u32>,
    /// Index of the device it is tied to: a veth's peer, a VLAN's parent. In the namespace [`Link::peer_netnsid`].
    pub peer_index: Option<u32>,
    /// The peer's namespace, as this one numbers it; `None`: the same.
    pub peer_netnsid: Option<i32>,
    /// The alias somebody gave it.
    pub alias: Option<String>,
    /// Its settings as a port of a bridge, if it is one.
    pub port: Option<PortFlags>,
}

/// How a bridge treats one of its ports.
#[expect(clippy::struct_excessive_bools, reason = "they are the kernel's, each independent of the others")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortFlags {
    /// Source addresses of received frames become FDB entries.
    pub learning: bool,
    /// Frames to unknown unicast addresses leave here.
    pub unicast_flood: bool,
    /// Frames to unknown multicast groups leave here.
    pub multicast_flood: bool,
    /// Broadcast frames leave here.
    pub broadcast_flood: bool,
}

impl Link {
    /// Whether its frames are Ethernet ones (`lo` is no Ethernet device here, though its frames look so).
    pub fn is_ethernet(&self) -> bool {
        self.arphrd == libc::ARPHRD_ETHER
    }

    fn from_message(message: LinkMessage) -> Self {
        let header = message.header;
        let mut link = Self {
            index: header.index,
            name: String::new(),
            kind: None,
            mac: None,
            mtu: 0,
            up: header.flags.contains(LinkFlags::Up),
            loopback: header.flags.contains(LinkFlags::Loopback),
            arphrd: u16::from(header.link_layer_type),
            controller: None,
            peer_index: None,
            peer_netnsid: None,
            alias: None,
            port: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Controller(index) => link.controller = Some(index),
                // A tunnel without a parent says 0.
                LinkAttribute::Link(index) => link.peer_index = (index != 0).then_some(index),
                LinkAttribute::LinkNetNsId(id) => link.peer_netnsid = Some(id),
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::LinkInfo(infos) => link.read_info(infos),
                _ => {}
            }
        }
        link
    }

    fn read_info(&mut self, infos: Vec<LinkInfo>) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = Some(kind.to_string()),
                LinkInfo::PortData(InfoPortData::BridgePort(settings)) => {
                    let port = self.port.insert(PortFlags::default());
                    for setting in settings {
                        match setting {
                            InfoBridgePort::Learning(on) => port.learning = on,
                            InfoBridgePort::UnicastFlood(on) => port.unicast_flood = on,
                            InfoBridgePort::MulticastFlood(on) => port.multicast_flood = on,
                            InfoBridgePort::BroadcastFlood(on) => port.broadcast_flood = on,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

impl Netlink {
    /// All devices of the namespace.
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        let request = Request { operation: "list", object: &"devices" };
        let message = || {
            let mut message = LinkMessage::default();
            // Without the statistics the answer is half as long.
            message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
            RouteNetlinkMessage::GetLink(message)
        };
        let answers = self.dump(request, message)?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => Some(Link::from_message(link)),
                _ => None,
            })
            .collect())
    }

    /// The device of that name.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is none.
    pub fn link(&self, name: &str) -> Result<Link, Error> {
        let message = LinkMessageBuilder::<LinkUnspec>::new().name(name).build();
        self.get_link(&name, message)
    }

    /// The device with that index.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is none.
    pub fn link_by_index(&self, index: u32) -> Result<Link, Error> {
        self.get_link(&format_args!("with index {index}"), LinkUnspec::new_with_index(index).build())
    }

    fn get_link(&self, object: &dyn std::fmt::Display, mut message: LinkMessage) -> Result<Link, Error> {
        let request = Request { operation: "find device", object };
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        match self.get(request, RouteNetlinkMessage::GetLink(message))? {
            RouteNetlinkMessage::NewLink(link) => Ok(Link::from_message(link)),
            _ => Err(request.answer("the answer is about something else")),
        }
    }

    /// Removes a device, with a veth its peer too. Returns whether it was there.
    pub fn delete_link(&self, index: u32) -> Result<bool, Error> {
        let message = RouteNetlinkMessage::DelLink(LinkUnspec::new_with_index(index).build());
        let object = format_args!("with index {index}");
        was_there(self.change(Request { operation: "delete device", object: &object }, message, 0))
    }

    /// Sets a device up.
    pub fn set_up(&self, index: u32) -> Result<(), Error> {
        self.set_link("set up device", index, LinkUnspec::new_with_index(index).up().build())
    }

    /// Sets a device down.
    pub fn set_down(&self, index: u32) -> Result<(), Error> {
        self.set_link("set down device", index, LinkUnspec::new_with_index(index).down().build())
    }

    /// Gives a device another hardware address.
    pub fn set_mac(&self, index: u32, mac: [u8; 6]) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(index).address(mac.to_vec()).build();
        self.set_link("set hardware address of device", index, message)
    }

    /// Makes a device a port of a bridge.
    pub fn set_controller(&self, index: u32, bridge: u32) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(index).controller(bridge).build();
        self.set_link("make port of bridge", index, message)
    }

    /// Gives a device an alias, of at most 255 bytes; the empty one removes it.
    pub fn set_alias(&self, index: u32, alias: &str) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(index).alias(alias).build();
        self.set_link("set alias of device", index, message)
    }

    /// Changes an existing device: a `RTM_NEWLINK` without `NLM_F_CREATE`, as `RTM_SETLINK` knows no port settings.
    pub(super) fn set_link(
        &self,
        operation: &'static str,
        index: u32,
        message: LinkMessage,
    ) -> Result<(), Error> {
        let object = format_args!("with index {index}");
        self.change(Request { operation, object: &object }, RouteNetlinkMessage::NewLink(message), 0)
    }
}

/// Whether a device of the calling thread's namespace has its carrier and its queue: what it sends is not dropped.
///
/// # Errors
/// When devices cannot be listed.
fn is_running(device: &str) -> Result<bool, Error> {
    let mut devices = getifaddrs().map_err(|e| Error::system("list", "devices", e))?;
    let running = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    Ok(devices.any(|found| found.interface_name == device && found.flags.contains(running)))
}

/// Waits until a device runs: the kernel gives it its queue some time after its carrier came, and drops all until then.
/// `false`: it did not within `limit`.
///
/// # Errors
/// When the namespace cannot be entered, or its devices cannot be listed.
pub fn wait_until_running(netns: &Netns, device: &str, limit: Duration) -> Result<bool, Error> {
    let deadline = Instant::now() + limit;
    while !netns.run(|| is_running(device))?? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}
