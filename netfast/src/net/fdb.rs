//! Forwarding entries of a bridge: which port a hardware address is behind.

use netfast_common::addr::Mac;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::was_there;
use super::netlink::Request;
use super::{Error, Netlink};

/// A forwarding entry of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// Index of the port.
    pub port: u32,
    /// The hardware address.
    pub mac: [u8; 6],
    /// Where frames to that address go, and how long.
    pub kind: FdbKind,
}

/// Kind of a forwarding entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdbKind {
    /// Out of the port, until somebody deletes the entry or the port.
    Static,
    /// To the host itself: the port's own address, or the bridge's.
    Local,
    /// Out of the port, until it ages.
    Learned,
}

impl Netlink {
    /// Puts a hardware address behind a port, for good. An entry that is there already is replaced.
    pub fn add_fdb(&self, port: u32, mac: [u8; 6]) -> Result<(), Error> {
        let mut message = entry(port, mac);
        // NUD_NOARP is "static". NUD_PERMANENT, alone or with it, is "local": the frames would go up the host's own
        // stack (net/bridge/br_fdb.c, fdb_add_entry; Linux 6.18).
        message.header.state = NeighbourState::Noarp;
        let object = object(port, mac);
        let request = Request { operation: "add forwarding entry", object: &object };
        self.change(request, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes a hardware address from behind a port. Returns whether it was there. Entries go with their port.
    pub fn delete_fdb(&self, port: u32, mac: [u8; 6]) -> Result<bool, Error> {
        let message = RouteNetlinkMessage::DelNeighbour(entry(port, mac));
        let object = object(port, mac);
        was_there(self.change(Request { operation: "delete forwarding entry", object: &object }, message, 0))
    }

    /// All forwarding entries of a bridge.
    pub fn fdb(&self, bridge: u32) -> Result<Vec<FdbEntry>, Error> {
        let object = format_args!("of the bridge with index {bridge}");
        let request = Request { operation: "list forwarding entries", object: &object };
        let answers = self.dump(request, || {
            let mut message = NeighbourMessage::default();
            message.header.family = AddressFamily::Bridge;
            message.attributes.push(NeighbourAttribute::Controller(bridge));
            RouteNetlinkMessage::GetNeighbour(message)
        })?;
        Ok(answers.iter().filter_map(|answer| parse(answer, bridge)).collect())
    }
}

/// The subject of an error.
fn object(port: u32, mac: [u8; 6]) -> String {
    format!("{} at the port with index {port}", Mac::new(mac))
}

fn entry(port: u32, mac: [u8; 6]) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    // The bridge's table, not one of the device itself.
    message.header.flags = NeighbourFlags::Controller;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    message
}

fn parse(answer: &RouteNetlinkMessage, bridge: u32) -> Option<FdbEntry> {
    let RouteNetlinkMessage::NewNeighbour(message) = answer else { return None };
    let mut mac = None;
    let mut controller = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            NeighbourAttribute::Controller(index) => controller = Some(*index),
            // A kernel with CONFIG_BRIDGE_VLAN_FILTERING keeps each entry a second time, for VLAN 1 (seen on 6.1).
            // As long as a bridge does not filter, the one without a VLAN is in force.
            NeighbourAttribute::Vlan(_) => return None,
            _ => {}
        }
    }
    // A dump also holds the multicast filters of the devices themselves, which have no controller.
    if controller != Some(bridge) && message.header.ifindex != bridge {
        return None;
    }
    let kind = match message.header.state {
        NeighbourState::Permanent => FdbKind::Local,
        NeighbourState::Noarp => FdbKind::Static,
        _ => FdbKind::Learned,
    };
    Some(FdbEntry { port: message.header.ifindex, mac: mac?, kind })
}
