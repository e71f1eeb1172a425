//! What one end wants of the other.

use anyhow::{Result, bail};
use netfast_common::protocol;

use super::{End, Judge};
use crate::compile::policy::Family;
use crate::model::Protocol;

/// What one end wants of the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// A port.
    Port(Protocol, u16),
    /// A port by the name it has at the receiver, of any protocol where none is said.
    Named(String, Option<Protocol>),
    /// Any port of a protocol: one that no rule names.
    AnyPort(Protocol),
    /// A protocol without ports, by its number.
    Protocol(u8),
    /// An ICMP echo, of either family.
    Echo,
    /// Anything: allowed only by what is not restricted to ports or protocols.
    Anything,
}

/// What a packet shows of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) protocol: u8,
    pub(super) port: u16,
}

impl Service {
    /// What its packets show.
    pub(super) fn wanted(&self, family: Family) -> Wanted {
        let (protocol, port) = match self {
            Self::Port(protocol, port) => (protocol.number(), *port),
            // No rule for a port holds port 0.
            Self::AnyPort(protocol) => (protocol.number(), 0),
            Self::Protocol(number) => (*number, 0),
            Self::Echo if family == Family::V4 => (protocol::ICMP, 0),
            Self::Echo => (protocol::ICMPV6, 0),
            // Nor does any rule name protocol 0, or a name that was not resolved.
            Self::Anything | Self::Named(..) => (0, 0),
        };
        Wanted { protocol, port }
    }

    /// Its port, if that can be published.
    pub(super) const fn port(&self) -> Option<(Protocol, u16)> {
        if let Self::Port(protocol, port) = self { Some((*protocol, *port)) } else { None }
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port(protocol, port) => write!(f, "{port}/{protocol}"),
            Self::Named(name, Some(protocol)) => write!(f, "{name}/{protocol}"),
            Self::Named(name, None) => f.write_str(name),
            Self::AnyPort(protocol) => write!(f, "{protocol}"),
            Self::Protocol(number) => write!(f, "protocol {number}"),
            Self::Echo => f.write_str("icmp"),
            Self::Anything => f.write_str("any"),
        }
    }
}

impl Judge {
    /// A service with the number that a port's name stands for at the receiver.
    ///
    /// # Errors
    /// When the receiver knows no such name, or several ports by it.
    pub(super) fn resolve(&self, service: &Service, to: &End) -> Result<Service> {
        let Service::Named(name, protocol) = service else { return Ok(service.clone()) };
        let Some(endpoint) = to.endpoint().and_then(|id| self.endpoint(id)) else {
            bail!("only endpoints have names for ports, and {} is none (give the number)", to.name());
        };
        let served = endpoint.ports.iter().filter(|port| {
            port.name.as_ref() == Some(name) && protocol.is_none_or(|protocol| protocol == port.protocol)
        });
        let services: Vec<_> = served.map(|port| Service::Port(port.protocol, port.port)).collect();
        let list =
            |services: &[Service]| services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match services.as_slice() {
            [one] => Ok(one.clone()),
            [] => {
                let named = endpoint.ports.iter().filter_map(|port| port.name.clone()).collect::<Vec<_>>();
                let known = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
                bail!("{} has no port called {service} (known: {known})", endpoint.id)
            }
            several => {
                bail!("{} has several ports called {name} (say which: {})", endpoint.id, list(several))
            }
        }
    }
}
