//! Addresses of devices.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::AddressMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};

use super::netlink::Request;
use super::{Error, Netlink};

/// An address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The device's index.
    pub ifindex: u32,
    /// The address itself, on a point-to-point link the near end's.
    pub ip: IpAddr,
    /// Length of the on-link prefix.
    pub prefix: u8,
    /// How far it is valid.
    pub scope: Scope,
}

/// How far an address is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// On its link only.
    Link,
    /// On this host only.
    Host,
    /// A number the administrator gave a meaning, or the historical site scope.
    Other(u8),
}

impl Address {
    fn from_message(message: &AddressMessage) -> Option<Self> {
        let mut address = None;
        let mut local = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Local(ip) => local = Some(*ip),
                _ => {}
            }
        }
        // With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL ours; IPv6 without one has no IFA_LOCAL.
        Some(Self {
            ifindex: message.header.index,
            ip: local.or(address)?,
            prefix: message.header.prefix_len,
            scope: match message.header.scope {
                AddressScope::Universe => Scope::Global,
                AddressScope::Link => Scope::Link,
                AddressScope::Host => Scope::Host,
                other => Scope::Other(u8::from(other)),
            },
        })
    }
}

impl Netlink {
    /// All addresses of both families on all devices of the namespace.
    pub fn addresses(&self) -> Result<Vec<Address>, Error> {
        let request = Request { operation: "list", object: &"addresses" };
        let answers = self.dump(request, || RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(address) => Address::from_message(address),
                _ => None,
            })
            .collect())
    }

    /// Gives a device an address with its on-link prefix, usable at once: without duplicate address detection. One
    /// that is there already stays.
    pub fn add_address(&self, ifindex: u32, address: IpNet) -> Result<(), Error> {
        let prefix = address.prefix_len();
        let mut message = match address.addr() {
            IpAddr::V4(ip) => {
                AddressMessageBuilder::<Ipv4Addr>::new().index(ifindex).address(ip, prefix).build()
            }
            IpAddr::V6(ip) => {
                AddressMessageBuilder::<Ipv6Addr>::new().index(ifindex).address(ip, prefix).build()
            }
        };
        message.header.flags = AddressHeaderFlags::Nodad;
        let object = format_args!("{address} to the device with index {ifindex}");
        let request = Request { operation: "add address", object: &object };
        self.change(request, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }
}
