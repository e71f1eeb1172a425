//! Policies: Kubernetes `NetworkPolicy` v1, with its defaults made explicit.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Name, Selector};

/// A network policy. Policies add up: a connection is allowed if the sender's egress side and the receiver's
/// ingress side each are not isolated, or have a rule that allows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its namespace: it concerns only endpoints of this one.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Where it was read.
    pub source: Source,
    /// The endpoints it isolates.
    pub selector: Selector,
    /// What may come in; `None`: it does not isolate for ingress.
    pub ingress: Option<Vec<Rule>>,
    /// What may go out; `None`: it does not isolate for egress.
    pub egress: Option<Vec<Rule>>,
    /// It is under audit: not enforced, and what it would have dropped is counted and told.
    #[serde(default)]
    pub audit: bool,
}

/// What a change of policies does to flows that were established before: those that have been answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Established {
    /// Their next packet is judged by the new policies.
    #[default]
    Recheck,
    /// They go on, whatever the new policies say.
    Keep,
}

/// A place in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One rule: any of the peers, on any of the ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Where it was read.
    pub source: Source,
    /// The peers; `None`: everyone, outsiders included. Never an empty list.
    pub peers: Option<Vec<Peer>>,
    /// The ports; `None`: every port of every protocol. Never an empty list.
    pub ports: Option<Vec<PortMatch>>,
}

/// Who stands at the other end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// Endpoints by their labels and those of their namespace.
    Endpoints {
        /// The namespaces; `None`: the policy's own.
        namespaces: Option<Selector>,
        /// The endpoints in them.
        endpoints: Selector,
    },
    /// Addresses, those of endpoints included.
    Block {
        /// The block, host bits zero.
        cidr: IpNet,
        /// Holes in it, each strictly inside, host bits zero.
        except: Vec<IpNet>,
    },
}

/// Ports of one protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortMatch {
    /// The protocol.
    pub protocol: Protocol,
    /// Which of its ports.
    pub ports: Ports,
}

/// Which ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ports {
    /// All of them.
    Any,
    /// Those of a range.
    Range(PortRange),
    /// Those the serving endpoint calls by this name.
    Named(String),
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest, at least 1.
    pub first: u16,
    /// The highest, at least `first`.
    pub last: u16,
}

impl PortRange {
    /// A range of one port.
    pub const fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// How many ports it holds.
    pub fn count(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Whether a port is in it.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether the two ranges share a port.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A transport protocol that policies and published ports may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => netfast_common::protocol::TCP,
            Self::Udp => netfast_common::protocol::UDP,
            Self::Sctp => netfast_common::protocol::SCTP,
        }
    }

    /// Lower-case name, as in `80/tcp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
