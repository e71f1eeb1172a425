//! Which flows are meant.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use anyhow::{Context, Result};
use ipnet::IpNet;
use netfast_common::conntrack::{
    FLOW_ASSURED, FLOW_ORIGINATOR_FIN, FLOW_REPLIED, FLOW_RESPONDER_FIN, is_closed,
};
use netfast_common::protocol;
use serde::Serialize;

use super::Entry;
use crate::store::Store;

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowState {
    /// TCP: the originator has sent.
    New,
    /// Other protocols: the originator has sent.
    OneWay,
    /// The responder has answered; of TCP half-open, that is, the originator has not acknowledged.
    Replied,
    /// Both sides have heard each other.
    Established,
    /// TCP: one side has sent a FIN.
    Closing,
    /// TCP: both sides have, or one has reset.
    Closed,
}

impl FlowState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::New, Self::OneWay, Self::Replied, Self::Established, Self::Closing, Self::Closed];

    /// The state of a flow with these `FLOW_*` bits.
    pub const fn of(protocol: u8, flags: u64) -> Self {
        if protocol == protocol::TCP {
            if is_closed(flags) {
                return Self::Closed;
            }
            if flags & (FLOW_ORIGINATOR_FIN | FLOW_RESPONDER_FIN) != 0 {
                return Self::Closing;
            }
        }
        match (flags & FLOW_ASSURED != 0, flags & FLOW_REPLIED != 0) {
            (true, _) => Self::Established,
            (false, true) => Self::Replied,
            (false, false) if protocol == protocol::TCP => Self::New,
            (false, false) => Self::OneWay,
        }
    }

    /// Its name in tables, JSON and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::OneWay => "one-way",
            Self::Replied => "replied",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for FlowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FlowState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<_> = Self::ALL.iter().map(|state| state.name()).collect();
        let found = Self::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| format!("there is no such state (there are {})", names.join(", ")))
    }
}

/// Which flows are meant: all of what is said must hold. Addresses and ports are those of either end, as it sends or as
/// it is seen by the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Name of an endpoint.
    pub endpoint: Option<String>,
    /// Block of an address.
    pub addr: Option<IpNet>,
    /// Port, of a protocol that has ports.
    pub port: Option<u16>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// How far it has come.
    pub state: Option<FlowState>,
}

/// A filter that knows its endpoint.
pub(super) struct Resolved<'a> {
    filter: &'a FlowFilter,
    incarnation: Option<u32>,
}

impl FlowFilter {
    /// Whether it selects every flow.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Looks the endpoint up.
    pub(super) fn resolve(&self, store: &Store) -> Result<Resolved<'_>> {
        let incarnation = match &self.endpoint {
            None => None,
            Some(name) => {
                let id = store.definitions()?.world.find_endpoint(name)?.id.clone();
                let record = store.endpoint(&id)?.with_context(|| format!("endpoint {id} is not up"))?;
                Some(record.incarnation)
            }
        };
        Ok(Resolved { filter: self, incarnation })
    }
}

impl Resolved<'_> {
    /// Whether the flow is meant.
    pub(super) fn selects(&self, entry: &Entry) -> bool {
        let FlowFilter { addr, port, protocol, state, .. } = self.filter;
        let flow = &entry.flow;
        let tuples = [entry.original(), entry.seen()];
        let has_ports = matches!(entry.key.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        let is_in = |net: &IpNet| {
            tuples.iter().any(|t| [t.src, t.dst].into_iter().any(|addr| net.contains(&IpAddr::from(addr))))
        };
        self.incarnation.is_none_or(|i| flow.originator.incarnation == i || flow.responder.incarnation == i)
            && addr.as_ref().is_none_or(is_in)
            && port.is_none_or(|port| has_ports && tuples.iter().any(|t| t.sport == port || t.dport == port))
            && protocol.is_none_or(|protocol| entry.key.protocol == protocol)
            && state.is_none_or(|state| FlowState::of(entry.key.protocol, flow.flags) == state)
    }
}

#[cfg(test)]
mod tests {
    use netfast_common::addr::Addr;
    use netfast_common::conntrack::{FLOW_DESTINATION_NAT, FLOW_RST, Flow, Hop};
    use netfast_common::flow::{FlowKey, Side, Tuple};

