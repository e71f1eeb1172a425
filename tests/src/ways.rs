//! Every way a packet can take through the datapath, and what is to be seen at its end.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use crate::lab::{HOST_V4, HOST_V6, Lab, OUTSIDE_V4, OUTSIDE_V6};
use crate::ns::Ns;
use crate::raw::Raw;

/// Long enough for a busy machine: what is to arrive is not to fail a test by coming late.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ports that a bridge has until endpoints do without.
const PORTS: usize = 64;

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
  other: {subnet: 10.78.0.0/24, subnet6: 'fd78::/64'}
  open: {subnet: 10.79.0.0/24, subnet6: 'fd79::/64', routed: true}
endpoints:
  web: {network: lab, ip: 10.77.0.10, ip6: 'fd77::10', publish: ['8080:80', '5353:53/udp']}
  client: {network: lab, ip: 10.77.0.20, ip6: 'fd77::20'}
  foreigner: {network: other, ip: 10.78.0.20, ip6: 'fd78::20'}
  public: {network: open, ip: 10.79.0.20, ip6: 'fd79::20'}
";

/// Who sends or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The endpoint of this name.
    Endpoint(&'static str),
    /// The host.
    Host,
    /// The world outside.
    Outside,
}
use Who::{Endpoint, Host, Outside};

/// One way through the datapath.
#[derive(Debug)]
pub struct Way {
    /// For messages.
    pub name: &'static str,
    /// Who asks.
    pub from: Who,
    /// Where it is sent to, IPv4 and IPv6.
    pub to: [&'static str; 2],
    /// Whether that is a published port, which pings do not have.
    pub is_published: bool,
    /// Who answers.
    pub server: Who,
    /// The source that the server sees, IPv4 and IPv6.
    pub seen: [&'static str; 2],
    /// Who drops it when nobody may receive, and when nobody may send.
    pub denied: [Option<&'static str>; 2],
}

const HOST: [&str; 2] = [HOST_V4, HOST_V6];
const OUTSIDE: [&str; 2] = [OUTSIDE_V4, OUTSIDE_V6];
const GATEWAY: [&str; 2] = ["10.77.0.1", "fd77::1"];
const WEB: [&str; 2] = ["10.77.0.10", "fd77::10"];
const CLIENT: [&str; 2] = ["10.77.0.20", "fd77::20"];
const FOREIGNER: [&str; 2] = ["10.78.0.20", "fd78::20"];
const PUBLIC: [&str; 2] = ["10.79.0.20", "fd79::20"];

/// All of them.
#[rustfmt::skip]
pub const WAYS: [Way; 14] = [
    Way { name: "endpoint to endpoint", from: Endpoint("client"), to: WEB, is_published: false,
        server: Endpoint("web"), seen: CLIENT, denied: [Some("web"), Some("client")] },
    Way { name: "outside to a published port", from: Outside, to: HOST, is_published: true,
        server: Endpoint("web"), seen: OUTSIDE, denied: [Some("web"), None] },
    Way { name: "endpoint to outside", from: Endpoint("client"), to: OUTSIDE, is_published: false,
        server: Outside, seen: HOST, denied: [None, Some("client")] },
    Way { name: "host to endpoint", from: Host, to: WEB, is_published: false,
        server: Endpoint("web"), seen: GATEWAY, denied: [None, None] },
    Way { name: "host to a port published on the loopback", from: Host, to: ["127.0.0.1", "::1"],
        is_published: true, server: Endpoint("web"), seen: GATEWAY, denied: [None, None] },
    Way { name: "host to a port published on its own address", from: Host, to: HOST,
        is_published: true, server: Endpoint("web"), seen: GATEWAY, denied: [None, None] },
    Way { name: "endpoint to another's published port", from: Endpoint("client"), to: HOST, is_published: true,
        server: Endpoint("web"), seen: CLIENT, denied: [Some("web"), Some("client")] },
    Way { name: "endpoint to another's published port at the gateway", from: Endpoint("client"), to: GATEWAY,
        is_published: true, server: Endpoint("web"), seen: CLIENT, denied: [Some("web"), Some("client")] },
    Way { name: "endpoint of another network to a published port", from: Endpoint("foreigner"), to: HOST,
        is_published: true, server: Endpoint("web"), seen: FOREIGNER, denied: [Some("web"), Some("foreigner")] },
    Way { name: "endpoint to its own published port", from: Endpoint("web"), to: HOST, is_published: true,
        server: Endpoint("web"), seen: GATEWAY, denied: [None, None] },
    Way { name: "routed endpoint to outside", from: Endpoint("public"), to: OUTSIDE, is_published: false,
        server: Outside, seen: PUBLIC, denied: [None, Some("public")] },
    Way { name: "outside to a routed endpoint", from: Outside, to: PUBLIC, is_published: false,
        server: Endpoint("public"), seen: OUTSIDE, denied: [Some("public"), None] },
    Way { name: "endpoint to its gateway", from: Endpoint("client"), to: GATEWAY, is_published: false,
        server: Host, seen: CLIENT, denied: [None, Some("client")] },
    Way { name: "endpoint to the host", from: Endpoint("client"), to: HOST, is_published: false,
        server: Host, seen: CLIENT, denied: [None, Some("client")] },
];

/// What is asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A TCP connection, and a question in it.
    Tcp,
    /// A datagram.
    Udp,
    /// A ping, by either ICMP.
    Icmp,
}

/// All of them.
pub const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];

/// A lab with endpoints, and servers for TCP (port 80) and UDP (port 53) everywhere.
#[expect(missing_debug_implementations, reason = "servers of several types are in it")]
pub struct Ways {
    /// The lab.
    pub lab: Lab,
    endpoints: Vec<Ns>,
    servers: Vec<Box<dyn Send>>,
}

impl Ways {
    /// A lab of its own, under a policy or without.
    pub fn new(policy: Option<&str>) -> Result<Self> {
        Self::in_lab(Lab::new()?, policy)
    }

