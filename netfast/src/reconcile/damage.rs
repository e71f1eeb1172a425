//! What of the records is not whole in the kernel.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;

use super::assign::Records;
use super::limits::{self, Limit};
use super::topology;
use crate::model::{EndpointId, Name, World};
use crate::net::{FdbKind, Netlink, Netns};
use crate::store::{EndpointRecord, NetworkRecord};

/// What has to be made anew, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Damage {
    /// Networks whose bridge is not what was made.
    pub networks: BTreeMap<Name, &'static str>,
    /// Endpoints whose device or namespace is not what was made.
    pub endpoints: BTreeMap<EndpointId, &'static str>,
}

/// Compares the records with the devices and namespaces there are.
///
/// # Errors
/// When the kernel does not answer.
pub(super) fn damage(netlink: &Netlink, records: &Records) -> Result<Damage> {
    let links = netlink.links().context("list the host's devices")?;
    let find = |name: &str, ifindex: Option<u32>, kind: &str| {
        links.iter().find(|link| {
            link.name == name && Some(link.index) == ifindex && link.kind.as_deref() == Some(kind)
        })
    };
    let network = |record: &NetworkRecord| match find(&record.bridge, record.ifindex, "bridge") {
        None if !record.adopted => Some("its bridge is gone"),
        _ => None,
    };
    let endpoint = |record: &EndpointRecord| {
        let netns = Netns::open(&record.netns).and_then(|ns| ns.inode()).ok();
        match find(&record.host_ifname, record.host_ifindex, "veth") {
            _ if record.netns_inode.is_none() || netns != record.netns_inode => {
                Some("its network namespace is gone")
            }
            None => Some("its device is gone"),
            Some(_) => None,
        }
    };
    Ok(Damage {
        networks: records.networks.iter().filter_map(|(name, r)| Some((name.clone(), network(r)?))).collect(),
        endpoints: records.endpoints.iter().filter_map(|(id, r)| Some((id.clone(), endpoint(r)?))).collect(),
    })
}

/// Something that a bridge or a device has lost, and that is put back without making it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost<'a> {
    /// A device is down, which takes its IPv6 addresses and its neighbours along.
    Up(u32, &'a str),
    /// A bridge has another MAC address than it was made with.
    Mac(&'a str),
    /// A bridge has lost an address of a gateway.
    Gateway(u32, &'a str, IpNet),
    /// An endpoint's device is no port of the bridge any more; `None`: it is one, and was none.
    Port(&'a EndpointRecord, u32, Option<u32>),
    /// A bridge no longer knows the port an endpoint is behind.
    Forwarding(&'a EndpointRecord, u32),
    /// The host no longer knows an endpoint's hardware address.
    Neighbour(&'a EndpointRecord, u32, IpAddr),
    /// A limit of an endpoint's bandwidth is not kept.
    Limit(Limit<'a>),
}

impl fmt::Display for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(_, device) => write!(f, "the device {device} is down"),
            Self::Mac(bridge) => write!(f, "the bridge {bridge} has another MAC address"),
            Self::Gateway(_, bridge, address) => {
                write!(f, "the bridge {bridge} has lost the address {address}")
            }
            Self::Port(record, _, Some(_)) => {
                write!(f, "endpoint {}: its device is no port of the bridge any more", record.id)
            }
            Self::Port(record, _, None) => {
                write!(f, "endpoint {}: its device was made a port of a bridge", record.id)
            }
            Self::Forwarding(record, _) => {
                write!(f, "endpoint {}: its forwarding entry is gone", record.id)
            }
            Self::Neighbour(record, _, ip) => {
                write!(f, "endpoint {}: the neighbour entry of {ip} is gone", record.id)
            }
            Self::Limit(limit) => limit.fmt(f),
        }
    }
}

/// What is lost, in the order in which it is put back. Of what is gone altogether nothing is told.
///
/// # Errors
/// When the kernel does not answer.
pub(super) fn lost<'a>(netlink: &Netlink, world: &World, records: &'a Records) -> Result<Vec<Lost<'a>>> {
    let links = netlink.links().context("list the host's devices")?;
    let addresses = netlink.addresses().context("list the host's addresses")?;
    let find = |index: u32| links.iter().find(|link| link.index == index);
    let mut lost = Vec::new();
    for record in records.networks.values() {
        let Some(index) = record.ifindex else { continue };
        let Some(bridge) = find(index) else { continue };
        if !bridge.up {
            lost.push(Lost::Up(index, &record.bridge));
        }
        if bridge.mac != Some(record.mac) {
            lost.push(Lost::Mac(&record.bridge));
        }
        let Some(network) = world.networks.get(&record.name) else { continue };
        let has = |wanted: &IpNet| {
            addresses.iter().any(|address| {
                (address.ifindex, address.ip, address.prefix) == (index, wanted.addr(), wanted.prefix_len())
            })
        };
        let gone = topology::gateways(network).filter(|gateway| !has(gateway));
        lost.extend(gone.map(|gateway| Lost::Gateway(index, &record.bridge, gateway)));
        let fdb = netlink.fdb(index)?;
        let neighbours = netlink.neighbours(index)?;
        for endpoint in records.endpoints.values().filter(|endpoint| endpoint.network == record.name) {
            let Some(port) = endpoint.host_ifindex else { continue };
            let Some(link) = find(port) else { continue };
            if !link.up {
                lost.push(Lost::Up(port, &endpoint.host_ifname));
            }
            let wanted = (!endpoint.apart).then_some(index);
            if link.controller != wanted {
                lost.push(Lost::Port(endpoint, port, wanted));
            }
            let is_known = fdb
                .iter()
                .any(|entry| (entry.port, entry.mac, entry.kind) == (port, endpoint.mac, FdbKind::Static));
            if !is_known && !endpoint.apart {
                lost.push(Lost::Forwarding(endpoint, port));
            }
            let is_neighbour = |ip: &IpAddr| {
                neighbours.iter().any(|n| n.ip == *ip && n.mac == Some(endpoint.mac) && n.permanent)
            };
            let gone = endpoint.addresses().filter(|ip| !is_neighbour(ip));
            lost.extend(gone.map(|ip| Lost::Neighbour(endpoint, index, ip)));
        }
    }
    lost.extend(limits::lost(netlink, world, records)?.into_iter().map(Lost::Limit));
    Ok(lost)
}
