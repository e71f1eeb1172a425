//! What was made of the definitions: one small file for each endpoint and network.
//!
//! A record is written before the kernel's objects are made, so that a crash in between can be cleaned up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::paths::hash;
use super::{LockedStore, Result, Store, atomic};
use crate::model::{EndpointId, Name, Network, Publish, Subnet};

const ADVICE: &str =
    "take the instance down with `netfast down`, which works nevertheless, and set it up again";

/// An endpoint in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// Whose it is.
    pub id: EndpointId,
    /// Number of its life.
    pub incarnation: u32,
    /// Index of its row of policy.
    pub slot: u32,
    /// Its network.
    pub network: Name,
    /// IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// Addresses besides these two.
    #[serde(default)]
    pub more: Vec<IpAddr>,
    /// MAC address of its container veth.
    pub mac: [u8; 6],
    /// Name of its host veth.
    pub host_ifname: String,
    /// Index of its host veth, once there is one.
    pub host_ifindex: Option<u32>,
    /// Name of its container veth.
    pub container_ifname: String,
    /// Its host veth is no port of the network's bridge, as that has many ports already.
    #[serde(default)]
    pub apart: bool,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Other names that the `/etc/hosts` of its network has for it.
    #[serde(default)]
    pub aliases: Vec<Name>,
    /// Its network namespace.
    pub netns: PathBuf,
    /// netfast made the namespace and removes it.
    pub owns_netns: bool,
    /// Device and inode number of the namespace, once it is known: a path may come to mean another one.
    pub netns_inode: Option<(u64, u64)>,
    /// What another plugin made around it, if that one made its device.
    #[serde(default)]
    pub adopted: Option<AdoptedRecord>,
    /// Ports of the host that lead to it, all of them with a number.
    pub publish: Vec<PublishRecord>,
    /// The process that runs inside.
    pub command: Option<CommandRecord>,
}

/// What another plugin made around an endpoint, as it was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedRecord {
    /// The host's IPv4 address on the endpoint's link.
    pub gateway: Option<Ipv4Addr>,
    /// The host's IPv6 address on the endpoint's link.
    pub gateway6: Option<Ipv6Addr>,
    /// The host's MAC address on the endpoint's link: that of the bridge, or of the host veth.
    pub gateway_mac: [u8; 6],
    /// Index of the bridge that the host veth is a port of.
    pub bridge: Option<u32>,
}

/// Ports of the host that lead to an endpoint, with the numbers they were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRecord {
    /// What was asked for, with a host port in any case.
    #[serde(flatten)]
    pub publish: Publish,
    /// Number of the mapping's life: another one as soon as it leads elsewhere.
    pub incarnation: u32,
    /// Number of the list of sources that may use it: another one as soon as the list changes; 0 without a list.
    pub sources: u32,
}

/// A process, told from a later one of the same number by its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// What was run.
    pub argv: Vec<String>,
    /// Its number.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: clock ticks after boot.
    pub start_time: u64,
}

/// A network in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Its name.
    pub name: Name,
    /// Its number in the maps.
    pub id: u32,
    /// IPv4 subnet.
    pub subnet: Option<Ipv4Net>,
    /// IPv6 subnet.
    pub subnet6: Option<Ipv6Net>,
    /// The gateway's IPv4 address, if it was asked for.
    #[serde(default)]
    pub fixed_gateway: Option<Ipv4Addr>,
    /// The gateway's IPv6 address, if it was asked for.
    #[serde(default)]
    pub fixed_gateway6: Option<Ipv6Addr>,
    /// Subnets besides these two.
    #[serde(default)]
    pub more: Vec<Subnet>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// It has no outside, so its endpoints have no default route.
    pub internal: bool,
    /// Another plugin made it: there is no bridge of netfast's.
    #[serde(default)]
    pub adopted: bool,
    /// Name of its bridge.
    pub bridge: String,
    /// MAC address of its bridge.
    pub mac: [u8; 6],
    /// Index of its bridge, once there is one.
    pub ifindex: Option<u32>,
}

impl EndpointRecord {
    /// All its addresses: the first of each family, IPv4 before IPv6, and those besides.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let first = [self.ip.map(IpAddr::V4), self.ip6.map(IpAddr::V6)].into_iter().flatten();
        first.chain(self.more.iter().copied())
    }
}

impl NetworkRecord {
    /// What it was made of, as far as that is recorded.
    pub fn network(&self) -> Network {
        Network {
            subnet: self.subnet,
            subnet6: self.subnet6,
            fixed_gateway: self.fixed_gateway,
            fixed_gateway6: self.fixed_gateway6,
            more: self.more.clone(),
            internal: self.internal,
            adopted: self.adopted,
            mtu: self.mtu,
            ..Network::new(self.name.clone())
        }
    }
}

impl Store {
    pub(super) fn endpoints_dir(&self) -> PathBuf {
        self.paths().run_dir.join("endpoints")
    }

    pub(super) fn networks_dir(&self) -> PathBuf {
        self.paths().run_dir.join("networks")
    }

    pub(super) fn has_records(&self) -> bool {
        [self.endpoints_dir(), self.networks_dir()]
            .iter()
            .any(|dir| atomic::list(dir).is_ok_and(|names| names.iter().any(|name| is_record(name))))
    }