    /// As [`Self::new`], in networks whose bridges have all the ports that they are to have: the endpoints of all ways are none.
    pub fn in_a_crowd(policy: Option<&str>) -> Result<Self> {
        let lab = Lab::new()?;
        let mut crowd = MANIFEST.to_owned();
        // Those that come first in the alphabet come first, as they are made.
        for (name, network) in ["lab", "other", "open"].iter().flat_map(|n| (0..PORTS).map(move |i| (i, n))) {
            writeln!(crowd, "  a{name:02}-{network}: {{network: {network}}}")?;
        }
        Self::with(lab, &crowd, policy)
    }

    /// Brings netfast up in a lab.
    pub fn in_lab(lab: Lab, policy: Option<&str>) -> Result<Self> {
        Self::with(lab, MANIFEST, policy)
    }

    fn with(lab: Lab, manifest: &str, policy: Option<&str>) -> Result<Self> {
        lab.file("policy.yaml", policy.unwrap_or_default())?;
        let policies = if policy.is_some() { "policies: [policy.yaml]\n" } else { "" };
        lab.up(&format!("{manifest}{policies}"))?;
        lab.outside.ip(&format!("route add 10.79.0.0/24 via {HOST_V4}"))?;
        lab.outside.ip(&format!("-6 route add fd79::/64 via {HOST_V6}"))?;
        let names = ["web", "client", "foreigner", "public"].into_iter();
        let endpoints = names.map(|name| lab.endpoint_ns(name)).collect::<Result<_>>()?;
        let mut ways = Self { lab, endpoints, servers: Vec::new() };
        for (who, addresses) in [
            (Endpoint("web"), vec![WEB]),
            (Endpoint("public"), vec![PUBLIC]),
            (Outside, vec![OUTSIDE]),
            (Host, vec![HOST, GATEWAY]),
        ] {
            let ns = ways.ns(who)?.clone();
            ways.servers.push(Box::new(ns.tcp_serve("[::]:80")?));
            for address in addresses.iter().flatten() {
                ways.servers.push(Box::new(ns.udp_serve(&at(address, 53)?)?));
            }
        }
        Ok(ways)
    }