    use super::*;

    #[test]
    fn states_follow_the_flags() {
        let open = FLOW_REPLIED | FLOW_ASSURED;
        for (protocol, flags, wanted) in [
            (protocol::TCP, 0, "new"),
            (protocol::TCP, FLOW_REPLIED, "replied"),
            (protocol::TCP, open, "established"),
            (protocol::TCP, open | FLOW_RESPONDER_FIN, "closing"),
            (protocol::TCP, open | FLOW_RESPONDER_FIN | FLOW_ORIGINATOR_FIN, "closed"),
            (protocol::TCP, FLOW_RST, "closed"),
            (protocol::UDP, 0, "one-way"),
            (protocol::ICMPV6, FLOW_REPLIED, "replied"),
            (protocol::UDP, open, "established"),
        ] {
            assert_eq!(FlowState::of(protocol, flags).name(), wanted, "{protocol} {flags:#x}");
            assert_eq!(wanted.parse::<FlowState>().unwrap().name(), wanted);
        }
        assert_eq!(
            "open".parse::<FlowState>().unwrap_err(),
            "there is no such state (there are new, one-way, replied, established, closing, closed)"
        );
    }

    /// From 198.51.100.1:5000 to 192.0.2.1:8080, which leads to 10.77.0.4:80 of the endpoint 4.
    fn published(protocol: u8) -> Entry {
        let v4 = |text: &str| Addr::from(text.parse::<IpAddr>().unwrap());
        let original = Tuple {
            src: v4("198.51.100.1"),
            dst: v4("192.0.2.1"),
            sport: 5000,
            dport: 8080,
            protocol,
            pad: [0; 3],
        };
        let (key, side) = original.key();
        assert_eq!(side, Side::B);
        let seen =
            FlowKey { a: original.src, b: v4("10.77.0.4"), a_port: 5000, b_port: 80, protocol, pad: [0; 3] };
        let flow = Flow {
            key: seen,
            flags: FLOW_DESTINATION_NAT,
            originator: Hop { ifindex: 2, incarnation: 0 },
            responder: Hop { ifindex: 7, incarnation: 4 },
            ..Flow::default()
        };
        Entry { key, flow }
    }

    #[test]
    fn both_ends_and_both_tuples_are_looked_at() {
        let flow = published(protocol::TCP);
        let selects = |filter: FlowFilter| Resolved { filter: &filter, incarnation: None }.selects(&flow);
        let addr = |text: &str| FlowFilter { addr: text.parse().ok(), ..FlowFilter::default() };
        let port = |port: u16| FlowFilter { port: Some(port), ..FlowFilter::default() };
        assert!(selects(FlowFilter::default()));
        for (text, wanted) in [
            ("198.51.100.0/24", true),
            ("192.0.2.1/32", true),
            ("10.77.0.0/24", true),
            ("10.77.0.5/32", false),
            ("::/0", false),
        ] {
            assert_eq!(selects(addr(text)), wanted, "{text}");
        }
        for (number, wanted) in [(5000, true), (8080, true), (80, true), (81, false)] {
            assert_eq!(selects(port(number)), wanted, "{number}");
        }
        assert!(selects(FlowFilter { protocol: Some(6), state: Some(FlowState::New), ..addr("10.0.0.0/8") }));
        assert!(!selects(FlowFilter { protocol: Some(17), ..addr("10.0.0.0/8") }), "all must hold");
        assert!(!selects(FlowFilter { state: Some(FlowState::Closed), ..FlowFilter::default() }));
        for (incarnation, wanted) in [(4, true), (5, false)] {
            let filter = FlowFilter::default();
            let resolved = Resolved { filter: &filter, incarnation: Some(incarnation) };
            assert_eq!(resolved.selects(&flow), wanted);
        }
    }

    #[test]
    fn the_number_of_a_ping_is_no_port() {
        let filter = FlowFilter { port: Some(5000), ..FlowFilter::default() };
        let resolved = Resolved { filter: &filter, incarnation: None };
        assert!(!resolved.selects(&published(protocol::ICMP)));
    }
}
