//! The verdict on a connection, from the tables: the very evaluation the kernel makes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netfast_common::addr::Addr;
use netfast_common::policy::{RuleKey, RuleRow, Verdict, evaluate};
use netfast_common::rows::Subject;

use super::{Prefix, Tables};
use crate::model::EndpointId;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// One end of a connection. Both ends are of one family, but behind a published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// An endpoint, by its first address of a family.
    Endpoint(EndpointId, Family),
    /// An endpoint, by an address that is not the first of its family.
    Further(EndpointId, IpAddr),
    /// An address that is no endpoint's.
    Outside(IpAddr),
    /// The own host, by one of its addresses; the unspecified one where none is known. Endpoints always let it in; what
    /// they send to it is judged as to an address outside.
    Host(IpAddr),
}

/// The verdicts of both ends. An end outside is always open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What the sender's egress side says.
    pub egress: Verdict,
    /// What the receiver's ingress side says.
    pub ingress: Verdict,
    /// Whether the connection may be made: both agree.
    pub allowed: bool,
}

impl Tables {
    /// The verdict on a new connection; `None` if an end is an endpoint these tables do not have. Protocols without
    /// ports ask with port 0. An endpoint's traffic to itself is none of policy's business and not to be asked.
    pub fn verdict(&self, from: &Side, to: &Side, protocol: u8, port: u16) -> Option<Explained> {
        let (sender, source) = self.resolve(from)?;
        let (receiver, destination) = self.resolve(to)?;
        let ask = |set, peer| evaluate(set, peer, protocol, port, |key| lookup(&self.rules, key));
        let egress = ask(sender.egress, destination);
        let ingress = ask(receiver.ingress, source);
        Some(Explained { egress, ingress, allowed: egress.passes() && ingress.passes() })
    }

    /// The identity of an address that is no endpoint's, or not the first of its family.
    pub fn identity_outside(&self, addr: IpAddr) -> u32 {
        let bits = u128::from_be_bytes(Addr::from(addr).octets());
        let mut matches = (0..=Addr::BITS).rev().filter_map(|len| {
            let mask = u128::MAX.checked_shl(Addr::BITS - len).unwrap_or(0);
            let addr = Addr::from_v6((bits & mask).to_be_bytes());
            self.cidrs.get(&Prefix { addr, len }).copied()
        });
        // `::/0` is always there.
        matches.next().unwrap_or_default()
    }

    fn resolve(&self, side: &Side) -> Option<(Subject, u32)> {
        match side {
            Side::Endpoint(id, family) => {
                let subject = *self.subjects.get(id)?;
                let identity = match family {
                    Family::V4 => subject.identity4,
                    Family::V6 => subject.identity6,
                };
                Some((subject, identity))
            }
            Side::Further(id, addr) => Some((*self.subjects.get(id)?, self.identity_outside(*addr))),
            Side::Outside(addr) | Side::Host(addr) => {
                Some((Subject::default(), self.identity_outside(*addr)))
            }
        }
    }
}

/// The longest match of a full key, as the kernel's trie finds it.
pub fn lookup(rules: &BTreeMap<(RuleKey, u32), RuleRow>, key: &RuleKey) -> Option<RuleRow> {
    let port = u16::from_be_bytes(key.port_be);
    let by_port = (RuleKey::ANY_PORT..=RuleKey::FULL).rev().map(|len| {
        let mask = u16::MAX.checked_shl(RuleKey::FULL - len).unwrap_or(0);
        (RuleKey::new(key.set, key.identity, key.protocol, port & mask), len)
    });
    let any_protocol = (RuleKey::new(key.set, key.identity, 0, 0), RuleKey::ANY_PROTOCOL);
    by_port.chain([any_protocol]).find_map(|row| rules.get(&row).copied())
}
