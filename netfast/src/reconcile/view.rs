//! What an instance looks like from outside: the stable shape of `-o json`, and what tables are made of.
//!
//! Fields are only ever added. Addresses, MACs and names are text as the field writes them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Serialize;

use super::flows::TableView;
use crate::model::Labels;

/// A whole instance.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceView {
    /// Whether it is up.
    pub up: bool,
    /// Where its definitions are.
    pub state_dir: PathBuf,
    /// Where its attachments are.
    pub run_dir: PathBuf,
    /// Where its programs and maps are pinned.
    pub bpffs: PathBuf,
    /// What is not as it should be, in plain words.
    pub problems: Vec<String>,
    /// What netfast does not do on this host, in plain words.
    pub limits: Vec<String>,
    /// Networks, by name.
    pub networks: Vec<NetworkView>,
    /// Endpoints, by namespace and name.
    pub endpoints: Vec<EndpointView>,
    /// Published ports, by host port.
    pub ports: Vec<PortView>,
    /// Devices that lead outside.
    pub uplinks: Vec<UplinkView>,
    /// Loaded programs.
    pub programs: Vec<ProgramView>,
    /// Which eBPF object they are from; `None`: nothing is loaded.
    pub object: Option<ObjectView>,
    /// How full the maps are, and what they cost.
    pub maps: Vec<MapView>,
    /// Where programs are attached.
    pub links: Vec<LinkView>,
    /// Denied sources.
    pub deny: Vec<String>,
    /// Policies in force, as `namespace/name`.
    pub policies: Vec<String>,
    /// Number of the world in force.
    pub generation: u32,
    /// Monitors that the programs write events for.
    pub monitors: usize,
    /// The tables of flows; `None` unless it is up.
    pub flows: Option<TableView>,
    /// What became of packets.
    pub counters: CounterView,
}

/// A network.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkView {
    /// Its name.
    pub name: String,
    /// Its bridge; `None`: another plugin made the network.
    pub bridge: Option<String>,
    /// IPv4 subnet.
    pub subnet: Option<String>,
    /// IPv6 subnet.
    pub subnet6: Option<String>,
    /// The gateway's IPv4 address.
    pub gateway: Option<Ipv4Addr>,
    /// The gateway's IPv6 address.
    pub gateway6: Option<Ipv6Addr>,
    /// Subnets besides these two.
    pub more: Vec<SubnetView>,
    /// Without outside.
    pub internal: bool,
    /// Reachable from outside by its own addresses.
    pub routed: bool,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// How many endpoints it has.
    pub endpoints: usize,
}

/// A subnet of a network.
#[derive(Clone, Debug, Serialize)]
pub struct SubnetView {
    /// Its addresses.
    pub subnet: String,
    /// The gateway's address.
    pub gateway: IpAddr,
}

/// An endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointView {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// Its network.
    pub network: String,
    /// IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// Addresses besides these two.
    pub more: Vec<IpAddr>,
    /// MAC address.
    pub mac: String,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// It may send from its own addresses only.
    pub source_check: bool,
    /// Packets are redirected into its namespace.
    pub redirect: bool,
    /// Path of its network namespace.
    pub netns: PathBuf,
    /// The host's end of its veth.
    pub host_ifname: String,
    /// Index of that end; `None`: it is not there.
    pub host_ifindex: Option<u32>,
    /// Ports it serves.
    pub ports: Vec<NamedPortView>,
    /// Ports of the host that lead to it, as `docker run -p` writes them.
    pub publish: Vec<String>,
    /// Its command's process, if it has one and it runs.
    pub pid: Option<u32>,
    /// Isolation per direction.
    pub isolation: IsolationView,
    /// Whether packets pass: programs attached, row ready.
    pub ready: bool,
    /// Packets dropped on its account, by reason.
    pub drops: BTreeMap<String, u64>,
    /// First packets of flows that policies under audit would have dropped on its account, by reason.
    pub audited: BTreeMap<String, u64>,
}

