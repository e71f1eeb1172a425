//! An event in one line.

use std::net::IpAddr;

use crate::reconcile::monitor::{AnswerView, EventView};

use super::clock;

/// The event's line, its newline included.
pub(super) fn line(event: &EventView) -> String {
    let what = match event.event {
        "flow" if event.seen.is_some() => "translated",
        "flow" => "new",
        "verdict" if event.answers.iter().any(|answer| answer.verdict == "denied") => "denied",
        "verdict" => "allowed",
        _ => event.reason.unwrap_or(""),
    };
    let flags = event.tcp_flags.as_ref().map(|flags| flags.join(",")).unwrap_or_default();
    let place = format!("{} of {}", event.direction, event.device);
    let details = [flags, format!("{} bytes", event.length), place, meaning(event)];
    let details: Vec<_> = details.into_iter().filter(|detail| !detail.is_empty()).collect();
    let mut line = format!(
        "{}  {:7}  {:19}  {:9}  {:50}  {}",
        clock::of_day(event.time),
        event.event,
        what,
        protocol(event),
        ends(event),
        details.join(", "),
    );
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

/// `tcp`, or `icmp 8/0`, or `0x88cc` for what is no IP.
fn protocol(event: &EventView) -> String {
    let Some(protocol) = &event.protocol else {
        return event.ethertype.clone().unwrap_or_default();
    };
    match (event.icmp_type, event.icmp_code) {
        (None, _) => protocol.clone(),
        (Some(kind), None) => format!("{protocol} {kind}"),
        (Some(kind), Some(code)) => format!("{protocol} {kind}/{code}"),
    }
}

/// Both ends by name and address, or by MAC address where there is no other.
fn ends(event: &EventView) -> String {
    match (event.src, event.dst) {
        (Some(src), Some(dst)) => format!(
            "{} -> {}",
            end(event.src_endpoint.as_deref(), src, event.sport),
            end(event.dst_endpoint.as_deref(), dst, event.dport)
        ),
        _ => [&event.src_mac, &event.dst_mac].into_iter().flatten().cloned().collect::<Vec<_>>().join(" -> "),
    }
}

fn end(name: Option<&str>, addr: IpAddr, port: Option<u16>) -> String {
    let name = name.map(|name| format!("{name} ")).unwrap_or_default();
    match port {
        None => format!("{name}{addr}"),
        Some(port) => format!("{name}{}", std::net::SocketAddr::new(addr, port)),
    }
}

fn meaning(event: &EventView) -> String {
    if let Some(policy) = &event.policy {
        let endpoint = policy.endpoint.as_deref().unwrap_or("an endpoint that is gone");
        let policies = policy.policies.iter().zip(&policy.sources);
        let policies: Vec<_> = policies.map(|(policy, source)| format!("{policy} in {source}")).collect();
        return format!(
            "{} ({} of {endpoint}: {})",
            event.explanation.unwrap_or_default(),
            policy.direction,
            policies.join(", ")
        );
    }
    let seen = event.seen.as_ref().map(|seen| {
        let dst = end(seen.dst_endpoint.as_deref(), seen.dst, Some(seen.dport));
        format!("as {} -> {dst}", end(None, seen.src, Some(seen.sport)))
    });
    let explanation = event.explanation.map(str::to_owned);
    let answers = event.answers.iter().filter(|_| event.event != "drop").map(answer);
    explanation.into_iter().chain(seen).chain(answers).collect::<Vec<_>>().join(", ")
}

/// As `ingress allowed by default/web (policy.yaml:12:5)`.
fn answer(answer: &AnswerView) -> String {
    let AnswerView { direction, verdict, rule, policy, source } = answer;
    let by = match (policy, rule) {
        (Some(policy), _) => format!(" by {policy}"),
        (None, Some(rule)) => format!(" by rule {rule}"),
        (None, None) => String::new(),
    };
    let source = source.as_ref().map(|source| format!(" ({source})")).unwrap_or_default();
    format!("{direction} {verdict}{by}{source}")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{drop_event, flow_event};
    use super::*;

    /// The line without its time, which depends on where the test runs.
    fn untimed(event: &EventView) -> String {
        line(event)[17..].to_owned()
    }

    #[test]
    fn a_drop_by_policy_names_the_policies() {
        assert_eq!(
            untimed(&drop_event()),
            "drop     policy_ingress       tcp        client 10.77.0.3:4000 -> web 10.77.0.2:81           \
             SYN, 74 bytes, egress of nf2, a policy isolates the receiver and no rule lets this in \
             (ingress of web: default/web in web.yaml:3)\n"
        );
    }

    #[test]
    fn an_audit_names_the_policies() {
        let event = EventView {
            event: "audit",
            explanation: Some("policies under audit would drop it"),
            ..drop_event()
        };
        let line = untimed(&event);
        assert!(line.starts_with("audit    policy_ingress       tcp "), "{line}");
        assert!(
            line.ends_with(
                "policies under audit would drop it (ingress of web: default/web in web.yaml:3)\n"
            ),
            "{line}"
        );
    }

    #[test]
    fn a_flow_tells_its_translation_and_what_allows_it() {
        assert_eq!(
            untimed(&flow_event()),
            "flow     translated           tcp        [2001:db8::9]:4000 -> [2001:db8::1]:8080            \
             SYN, 94 bytes, ingress of eth0, as [2001:db8::9]:4000 -> web [fd77::2]:80, \
             ingress allowed by default/web (p.yaml:9:3)\n"
        );
    }

    #[test]
    fn what_is_no_ip_has_macs() {
        let event = EventView {
            event: "drop",
            reason: Some("bad_ethertype"),
            ethertype: Some("0x88cc".to_owned()),
            src_mac: Some("02:00:00:00:00:01".to_owned()),
            dst_mac: Some("01:80:c2:00:00:0e".to_owned()),
            ..EventView::default()
        };
        let line = untimed(&event);
        assert!(line.contains("0x88cc     02:00:00:00:00:01 -> 01:80:c2:00:00:0e"), "{line}");
    }
}
