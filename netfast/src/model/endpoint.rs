//! Endpoints.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Labels, Name, Protocol, Publish, Route};

/// Namespace and name of an endpoint: what tells it from all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointId {
    /// Its namespace in the sense of policies, `default` where none was given.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.as_str() == "default" {
            f.pad(self.name.as_str())
        } else {
            f.pad(&format!("{}/{}", self.namespace, self.name))
        }
    }
}

/// One container's place in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other, and each is a key of its own in files"
)]
pub struct Endpoint {
    /// Namespace and name.
    pub id: EndpointId,
    /// The network it is in.
    pub network: Name,
    /// Labels, for the selectors of policies.
    #[serde(default)]
    pub labels: Labels,
    /// Ports it serves, with the names policies may use.
    #[serde(default)]
    pub ports: Vec<NamedPort>,
    /// Ports of the host that lead to it.
    #[serde(default)]
    pub publish: Vec<Publish>,
    /// IPv4 address; `None`: the lowest free one.
    pub ip: Option<Ipv4Addr>,
    /// IPv6 address; `None`: the lowest free one.
    pub ip6: Option<Ipv6Addr>,
    /// Where its addresses are chosen: one of each family, from the first range of that family that has a free one. Empty
    /// for a family: the whole subnet.
    #[serde(default)]
    pub ranges: Vec<AddressRange>,
    /// Further addresses, of whatever family.
    #[serde(default)]
    pub more: Vec<FurtherAddress>,
    /// Other names that the `/etc/hosts` of its network has for it.
    #[serde(default)]
    pub aliases: Vec<Name>,
    /// MAC address; `None`: one made from the endpoint's incarnation.
    pub mac: Option<[u8; 6]>,
    /// Largest IP packet in bytes; `None`: the network's.
    pub mtu: Option<u16>,
    /// Name of its device inside its namespace; `None`: `eth0`.
    #[serde(default)]
    pub ifname: Option<String>,
    /// Everything without a better route goes to the gateways, unless the network is internal.
    #[serde(default = "yes")]
    pub default_route: bool,
    /// Other routes inside its namespace.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// It may send from its own MAC and IP addresses only. Without the check, a virtual machine or a bridge may live inside.
    #[serde(default = "yes")]
    pub source_check: bool,
    /// Packets are redirected into its namespace. Else they go out of its host veth, past what others have attached there.
    #[serde(default = "yes")]
    pub redirect: bool,
    /// Packets that it sends go past what others do at the host's end of its device, as holding them back. A device that another
    /// plugin made and that has [`Endpoint::redirect`] off is always so.
    #[serde(default)]
    pub sends_by_host: bool,
    /// How fast packets may come to it; `None`: as fast as they do. It needs [`Endpoint::redirect`] to be off: a packet that
    /// is redirected meets no queue.
    #[serde(default)]
    pub ingress_limit: Option<RateLimit>,
    /// How fast packets may come from it. The queue is in its namespace, so who may change devices there may lift it.
    #[serde(default)]
    pub egress_limit: Option<RateLimit>,
    /// Where it lives.
    pub attachment: Attachment,
    /// Command to run inside, with its arguments.
    pub command: Option<Vec<String>>,
}

/// What a definition written by an earlier version means.
const fn yes() -> bool {
    true
}

impl Endpoint {
    /// An endpoint in a namespace of its own, with nothing asked for.
    pub const fn new(id: EndpointId, network: Name) -> Self {
        Self {
            id,
            network,
            labels: Labels::new(),
            ports: Vec::new(),
            publish: Vec::new(),
            ip: None,
            ip6: None,
            ranges: Vec::new(),
            more: Vec::new(),
            aliases: Vec::new(),
            mac: None,
            mtu: None,
            ifname: None,
            default_route: true,
            routes: Vec::new(),
            source_check: true,
            redirect: true,
            sends_by_host: false,
            ingress_limit: None,
            egress_limit: None,
            attachment: Attachment::Create,
            command: None,
        }
    }

    /// The addresses it asks for.
    pub fn asked(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let first = [self.ip.map(IpAddr::V4), self.ip6.map(IpAddr::V6)].into_iter().flatten();
        first.chain(self.more.iter().filter_map(|further| further.ip))
    }

    /// The name of its device inside its namespace.
    pub fn ifname(&self) -> &str {
        self.ifname.as_deref().unwrap_or("eth0")
    }
}

/// How fast packets may go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Bytes a second.
    pub rate: u64,
    /// Bytes at once.
    pub burst: u32,
}

/// An address besides the first of each family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FurtherAddress {
    /// The address; `None`: one that is free.
    pub ip: Option<IpAddr>,
    /// Where it is chosen, from the first range that has a free one.
    #[serde(default)]
    pub ranges: Vec<AddressRange>,
}

/// Addresses of one family that an endpoint's may be chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRange {
    /// The first of them.
    pub first: IpAddr,
    /// The last of them.
    pub last: IpAddr,
}

impl AddressRange {
    /// All addresses of a subnet.
    pub fn whole(net: IpNet) -> Self {
        Self { first: net.network(), last: net.broadcast() }
    }

    /// Whether it has an address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.first <= ip && ip <= self.last
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The network namespace of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attachment {
    /// netfast makes the namespace and removes it.
    Create,
    /// An existing one, by path; names (`ip netns`) become paths under `/run/netns` when read.
    Path(PathBuf),
    /// An existing one: that of a process.
    Pid(u32),
    /// An existing one, by path, in which another plugin made the endpoint's device and gave it its addresses. What is ours of
    /// it is what the programs do.
    Adopted(PathBuf),
}

impl Attachment {
    /// Whether another plugin made the endpoint's device.
    pub const fn is_adopted(&self) -> bool {
        matches!(self, Self::Adopted(_))
    }
}

/// A port an endpoint serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamedPort {
    /// The name policies may call it by.
    pub name: Option<String>,
    /// Number, 1 to 65535.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// JSON has no map with structured keys: endpoints are stored as a list.
pub(super) mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Endpoint, EndpointId};

    pub(in crate::model) fn serialize<S: Serializer>(
        endpoints: &BTreeMap<EndpointId, Endpoint>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(endpoints.values())
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<EndpointId, Endpoint>, D::Error> {
        let list = Vec::<Endpoint>::deserialize(deserializer)?;
        Ok(list.into_iter().map(|e| (e.id.clone(), e)).collect())
    }
}
