//! Who is measured: each peer is a host with two containers and a world outside, in namespaces of its own.

mod bridge;
mod cgroup;
mod ground;
pub(super) mod iptables;
mod netfast;
pub(super) mod nftables;
mod runtimes;
mod tool;

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

pub(super) use self::ground::{BRIDGE, DEVICE, Ground, HOST, OUTSIDE, SERVER, UPLINK};
pub(super) use self::iptables::Backend;
pub(super) use self::netfast::Installed;
use self::runtimes::Runtime;
use super::plan::{Scale, Way};
use crate::net::Netns;

/// Somebody who moves packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// A veth pair between two containers, and nothing else: the limit.
    Direct,
    /// A Linux bridge, which packets do not leave for iptables.
    Bridge,
    /// A Linux bridge with `br_netfilter` on, but without any rules.
    BridgeFiltered,
    /// A bridge with iptables rules as Docker writes them, in nftables' tables.
    IptablesNft,
    /// The same in iptables' own tables.
    IptablesLegacy,
    /// A bridge with nftables rules, the published ports in a map.
    NftMaps,
    /// netfast.
    Netfast,
    /// Docker with its default network.
    Dockerd,
    /// Podman with its default network, made by CNI plugins.
    PodmanCni,
    /// Podman with its default network, made by netavark.
    PodmanNetavark,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Direct,
        Self::Bridge,
        Self::BridgeFiltered,
        Self::IptablesNft,
        Self::IptablesLegacy,
        Self::NftMaps,
        Self::Netfast,
        Self::Dockerd,
        Self::PodmanCni,
        Self::PodmanNetavark,
    ];

    /// What it is called by programs.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Bridge => "bridge",
            Self::BridgeFiltered => "bridge-filtered",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::NftMaps => "nft-maps",
            Self::Netfast => "netfast",
            Self::Dockerd => "dockerd",
            Self::PodmanCni => "podman-cni",
            Self::PodmanNetavark => "podman-netavark",
        }
    }

    /// What it is, in a line.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Direct => "a veth pair between two containers and nothing else: the limit",
            Self::Bridge => "Linux bridge, br_netfilter off, no rules, no connection tracking",
            Self::BridgeFiltered => "Linux bridge, br_netfilter on, no rules, no connection tracking",
            Self::IptablesNft => {
                "Linux bridge, br_netfilter on, iptables rules as Docker writes them (nftables back end), connection tracking"
            }
            Self::IptablesLegacy => {
                "Linux bridge, br_netfilter on, iptables rules as Docker writes them (legacy back end), connection tracking"
            }
            Self::NftMaps => {
                "Linux bridge, br_netfilter on, nftables rules with the published ports in a map, connection tracking"
            }
            Self::Netfast => {
                "netfast, br_netfilter on, connection tracking, and a policy in force for both containers"
            }
            Self::Dockerd => {
                "containers of dockerd in its default network, br_netfilter on, as Docker sets it up"
            }
            Self::PodmanCni => {
                "containers of Podman in its default network, made by CNI plugins, br_netfilter on"
            }
            Self::PodmanNetavark => {
                "containers of Podman in its default network, made by netavark, br_netfilter on"
            }
        }
    }

    /// Whether `br_netfilter` is on in its host's namespace.
    pub const fn is_filtered(self) -> bool {
        !matches!(self, Self::Direct | Self::Bridge)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// Where the ends of a connection are.
pub(super) struct Ends<'a> {
    pub(super) client: &'a Netns,
    pub(super) server: &'a Netns,
    /// Where the server listens.
    pub(super) port: u16,
    /// Where the client connects to.
    pub(super) target: SocketAddr,
}

/// The port of a server that is reached by its own address.
const OWN_PORT: u16 = 20_000;

/// The first published port. Those of an endpoint have the same numbers.
pub(super) const FIRST_PORT: u16 = 100;

/// A peer that has been built.
pub(super) struct Stage {
    pub(super) peer: Peer,
    pub(super) scale: Scale,
    /// `None`: two ends of a wire have no host.
    pub(super) ground: Option<Ground>,
    client: Netns,
    server: Netns,
    /// The server's address.
    address: Ipv4Addr,
    /// netfast, taken down with it.
    pub(super) installed: Option<Installed>,
    /// The runtime, which ends with it.
    _runtime: Option<Runtime>,
}

/// What a peer is built with.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// For files.
    pub(super) directory: PathBuf,
    /// The cgroup that netfast's host programs are attached to.
    pub(super) cgroup: PathBuf,
}