    /// The record of an endpoint.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn endpoint(&self, id: &EndpointId) -> Result<Option<EndpointRecord>> {
        atomic::read(&self.endpoints_dir().join(endpoint_file(id)), ADVICE)
    }

    /// The records of all endpoints.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged.
    pub fn endpoints(&self) -> Result<BTreeMap<EndpointId, EndpointRecord>> {
        let records = read_all::<EndpointRecord>(&self.endpoints_dir())?;
        Ok(records.into_iter().map(|record| (record.id.clone(), record)).collect())
    }

    /// The record of a network.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn network(&self, name: &Name) -> Result<Option<NetworkRecord>> {
        atomic::read(&self.networks_dir().join(network_file(name)), ADVICE)
    }

    /// The records of all networks.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged.
    pub fn networks(&self) -> Result<BTreeMap<Name, NetworkRecord>> {
        let records = read_all::<NetworkRecord>(&self.networks_dir())?;
        Ok(records.into_iter().map(|record| (record.name.clone(), record)).collect())
    }
}

/// Records of which some may be damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvage {
    /// The endpoints that can be understood.
    pub endpoints: BTreeMap<EndpointId, EndpointRecord>,
    /// The networks that can be understood.
    pub networks: BTreeMap<Name, NetworkRecord>,
    /// The endpoints that cannot, as far as their files' names tell.
    pub damaged_endpoints: Vec<EndpointId>,
    /// The networks that cannot, likewise.
    pub damaged_networks: Vec<Name>,
    /// Whether any record is damaged.
    pub is_damaged: bool,
}

impl Store {
    /// What can be understood of the records, and what cannot.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn salvage(&self) -> Result<Salvage> {
        let mut salvage = Salvage::default();
        for (name, read) in read_each::<EndpointRecord>(&self.endpoints_dir())? {
            if let Ok(record) = read {
                salvage.endpoints.extend(record.map(|record| (record.id.clone(), record)));
            } else {
                salvage.is_damaged = true;
                salvage.damaged_endpoints.extend(endpoint_of(&name));
            }
        }
        for (name, read) in read_each::<NetworkRecord>(&self.networks_dir())? {
            if let Ok(record) = read {
                salvage.networks.extend(record.map(|record| (record.name.clone(), record)));
            } else {
                salvage.is_damaged = true;
                salvage.damaged_networks.extend(network_of(&name));
            }
        }
        Ok(salvage)
    }
}

impl LockedStore {
    /// Writes the record of an endpoint.
    ///
    /// # Errors
    /// When the file cannot be written. The old one is there then.
    pub fn save_endpoint(&self, record: &EndpointRecord) -> Result<()> {
        atomic::write(&self.endpoints_dir().join(endpoint_file(&record.id)), record)
    }

    /// Removes the record of an endpoint and says whether there was one.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove_endpoint(&self, id: &EndpointId) -> Result<bool> {
        atomic::remove(&self.endpoints_dir().join(endpoint_file(id)))
    }

    /// Writes the record of a network.
    ///
    /// # Errors
    /// When the file cannot be written. The old one is there then.
    pub fn save_network(&self, record: &NetworkRecord) -> Result<()> {
        atomic::write(&self.networks_dir().join(network_file(&record.name)), record)
    }

    /// Removes the record of a network and says whether there was one.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove_network(&self, name: &Name) -> Result<bool> {
        atomic::remove(&self.networks_dir().join(network_file(name)))
    }

    /// Removes all records, damaged ones too.
    pub(super) fn remove_records(&self) -> Result<()> {
        let mut result = Ok(());
        for directory in [self.endpoints_dir(), self.networks_dir()] {
            for name in atomic::list(&directory)?.into_iter().filter(|name| is_record(name)) {
                result = result.and(atomic::remove(&directory.join(name)).map(drop));
            }
        }
        result
    }
}

fn read_all<T: DeserializeOwned>(directory: &Path) -> Result<Vec<T>> {
    let names = atomic::list(directory)?.into_iter().filter(|name| is_record(name));
    // One that is removed meanwhile is not there.
    names.filter_map(|name| atomic::read(&directory.join(name), ADVICE).transpose()).collect()
}

/// The files of a directory by their names, each with what came of reading it.
fn read_each<T: DeserializeOwned>(directory: &Path) -> Result<Vec<(String, Result<Option<T>>)>> {
    let names = atomic::list(directory)?.into_iter().filter(|name| is_record(name));
    Ok(names
        .map(|name| {
            let read = atomic::read(&directory.join(&name), ADVICE);
            (name, read)
        })
        .collect())
}

/// The endpoint that a file is about, unless its name was too long.
fn endpoint_of(file: &str) -> Option<EndpointId> {
    let (namespace, name) = file.strip_suffix(".json")?.split_once('+')?;
    Some(EndpointId { namespace: namespace.parse().ok()?, name: name.parse().ok()? })
}

/// The network that a file is about, likewise.
fn network_of(file: &str) -> Option<Name> {
    file.strip_suffix(".json")?.parse().ok()
}

pub(super) fn is_record(name: &str) -> bool {
    !name.starts_with('.') && Path::new(name).extension().is_some_and(|extension| extension == "json")
}

/// `+` stands in no name.
pub(super) fn endpoint_file(id: &EndpointId) -> String {
    file(&format!("{}+{}", id.namespace, id.name))
}

fn network_file(name: &Name) -> String {
    file(name.as_str())
}

fn file(stem: &str) -> String {
    format!("{}.json", file_stem(stem))
}

/// A file's name has at most 255 bytes, which two names of 253 exceed.
pub(super) fn file_stem(whole: &str) -> String {
    const KEPT: usize = 200;
    // Names are ASCII, so any place will do for a cut.
    match whole.get(..KEPT) {
        Some(start) if whole.len() > KEPT => format!("{start}+{:016x}", hash(whole.as_bytes())),
        _ => whole.to_owned(),
    }
}
