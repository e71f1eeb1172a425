//! Cases by hand: the traps of policies over identities.

use netfast_common::policy::{RuleRow, Verdict};

use super::build::{
    Scene, block, called, having, id, labels, name, named_port, pods, pods_of, policy, requiring, rule, side,
    tcp,
};
use crate::compile::policy::{Direction, PolicyRef};
use crate::model::{Operator, PortMatch, Ports, Protocol, Rule, Selector, Source};

const ICMP: u8 = netfast_common::protocol::ICMP;

fn all() -> Selector {
    Selector::default()
}

/// Two of namespace `x`, one of `y`, one without labels.
fn scene() -> Scene {
    Scene::default()
        .with("x/web", "app=web", "10.0.0.1,fd00::1", &[named_port("http", 80, Protocol::Tcp)])
        .with("x/db", "app=db", "10.0.0.2,fd00::2", &[named_port("http", 8080, Protocol::Tcp)])
        .with("y/web", "app=web", "10.0.0.3,fd00::3", &[])
        .with("y/bare", "", "10.0.0.4,fd00::4", &[])
}

/// A policy on `x/db` with these ingress rules.
fn into_db(rules: Vec<Rule>) -> Scene {
    scene().and(policy("x", "db", having("app=db"), Some(rules), None))
}

/// A policy on `x/web` with these egress rules.
fn out_of_web(rules: Vec<Rule>) -> Scene {
    scene().and(policy("x", "web", having("app=web"), None, Some(rules)))
}

#[test]
fn one_peer_by_label_and_by_address_has_the_ports_of_both() {
    let scene = into_db(vec![
        rule(Some(vec![pods(having("app=web"))]), Some(vec![tcp(80, 80)])),
        rule(Some(vec![block("10.0.0.0/24", &[])]), Some(vec![tcp(81, 81)])),
        rule(None, Some(vec![tcp(82, 82)])),
    ]);
    for (from, open) in [("x/web", [80, 81, 82].as_slice()), ("y/web", &[81, 82]), ("192.0.2.1", &[82])] {
        for port in 79..=83 {
            assert_eq!(scene.allows(from, "x/db", port), open.contains(&port), "{from} {port}");
        }
    }
}

#[test]
fn nested_blocks_add_up() {
    let scene = into_db(vec![
        rule(Some(vec![block("192.0.0.0/8", &[])]), Some(vec![tcp(80, 80)])),
        rule(Some(vec![block("192.0.2.7/32", &[])]), Some(vec![tcp(81, 81)])),
    ]);
    assert!(scene.allows("192.0.2.7", "x/db", 80) && scene.allows("192.0.2.7", "x/db", 81));
    assert!(scene.allows("192.0.2.8", "x/db", 80) && !scene.allows("192.0.2.8", "x/db", 81));
}

#[test]
fn an_except_is_a_hole_in_its_own_block_only() {
    let holed = || block("192.0.2.0/24", &["192.0.2.128/25", "192.0.2.4/32"]);
    let scene = into_db(vec![
        rule(Some(vec![holed()]), Some(vec![tcp(80, 81)])),
        rule(Some(vec![block("192.0.2.128/26", &[])]), Some(vec![tcp(80, 80)])),
    ]);
    assert!(scene.allows("192.0.2.1", "x/db", 80) && scene.allows("192.0.2.1", "x/db", 81));
    assert!(scene.allows("192.0.2.129", "x/db", 80) && !scene.allows("192.0.2.129", "x/db", 81));
    assert!(!scene.allows("192.0.2.200", "x/db", 80) && !scene.allows("192.0.2.4", "x/db", 80));
    // In one list of peers, too.
    let scene = into_db(vec![rule(Some(vec![holed(), block("192.0.2.200/32", &[])]), None)]);
    assert!(scene.allows("192.0.2.200", "x/db", 1) && !scene.allows("192.0.2.201", "x/db", 1));
}

