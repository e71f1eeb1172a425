//! Addresses of devices.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::{fs, io};

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

/// Devices that are asked one by one; one question takes as long as to go past some hundred devices without addresses.
const FEW: usize = 16;

/// The IPv6 addresses of the caller's namespace, as the kernel writes them (`net/ipv6/addrconf.c`, `if6_seq_show`): address,
/// index, prefix, scope, flags, all in hexadecimal digits, and the device's name. Without IPv6 there is no such file.
fn addresses_v6() -> io::Result<String> {
    match fs::read_to_string("/proc/thread-self/net/if_inet6") {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && Path::new("/proc/thread-self/net").exists() =>
        {
            Ok(String::new())
        }
        other => other,
    }
}

/// The device that a line of these is about, unless the address is a link-local one.
fn device_of(line: &str) -> Option<u32> {
    const LINK: &str = "20";
    let mut fields = line.split_ascii_whitespace();
    let ifindex = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
    (fields.nth(1)? != LINK).then_some(ifindex)
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
        // An index of 0 is any device's.
        self.addresses_of(0)
    }

    fn addresses_of(&self, ifindex: u32) -> Result<Vec<Address>, Error> {
        let request = Request { operation: "list", object: &"addresses" };
        let message = || {
            let mut message = AddressMessage::default();
            message.header.index = ifindex;
            RouteNetlinkMessage::GetAddress(message)
        };
        let answers = self.dump(request, message)?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(address) => Address::from_message(address),
                _ => None,
            })
            .collect())
    }

    /// The addresses of the devices that are `known` to have some, and of all others that have some, but for link-local
    /// ones. Devices without addresses are not looked at, and a host with containers has many. To be called in the socket's own
    /// namespace.
    pub fn addresses_beside(&self, known: impl IntoIterator<Item = u32>) -> Result<Vec<Address>, Error> {
        let mut devices: BTreeSet<_> = known.into_iter().collect();
        devices.extend(self.devices_of_local_routes()?);
        let Ok(ipv6) = addresses_v6() else { return self.addresses() };
        devices.extend(ipv6.lines().filter_map(device_of));
        if devices.len() > FEW {
            return self.addresses();
        }
        let mut addresses = Vec::new();
        for ifindex in devices {
            match self.addresses_of(ifindex) {
                // It has just gone.
                Err(error) if error.is_not_found() => {}
                found => addresses.extend(found?),
            }
        }
        Ok(addresses)
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
