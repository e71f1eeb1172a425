//! An event as it is shown: the stable shape of `-o json`.

use std::net::IpAddr;

use netfast_common::event::{Answer, EVENT_PARSED, Event, EventKind, Program};
use netfast_common::protocol;
use netfast_common::reason::DropReason;
use serde::Serialize;

use super::names::Names;
use super::packet::Packet;

/// The ethertype of ARP.
const ARP: u16 = 0x0806;

/// What a drop by policy means where it is a rule that denies it.
const BY_A_RULE: &str = "a rule of a policy of the cluster denies it";

/// What an audit means.
const UNDER_AUDIT: &str = "policies under audit would drop it";

/// Something that happened to a packet. Fields that mean nothing for it, or are not known, are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// `drop`, `audit`, `flow`, `verdict` or `packet`.
    pub event: &'static str,
    /// When: nanoseconds since 1970. Shown as a date by whoever shows it.
    #[serde(skip)]
    pub time: u64,
    /// The program that tells it.
    pub program: &'static str,
    /// `egress` for what an endpoint sends, `ingress` for what comes to one.
    pub direction: &'static str,
    /// The device the program ran at.
    pub device: String,
    /// Why it was dropped, or would have been by policies under audit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What that means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<&'static str>,
    /// The endpoint it concerns: that of the device, or the one whose policy denied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<IpAddr>,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sport: Option<u16>,
    /// The endpoint with the source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_endpoint: Option<String>,
    /// Destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst: Option<IpAddr>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dport: Option<u16>,
    /// The endpoint with the destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_endpoint: Option<String>,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, `arp`, or the protocol's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// ICMP type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// ICMP code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// TCP flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<Vec<&'static str>>,
    /// Source MAC address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_mac: Option<String>,
    /// Destination MAC address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_mac: Option<String>,
    /// Ethertype, as `0x86dd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<String>,
    /// Length in bytes, from the Ethernet header on. Of a packet still to be segmented, the whole.
    pub length: u32,
    /// Of a drop by policy, and of an audit: whose, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyDropView>,
    /// Of a new flow that is translated: its addresses as the responder sees them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenView>,
    /// What policies say of each end that is isolated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<AnswerView>,
}

/// Who denied a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyDropView {
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// The endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The policies that isolate it in that direction, as `namespace/name`, none of whose rules allows the packet; or
    /// the policy of the cluster whose rule denies it, as `cluster/name`.
    pub policies: Vec<String>,
    /// Where these are written, in their order, as `file:line`.
    pub sources: Vec<String>,
}

/// A flow's addresses as its responder sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeenView {
    /// Source address.
    pub src: IpAddr,
    /// Source port.
    pub sport: u16,
    /// Destination address.
    pub dst: IpAddr,
    /// Destination port.
    pub dport: u16,
    /// The endpoint with the destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_endpoint: Option<String>,
}