#[test]
fn blocks_hold_endpoints_one_address_at_a_time() {
    let scene = into_db(vec![rule(Some(vec![block("10.0.0.0/24", &["10.0.0.3/32"])]), None)]);
    assert!(scene.allows("x/web", "x/db", 80) && !scene.allows("x/web@6", "x/db@6", 80));
    assert!(!scene.allows("y/web", "x/db", 80));
    let subject = scene.compile().subjects[&id("x/web")];
    assert_ne!(subject.identity4, subject.identity6);
    assert_eq!(subject.identity_of(std::net::Ipv4Addr::new(10, 0, 0, 1).into()), subject.identity4);
    assert_eq!(subject.identity_of(std::net::Ipv6Addr::LOCALHOST.into()), subject.identity6);
}

#[test]
fn the_worlds_of_the_two_families_are_apart() {
    let v4 = into_db(vec![rule(Some(vec![block("0.0.0.0/0", &[])]), None)]);
    assert!(v4.allows("192.0.2.1", "x/db", 1) && !v4.allows("2001:db8::1", "x/db@6", 1));
    let v6 = into_db(vec![rule(Some(vec![block("::/0", &[])]), None)]);
    assert!(!v6.allows("192.0.2.1", "x/db", 1) && v6.allows("2001:db8::1", "x/db@6", 1));
    assert!(!v6.allows("y/web", "x/db", 1) && v6.allows("y/web@6", "x/db@6", 1));
    // The mapped range, written as IPv6, is IPv6 that never comes.
    let mapped = into_db(vec![rule(Some(vec![block("::ffff:192.0.2.0/120", &[])]), None)]);
    assert!(!mapped.allows("192.0.2.1", "x/db", 1));
}

#[test]
fn selectors_hold_no_outsiders_and_rules_without_peers_do() {
    let everybody = into_db(vec![rule(Some(vec![pods_of(all(), all())]), None)]);
    assert!(everybody.allows("y/bare", "x/db", 1) && !everybody.allows("192.0.2.1", "x/db", 1));
    let anyone = into_db(vec![rule(None, None)]);
    assert!(anyone.allows("192.0.2.1", "x/db", 1) && anyone.allows_protocol("y/bare", "x/db", ICMP, 0));
}

#[test]
fn elements_are_alternatives_and_their_parts_are_not() {
    let both = into_db(vec![rule(
        Some(vec![pods_of(having("kubernetes.io/metadata.name=y"), having("app=web"))]),
        None,
    )]);
    assert!(both.allows("y/web", "x/db", 1) && !both.allows("y/bare", "x/db", 1));
    assert!(!both.allows("x/web", "x/db", 1));
    let either = into_db(vec![rule(
        Some(vec![pods_of(having("kubernetes.io/metadata.name=y"), all()), pods(having("app=web"))]),
        None,
    )]);
    for from in ["y/web", "y/bare", "x/web"] {
        assert!(either.allows(from, "x/db", 1), "{from}");
    }
}

#[test]
fn namespace_labels_and_absent_keys() {
    let not_y = requiring("team", Operator::NotIn(["y".to_owned()].into()));
    let mut scene =
        into_db(vec![rule(Some(vec![pods_of(not_y, requiring("app", Operator::DoesNotExist))]), None)]);
    assert!(scene.allows("y/bare", "x/db", 1) && !scene.allows("y/web", "x/db", 1));
    scene.world.namespaces.insert(name("y"), labels("team=y"));
    assert!(!scene.allows("y/bare", "x/db", 1));
}

#[test]
fn ports_by_protocol() {
    let any_tcp = PortMatch { protocol: Protocol::Tcp, ports: Ports::Any };
    let scene = into_db(vec![rule(None, Some(vec![any_tcp]))]);
    assert!(scene.allows("x/web", "x/db", 1) && scene.allows("x/web", "x/db", 65535));
    for (protocol, port) in [(17, 53), (132, 1), (ICMP, 0)] {
        assert!(!scene.allows_protocol("x/web", "x/db", protocol, port));
    }
    let range = into_db(vec![rule(None, Some(vec![tcp(1023, 32768), tcp(65535, 65535)]))]);
    for (port, open) in
        [(1022, false), (1023, true), (32768, true), (32769, false), (65534, false), (65535, true)]
    {
        assert_eq!(range.allows("x/web", "x/db", port), open, "{port}");
    }
    assert!(!range.allows_protocol("x/web", "x/db", ICMP, 0));
    let whole = into_db(vec![rule(None, Some(vec![tcp(1, 65535)]))]);
    assert!(!whole.allows_protocol("x/web", "x/db", Protocol::Tcp.number(), 0));
}