impl Stage {
    /// Builds a peer.
    pub(super) fn new(peer: Peer, scale: Scale, site: &Site) -> Result<Self> {
        if peer == Peer::Direct {
            return Ok(Self::of(peer, scale, None, ground::wired()?));
        }
        let ground = Ground::new()?;
        set_filtering(&ground.host, peer.is_filtered())?;
        match peer {
            Peer::Netfast => {
                let installed = Installed::new(&ground, scale, site)?;
                let containers = installed.containers()?;
                return Ok(Self {
                    installed: Some(installed),
                    ..Self::of(peer, scale, Some(ground), containers)
                });
            }
            Peer::Dockerd | Peer::PodmanCni | Peer::PodmanNetavark => {
                forward(&ground.host)?;
                let runtime = Runtime::new(peer, &ground, site)?;
                let containers = runtime.containers()?;
                let address = runtimes::address(&containers[1])?;
                let stage = Self::of(peer, scale, Some(ground), containers);
                return Ok(Self { address, _runtime: Some(runtime), ..stage });
            }
            _ => {}
        }
        let containers = bridge::containers(&ground)?;
        match peer {
            Peer::IptablesNft => iptables::rules(&ground, Backend::Nft, scale)?,
            Peer::IptablesLegacy => iptables::rules(&ground, Backend::Legacy, scale)?,
            Peer::NftMaps => nftables::rules(&ground, scale)?,
            _ => {}
        }
        Ok(Self::of(peer, scale, Some(ground), containers))
    }

    fn of(peer: Peer, scale: Scale, ground: Option<Ground>, [client, server]: [Netns; 2]) -> Self {
        Self { peer, scale, ground, client, server, address: SERVER, installed: None, _runtime: None }
    }

    /// The ends of a way.
    ///
    /// Published ports have numbers of their own: a flow that was closed a moment ago holds its tuple, and what is
    /// translated to the same one would have to look for another.
    pub(super) fn ends(&self, way: Way) -> Result<Ends<'_>> {
        let port = match way {
            Way::Between | Way::HostToContainer | Way::Outward => OWN_PORT,
            Way::Published | Way::Localhost | Way::Hairpin => middle(self.scale.ports),
        };
        let to = |ip: Ipv4Addr| SocketAddr::new(IpAddr::V4(ip), port);
        if way == Way::Between {
            return Ok(Ends { client: &self.client, server: &self.server, port, target: to(self.address) });
        }
        let ground = self.ground.as_ref().context("there is no host")?;
        let (client, server, target) = match way {
            Way::Between | Way::Hairpin => (&self.client, &self.server, to(HOST)),
            Way::Published => (&ground.outside, &self.server, to(HOST)),
            Way::Outward => (&self.client, &ground.outside, to(OUTSIDE)),
            Way::HostToContainer => (&ground.host, &self.server, to(self.address)),
            Way::Localhost => (&ground.host, &self.server, to(Ipv4Addr::LOCALHOST)),
        };
        Ok(Ends { client, server, port, target })
    }
}

/// The port that is used of so many: neither the first of a list nor the last.
pub(super) const fn middle(ports: u16) -> u16 {
    FIRST_PORT + ports / 2
}

/// The last of so many ports.
const fn last(ports: u16) -> u16 {
    FIRST_PORT + ports - 1
}

/// The rule among so many that lets the client in: the last, as the order of a policy's rules is nobody's to choose.
fn stranger(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(203, 0, high, low)
}

/// Whether bridged packets go to iptables, in one namespace.
fn set_filtering(host: &Netns, on: bool) -> Result<()> {
    const SETTING: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    let written = host.run(|| fs::write(SETTING, if on { "1" } else { "0" }))?;
    match written {
        // Without it, nothing goes there.
        Err(e) if e.kind() == io::ErrorKind::NotFound && !on => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            bail!("br_netfilter is not loaded (try `modprobe br_netfilter`, as Docker does)")
        }
        result => result.with_context(|| format!("set {SETTING}")),
    }
}

/// Lets the host forward, as Docker does.
fn forward(host: &Netns) -> Result<()> {
    const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";
    host.run(|| fs::write(Path::new(SETTING), "1"))?.with_context(|| format!("set {SETTING}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_that_is_used_is_published() {
        for ports in [1, 100, 10_000] {
            assert!((FIRST_PORT..=last(ports)).contains(&middle(ports)), "{ports}");
        }
    }

    #[test]
    fn peers_have_names_of_their_own() {
        for (at, peer) in Peer::ALL.iter().enumerate() {
            assert!(Peer::ALL[at + 1..].iter().all(|other| other.id() != peer.id()));
            assert_eq!(serde_json::to_value(peer).unwrap(), peer.id());
        }
    }
}
