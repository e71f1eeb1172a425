//! Neighbours: which hardware address an IP address on a link has.

use std::net::IpAddr;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::was_there;
use super::netlink::Request;
use super::{Error, Netlink};

/// A neighbour on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The device it is reached by.
    pub ifindex: u32,
    /// Its IP address.
    pub ip: IpAddr,
    /// Its hardware address, where it is known.
    pub mac: Option<[u8; 6]>,
    /// Whether somebody set it, so that the kernel neither asks for it nor forgets it.
    pub permanent: bool,
}

impl Netlink {
    /// Sets a permanent neighbour, in place of whatever the kernel knew of that address.
    pub fn add_neighbour(&self, ifindex: u32, ip: IpAddr, mac: [u8; 6]) -> Result<(), Error> {
        let mut message = neighbour(ifindex, ip);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        let object = format_args!("{ip} on the device with index {ifindex}");
        let request = Request { operation: "set neighbour", object: &object };
        self.change(request, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Forgets a neighbour. Returns whether it (and its device) was there.
    pub fn delete_neighbour(&self, ifindex: u32, ip: IpAddr) -> Result<bool, Error> {
        let message = RouteNetlinkMessage::DelNeighbour(neighbour(ifindex, ip));
        let object = format_args!("{ip} on the device with index {ifindex}");
        was_there(self.change(Request { operation: "delete neighbour", object: &object }, message, 0))
    }

    /// All neighbours on a device, of both families.
    pub fn neighbours(&self, ifindex: u32) -> Result<Vec<Neighbour>, Error> {
        let object = format_args!("of the device with index {ifindex}");
        let request = Request { operation: "list neighbours", object: &object };
        let answers = self.dump(request, || {
            let mut message = NeighbourMessage::default();
            message.attributes.push(NeighbourAttribute::IfIndex(ifindex));
            RouteNetlinkMessage::GetNeighbour(message)
        })?;
        Ok(answers.iter().filter_map(parse).collect())
    }
}

fn neighbour(ifindex: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = ifindex;
    message.attributes.push(NeighbourAttribute::Destination(ip.into()));
    message
}

fn parse(answer: &RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = answer else { return None };
    let mut ip = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(addr)) => ip = Some(IpAddr::V4(*addr)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(addr)) => ip = Some(IpAddr::V6(*addr)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let permanent = message.header.state == NeighbourState::Permanent;
    Some(Neighbour { ifindex: message.header.ifindex, ip: ip?, mac, permanent })
}