#[test]
fn a_port_name_means_what_the_serving_endpoint_means_by_it() {
    let http = || Some(vec![called("http", Protocol::Tcp)]);
    // Coming in: two endpoints under one policy, with different numbers.
    let scene = scene().and(policy("x", "all", all(), Some(vec![rule(None, http())]), None));
    assert!(scene.allows("y/web", "x/web", 80) && !scene.allows("y/web", "x/web", 8080));
    assert!(!scene.allows("y/web", "x/db", 80) && scene.allows("y/web", "x/db", 8080));
    // Going out, with and without peers: the name is the destination's, and outside nobody has names.
    for peers in [None, Some(vec![pods_of(all(), all()), block("0.0.0.0/0", &[])])] {
        let scene = out_of_web(vec![rule(peers, http())]);
        assert!(scene.allows("x/web", "x/db", 8080) && !scene.allows("x/web", "x/db", 80));
        for to in ["y/web", "y/bare", "192.0.2.1"] {
            assert!(!scene.allows("x/web", to, 80) && !scene.allows("x/web", to, 8080), "{to}");
        }
    }
    // With its protocol.
    let udp = out_of_web(vec![rule(None, Some(vec![called("http", Protocol::Udp)]))]);
    assert!(!udp.allows_protocol("x/web", "x/db", 17, 8080) && !udp.allows("x/web", "x/db", 8080));
}

#[test]
fn several_ports_may_share_a_name() {
    let ports = [named_port("http", 80, Protocol::Tcp), named_port("http", 81, Protocol::Tcp)];
    let scene = scene().with("x/two", "app=two", "10.0.0.9", &ports);
    let rules = || Some(vec![rule(None, Some(vec![called("http", Protocol::Tcp)]))]);
    let scene = scene.and(policy("x", "p", all(), rules(), None)).and(policy("y", "p", all(), None, rules()));
    for port in 79..=82 {
        assert_eq!(scene.allows("y/web", "x/two", port), (80..=81).contains(&port), "{port}");
    }
}

#[test]
fn both_ends_must_agree_and_outsiders_are_not_policed() {
    let scene =
        into_db(vec![rule(None, None)]).and(policy("x", "web", having("app=web"), None, Some(vec![])));
    assert!(!scene.allows("x/web", "x/db", 1) && !scene.allows("x/web", "192.0.2.1", 1));
    let verdict = scene.compile().verdict(&side("x/web"), &side("x/db"), 6, 1).unwrap();
    assert_eq!(verdict.egress, Verdict::Denied(RuleRow::deny(0)));
    assert!(matches!(verdict.ingress, Verdict::Allowed(_)) && !verdict.allowed);
    let verdict = scene.compile().verdict(&side("192.0.2.1"), &side("x/web"), 6, 1).unwrap();
    assert_eq!((verdict.egress, verdict.ingress), (Verdict::Open, Verdict::Open));
    assert_eq!(scene.compile().verdict(&side("x/none"), &side("x/db"), 6, 1), None);
}

#[test]
fn a_policy_that_selects_nobody_changes_nothing() {
    let scene = scene();
    let with =
        scene.clone().and(policy("z", "p", all(), Some(vec![]), Some(vec![rule(None, None)]))).and(policy(
            "x",
            "q",
            having("app=none"),
            Some(vec![rule(Some(vec![block("10.0.0.0/8", &[])]), None)]),
            None,
        ));
    assert_eq!(scene.compile(), with.compile());
}

#[test]
fn a_rule_number_names_its_policy_and_line() {
    let mut scene = into_db(vec![rule(Some(vec![pods(having("app=web"))]), Some(vec![tcp(80, 80)]))]);
    let line = Source { file: "db.yaml".to_owned(), line: 7 };
    scene.world.policies[0].ingress.as_mut().unwrap()[0].source = line.clone();
    let tables = scene.compile();
    let Verdict::Allowed(row) = tables.verdict(&side("x/web"), &side("x/db"), 6, 80).unwrap().ingress else {
        panic!("not allowed");
    };
    let info = &tables.rule_info[&row.rule];
    assert_eq!((info.direction, &info.source), (Direction::Ingress, &line));
    assert_eq!(info.policy, PolicyRef::from(&scene.world.policies[0]));
    let isolation = &tables.isolating[&id("x/db")];
    assert_eq!(isolation.ingress, [PolicyRef::from(&scene.world.policies[0])]);
    assert!(isolation.egress.is_empty() && tables.isolating[&id("x/web")].ingress.is_empty());
}