/// What policies say of one end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnswerView {
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// `allowed`, `denied`, or `audit`: policies under audit would have denied it.
    pub verdict: &'static str,
    /// Number of the rule that says so; none: the end is isolated, and no rule allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// The policy that rule is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Where that rule was read, as `file:line:column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl EventView {
    /// An event with its names. `time` is in nanoseconds since 1970.
    pub(super) fn new(event: &Event, bytes: &[u8], time: u64, names: &mut Names) -> Self {
        let kind = EventKind::from_code(event.kind);
        let program = Program::from_code(event.program);
        let is_egress = match kind {
            Some(EventKind::Packet) => event.flags & netfast_common::event::EVENT_SENT != 0,
            _ => program == Some(Program::FromEndpoint),
        };
        let mut view = Self {
            event: match kind {
                Some(EventKind::Drop) => "drop",
                Some(EventKind::Flow) => "flow",
                Some(EventKind::Verdict) => "verdict",
                Some(EventKind::Packet) => "packet",
                Some(EventKind::Audit) => "audit",
                None => "unknown",
            },
            time,
            program: program.map_or("", Program::name),
            direction: if is_egress { "egress" } else { "ingress" },
            device: names.device(event.ifindex),
            endpoint: names.of(event.incarnation).or_else(|| names.at(event.ifindex)),
            length: event.length,
            answers: answers(event, names),
            ..Self::default()
        };
        view.describe(event, &Packet::parse(bytes));
        view.src_endpoint = view.src.and_then(|addr| names.with(addr));
        view.dst_endpoint = view.dst.and_then(|addr| names.with(addr));
        match kind {
            Some(EventKind::Drop | EventKind::Audit) => view.drop(event, names),
            Some(EventKind::Flow) => view.flow(event, names),
            _ => {}
        }
        view
    }

    /// Fills in what is known of the packet: what the program parsed, else what its bytes tell.
    fn describe(&mut self, event: &Event, packet: &Packet) {
        let icmp = packet.icmp;
        self.src_mac.clone_from(&packet.src_mac);
        self.dst_mac.clone_from(&packet.dst_mac);
        self.ethertype = packet.ether_type.map(|number| format!("0x{number:04x}"));
        let mut flags = packet.tcp_flags;
        let mut number = packet.protocol;
        let mut ports = packet.ports;
        (self.src, self.dst) = (packet.src, packet.dst);
        self.icmp_type = icmp.map(|(kind, _)| kind);
        self.icmp_code = icmp.map(|(_, code)| code);
        if event.flags & EVENT_PARSED != 0 {
            let tuple = &event.tuple;
            (self.src, self.dst) = (Some(tuple.src.into()), Some(tuple.dst.into()));
            number = Some(tuple.protocol);
            ports = has_ports(tuple.protocol).then_some((tuple.sport, tuple.dport));
            flags = (tuple.protocol == protocol::TCP).then_some(event.tcp_flags);
            self.icmp_type = is_icmp(tuple.protocol).then_some(event.icmp_type).filter(|kind| *kind != 255);
        }
        let is_arp = packet.ether_type == Some(ARP);
        self.protocol = number.map(protocol_name).or_else(|| is_arp.then(|| "arp".to_owned()));
        (self.sport, self.dport) = (ports.map(|(src, _)| src), ports.map(|(_, dst)| dst));
        self.tcp_flags = flags.map(flag_names);
    }

    fn drop(&mut self, event: &Event, names: &Names) {
        let Some(reason) = DropReason::from_code(event.reason) else { return };
        self.reason = Some(reason.name());
        self.explanation = Some(reason.explanation());
        let is_egress = match reason {
            DropReason::PolicyEgress => true,
            DropReason::PolicyIngress => false,
            _ => return,
        };
        let endpoint = names.of(event.incarnation);
        let is_audit = event.kind == EventKind::Audit as u8;
        let answers = &event.answers;
        let rule = if is_egress { answers.egress_rule } else { answers.ingress_rule };
        let (policies, sources) = if let Some((policy, source)) = names.rule(rule) {
            self.explanation = Some(BY_A_RULE);
            (vec![policy], vec![source])
        } else {
            let isolating = |name| names.isolating(name, is_egress, is_audit);
            let isolating = endpoint.as_deref().map(isolating).unwrap_or_default();
            let sources = isolating.iter().map(|policy| policy.source.to_string());
            (isolating.iter().map(ToString::to_string).collect(), sources.collect())
        };
        if is_audit {
            self.explanation = Some(UNDER_AUDIT);
        }
        self.policy = Some(PolicyDropView { direction: direction(is_egress), endpoint, policies, sources });
    }

    fn flow(&mut self, event: &Event, names: &Names) {
        let (came, seen) = (&event.tuple, &event.seen);
        if (came.src, came.dst, came.sport, came.dport) == (seen.src, seen.dst, seen.sport, seen.dport) {
            return;
        }
        self.seen = Some(SeenView {
            src: seen.src.into(),
            sport: seen.sport,
            dst: seen.dst.into(),
            dport: seen.dport,
            dst_endpoint: names.with(seen.dst.into()),
        });
    }
}

const fn direction(is_egress: bool) -> &'static str {
    if is_egress { "egress" } else { "ingress" }
}

fn answers(event: &Event, names: &Names) -> Vec<AnswerView> {
    let answers = &event.answers;
    let denied = if event.kind == EventKind::Audit as u8 { "audit" } else { "denied" };
    let both = [(true, answers.egress, answers.egress_rule), (false, answers.ingress, answers.ingress_rule)];
    both.into_iter()
        .filter_map(|(is_egress, code, rule)| answer(is_egress, code, rule, denied, names))
        .collect()
}

fn answer(is_egress: bool, code: u32, rule: u32, denied: &'static str, names: &Names) -> Option<AnswerView> {
    let answer = u8::try_from(code).ok().and_then(Answer::from_code)?;
    let plain = AnswerView {
        direction: direction(is_egress),
        verdict: "allowed",
        rule: None,
        policy: None,
        source: None,
    };
    let by_rule = |verdict| {
        let (policy, source) = names.rule(rule).unzip();
        Some(AnswerView { verdict, rule: Some(rule), policy, source, ..plain.clone() })
    };
    match answer {
        Answer::NotAsked | Answer::Open => None,
        Answer::Denied if rule == 0 => Some(AnswerView { verdict: denied, ..plain }),
        // The policies that speak of the end do not speak of this.
        Answer::Allowed if rule == 0 => None,
        Answer::Allowed => by_rule("allowed"),
        Answer::Denied => by_rule(denied),
    }
}

const fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP | protocol::SCTP)
}

const fn is_icmp(number: u8) -> bool {
    matches!(number, protocol::ICMP | protocol::ICMPV6)
}

fn protocol_name(number: u8) -> String {
    match number {
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        protocol::ICMP => "icmp".to_owned(),
        protocol::ICMPV6 => "icmpv6".to_owned(),
        protocol::SCTP => "sctp".to_owned(),
        other => other.to_string(),
    }
}

fn flag_names(flags: u8) -> Vec<&'static str> {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    NAMES.into_iter().enumerate().filter(|(bit, _)| flags & (1 << bit) != 0).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_names() {
        assert_eq!(flag_names(0x12), ["SYN", "ACK"]);
        assert_eq!([protocol_name(6), protocol_name(47)], ["tcp", "47"]);
    }
}
