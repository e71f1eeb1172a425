//! The work whose speed is measured: a client and a server, each a thread in its own namespace.

mod ask;
mod connect;
mod datagrams;
mod slice;
mod sockets;
mod stream;
mod times;
mod volume;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use serde::Serialize;

pub(super) use self::slice::Slice;
use super::metric::Metric;
use super::peers::Ends;

/// What a client and a server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// A byte there and a byte back, on one connection.
    TcpRr,
    /// A connection for each byte there and back; the server closes it.
    TcpCrr,
    /// A datagram there and a datagram back.
    UdpRr,
    /// As many bytes as there can be, on one connection.
    TcpStream,
    /// As many datagrams as there can be.
    UdpStream,
}

/// What was measured once.
pub(super) type Values = BTreeMap<Metric, f64>;

impl Workload {
    /// What it is called by programs.
    pub const fn id(self) -> &'static str {
        match self {
            Self::TcpRr => "tcp-rr",
            Self::TcpCrr => "tcp-crr",
            Self::UdpRr => "udp-rr",
            Self::TcpStream => "tcp-stream",
            Self::UdpStream => "udp-stream",
        }
    }

    /// Whether it is to last as short as possible, rather than to move as much as possible.
    const fn is_of_latency(self) -> bool {
        matches!(self, Self::TcpRr | Self::TcpCrr | Self::UdpRr)
    }

    /// Does the work once.
    pub(super) fn run(self, ends: &Ends<'_>, slice: &Slice) -> Result<Values> {
        let slice = slice.for_latency(self.is_of_latency());
        match self {
            Self::TcpRr => ask::tcp(ends, &slice),
            Self::TcpCrr => connect::run(ends, &slice),
            Self::UdpRr => ask::udp(ends, &slice),
            Self::TcpStream => stream::run(ends, &slice),
            Self::UdpStream => datagrams::run(ends, &slice),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TcpRr => "TCP_RR",
            Self::TcpCrr => "TCP_CRR",
            Self::UdpRr => "UDP_RR",
            Self::TcpStream => "TCP stream",
            Self::UdpStream => "UDP stream",
        })
    }
}