#[test]
fn equal_contents_are_one_set() {
    let scene =
        scene().and(policy("y", "p", all(), Some(vec![rule(None, Some(vec![tcp(1, 9)]))]), Some(vec![])));
    let tables = scene.compile();
    let (web, bare) = (tables.subjects[&id("y/web")], tables.subjects[&id("y/bare")]);
    assert_eq!((web.ingress, web.egress), (bare.ingress, bare.egress));
    assert_ne!(web.ingress, web.egress);
}

#[test]
fn a_list_of_blocks_is_one_identity() {
    let list: Vec<_> = (0..100).map(|i| block(&format!("198.51.{i}.0/24"), &[])).collect();
    let tables = into_db(vec![rule(Some(list), Some(vec![tcp(80, 80)]))]).compile();
    assert_eq!((tables.cidrs.len(), tables.rules.len()), (102, 1));
}

#[test]
fn a_new_policy_leaves_other_sets_and_identities_alone() {
    let before = into_db(vec![rule(Some(vec![pods_of(all(), having("app=web"))]), Some(vec![tcp(80, 80)]))]);
    // To the new policy all endpoints are one peer, which sets apart no two endpoints that were together.
    let peers = Some(vec![pods_of(all(), all())]);
    let after = before.clone().and(policy("y", "p", all(), Some(vec![rule(peers, None)]), None));
    let (old, first) = (before.compile(), before.compile().subjects);
    let new = after.compile_after(&old.numbers);
    assert_eq!(first[&id("x/db")].ingress, new.subjects[&id("x/db")].ingress);
    assert_eq!(first[&id("x/web")].identity4, new.subjects[&id("x/web")].identity4);
    assert_eq!(
        old.rules.keys().collect::<Vec<_>>(),
        new.rules.keys().take(old.rules.len()).collect::<Vec<_>>()
    );
}

#[test]
fn a_new_endpoint_of_a_known_class_changes_no_row() {
    let before = into_db(vec![rule(Some(vec![pods_of(all(), having("app=web"))]), None)]);
    let old = before.compile();
    let new = before.with("y/web2", "app=web", "10.0.0.77", &[]).compile_after(&old.numbers);
    assert_eq!((old.rules, old.cidrs, old.numbers), (new.rules, new.cidrs, new.numbers));
}

#[test]
fn a_policy_under_audit_is_not_enforced() {
    let plain = into_db(vec![]);
    let mut audited = plain.clone();
    audited.world.policies[0].audit = true;
    let mut all = plain.clone();
    all.world.audit = true;
    let enforced = plain.compile();
    for scene in [audited, all] {
        assert!(scene.allows("x/web", "x/db", 1));
        let tables = scene.compile();
        let subject = tables.subjects[&id("x/db")];
        assert_eq!((subject.ingress, subject.audit_egress), (0, 0));
        assert_ne!(subject.audit_ingress, 0);
        assert_eq!(tables.rules, enforced.rules);
        assert!(tables.isolating[&id("x/db")].ingress.is_empty());
        assert_eq!(tables.auditing[&id("x/db")].ingress, enforced.isolating[&id("x/db")].ingress);
    }
    assert!(enforced.subjects.values().all(|s| (s.audit_ingress, s.audit_egress) == (0, 0)));
    assert!(enforced.auditing.is_empty());
}

#[test]
fn an_endpoint_without_addresses_has_its_rule_sets() {
    let mut scene = into_db(vec![]);
    scene.addresses.clear();
    let subject = scene.compile().subjects[&id("x/db")];
    assert_ne!(subject.ingress, 0);
    assert_eq!((subject.egress, subject.identity4, subject.identity6), (0, 0, 0));
}