    /// Where somebody lives.
    pub fn ns(&self, who: Who) -> Result<&Ns> {
        match who {
            Host => Ok(&self.lab.host),
            Outside => Ok(&self.lab.outside),
            Endpoint(name) => self.endpoints.iter().find(|ns| ns.name() == name).context("no such endpoint"),
        }
    }

    /// Hears what arrives at the end of a way.
    pub fn listen(&self, way: &Way) -> Result<Raw> {
        let device = match way.server {
            Endpoint(_) | Outside => "eth0".to_owned(),
            Host => {
                let status = self.lab.netfast_json(&["status"])?;
                let mut networks = status["networks"].as_array().into_iter().flatten();
                let lab = networks.find(|network| network["name"] == "lab").context("the network is gone")?;
                lab["bridge"].as_str().context("the network has no bridge")?.to_owned()
            }
        };
        self.ns(way.server)?.raw(&device)
    }

    /// Asks by one way, and returns the source the server saw, if it answered.
    pub fn ask(&self, way: &Way, family: usize, protocol: Protocol, timeout: Duration) -> Result<IpAddr> {
        let (from, to) = (self.ns(way.from)?, way.to[family]);
        let port = |own, published| if way.is_published { published } else { own };
        let reply = match protocol {
            Protocol::Tcp => from.tcp_ask(&at(to, port(80, 8080))?, timeout)?,
            Protocol::Udp => from.udp_ask(&at(to, port(53, 5353))?, timeout)?,
            Protocol::Icmp => {
                let heard = self.listen(way)?;
                from.ping(to, timeout)?;
                let mut source = None;
                heard.find(timeout, |packet| {
                    source = asker(packet, protocol);
                    source.is_some()
                });
                return source.context("nobody saw the ping");
            }
        };
        ensure!(reply.by == self.ns(way.server)?.name(), "{} answered", reply.by);
        Ok(reply.seen_source.ip())
    }

    /// Whether packets arrive by one way, from whom they should.
    pub fn reaches(&self, way: &Way, family: usize, protocol: Protocol) -> Result<()> {
        let seen = self.ask(way, family, protocol, PATIENCE)?;
        ensure!(seen.to_string() == way.seen[family], "{seen} was seen");
        Ok(())
    }

    /// Goes all ways, by `go` of way, family (0 or 1) and protocol; tells of all that failed.
    pub fn all(&self, go: impl Fn(&Way, usize, Protocol) -> Result<()>) -> Result<()> {
        let mut wrong = Vec::new();
        for way in &WAYS {
            for (family, protocol) in [0, 1].into_iter().flat_map(|family| PROTOCOLS.map(|p| (family, p))) {
                if way.is_published && protocol == Protocol::Icmp {
                    continue;
                }
                if let Err(error) = go(way, family, protocol) {
                    wrong.push(format!("{}, {protocol:?} to {}: {error:#}", way.name, way.to[family]));
                }
            }
        }
        if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
    }
}

fn at(address: &str, port: u16) -> Result<String> {
    Ok(SocketAddr::new(address.parse()?, port).to_string())
}

/// The source of a packet, if it asks a server something by this protocol.
pub fn asker(packet: &SlicedPacket<'_>, protocol: Protocol) -> Option<IpAddr> {
    let asks = match (&packet.transport, protocol) {
        (Some(TransportSlice::Tcp(tcp)), Protocol::Tcp) => tcp.destination_port() == 80,
        (Some(TransportSlice::Udp(udp)), Protocol::Udp) => udp.destination_port() == 53,
        (Some(TransportSlice::Icmpv4(icmp)), Protocol::Icmp) => icmp.type_u8() == 8,
        (Some(TransportSlice::Icmpv6(icmp)), Protocol::Icmp) => icmp.type_u8() == 128,
        _ => false,
    };
    match &packet.net {
        Some(NetSlice::Ipv4(ip)) if asks => Some(ip.header().source_addr().into()),
        Some(NetSlice::Ipv6(ip)) if asks => Some(ip.header().source_addr().into()),
        _ => None,
    }
}
