//! Events for tests.

use crate::reconcile::monitor::{AnswerView, EventView, PolicyDropView, SeenView};

/// A packet that a policy denied.
pub(super) fn drop_event() -> EventView {
    EventView {
        event: "drop",
        time: 1_709_210_096_123_456_789,
        program: "from_endpoint",
        direction: "egress",
        device: "nf2".to_owned(),
        reason: Some("policy_ingress"),
        explanation: Some("a policy isolates the receiver and no rule lets this in"),
        endpoint: Some("web".to_owned()),
        src: "10.77.0.3".parse().ok(),
        sport: Some(4000),
        src_endpoint: Some("client".to_owned()),
        dst: "10.77.0.2".parse().ok(),
        dport: Some(81),
        dst_endpoint: Some("web".to_owned()),
        protocol: Some("tcp".to_owned()),
        tcp_flags: Some(vec!["SYN"]),
        length: 74,
        policy: Some(PolicyDropView {
            direction: "ingress",
            endpoint: Some("web".to_owned()),
            policies: vec!["default/web".to_owned()],
            sources: vec!["web.yaml:3".to_owned()],
        }),
        ..EventView::default()
    }
}

/// A flow to a published port.
pub(super) fn flow_event() -> EventView {
    EventView {
        event: "flow",
        program: "from_uplink",
        direction: "ingress",
        device: "eth0".to_owned(),
        src: "2001:db8::9".parse().ok(),
        sport: Some(4000),
        dst: "2001:db8::1".parse().ok(),
        dport: Some(8080),
        protocol: Some("tcp".to_owned()),
        tcp_flags: Some(vec!["SYN"]),
        length: 94,
        seen: Some(SeenView {
            src: "2001:db8::9".parse().unwrap(),
            sport: 4000,
            dst: "fd77::2".parse().unwrap(),
            dport: 80,
            dst_endpoint: Some("web".to_owned()),
        }),
        answers: vec![AnswerView {
            direction: "ingress",
            verdict: "allowed",
            rule: Some(3),
            policy: Some("default/web".to_owned()),
            source: Some("p.yaml:9:3".to_owned()),
        }],
        ..EventView::default()
    }
}