/// A port an endpoint serves.
#[derive(Clone, Debug, Serialize)]
pub struct NamedPortView {
    /// Its name.
    pub name: Option<String>,
    /// Its number.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
}

/// Both directions' isolation.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IsolationView {
    /// What comes in.
    pub ingress: DirectionView,
    /// What goes out.
    pub egress: DirectionView,
}

/// One direction's isolation.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DirectionView {
    /// Whether any policy isolates it.
    pub isolated: bool,
    /// Those that do, as `namespace/name`.
    pub policies: Vec<String>,
    /// Where these are written, in their order, as `file:line`.
    pub sources: Vec<String>,
}

/// A published port, or a range of them.
#[derive(Clone, Debug, Serialize)]
pub struct PortView {
    /// The host's address; `None`: all of them.
    pub host_ip: Option<IpAddr>,
    /// The host's port or range, as `8080` or `8000-8010`.
    pub host: String,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The endpoint, as `name` or `namespace/name`.
    pub endpoint: String,
    /// The endpoint's port or range.
    pub container: String,
    /// Blocks of sources that may use it; empty: everybody may.
    pub from: Vec<IpNet>,
}

/// An uplink.
#[derive(Clone, Debug, Serialize)]
pub struct UplinkView {
    /// The device.
    pub device: String,
    /// Its index.
    pub ifindex: u32,
    /// The address IPv4 is masqueraded with.
    pub ip: Option<Ipv4Addr>,
    /// The address IPv6 is masqueraded with.
    pub ip6: Option<Ipv6Addr>,
    /// How the deny list is enforced there: `xdp-native`, `xdp-generic`, `tcx`; `None`: the list is empty.
    pub deny: Option<&'static str>,
}

/// A loaded program.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramView {
    /// Its name.
    pub name: String,
    /// The kernel's number for it.
    pub id: u32,
    /// `sched_cls`, `xdp`, `cgroup_sock_addr` or `cgroup_sock`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// An eBPF object. Objects are told apart by digests of 16 hexadecimal digits.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectView {
    /// The one whose programs are in force.
    pub digest: String,
    /// The one that this netfast carries.
    pub own: &'static str,
    /// Whether everything in force is this netfast's. If not, the next change replaces it.
    pub is_own: bool,
}

/// A map.
#[derive(Clone, Debug, Serialize)]
pub struct MapView {
    /// Its name.
    pub name: &'static str,
    /// The key under `limits` that is its size; `None`: it cannot be set.
    pub limit: Option<&'static str>,
    /// Rows it may hold.
    pub size: u32,
    /// Rows it holds; `None` where all are always there.
    pub used: Option<u32>,
    /// Kernel memory in bytes.
    pub bytes: u64,
}

/// A place a program is attached to.
#[derive(Clone, Debug, Serialize)]
pub struct LinkView {
    /// The program.
    pub program: String,
    /// `tcx`, `clsact`, `xdp-native`, `xdp-generic` or `cgroup`.
    pub hook: &'static str,
    /// `ingress` or `egress` as the device sees it; `None` for cgroup hooks.
    pub direction: Option<&'static str>,
    /// The device, or the cgroup's path.
    pub target: String,
    /// The kernel's number for the program that runs there; `None` for cgroup hooks.
    pub program_id: Option<u32>,
    /// Whether it is still in place.
    pub alive: bool,
}

/// Counters of the instance.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CounterView {
    /// Packets that were let through, by the way they went.
    pub paths: BTreeMap<String, CountView>,
    /// Packets that were dropped, by reason.
    pub drops: BTreeMap<String, CountView>,
    /// First packets of flows that policies under audit would have dropped, by reason.
    pub audited: BTreeMap<String, CountView>,
}

/// A packet and a byte count.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CountView {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the Ethernet header on.
    pub bytes: u64,
}
