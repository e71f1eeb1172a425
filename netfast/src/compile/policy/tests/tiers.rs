//! Cases by hand: the traps of tiers.

use super::build::{
    Scene, block, called, cluster_policy, having, id, named_port, pods, pods_of, policy, rule, side, step,
    tcp,
};
use crate::compile::policy::{PolicyRef, Reason};
use crate::model::{
    Action::{self, Accept, Deny, Pass},
    ClusterPolicy, Peer, PortMatch, Ports, Protocol, Selector,
    Tier::{self, Admin, Baseline},
    TierRule,
};

const ICMP: u8 = netfast_common::protocol::ICMP;
const SCTP: u8 = netfast_common::protocol::SCTP;

fn all() -> Selector {
    Selector::default()
}

fn everyone() -> Vec<Peer> {
    vec![pods_of(all(), all())]
}

fn scene() -> Scene {
    Scene::default()
        .with("x/web", "app=web", "10.0.0.1,fd00::1", &[named_port("http", 80, Protocol::Tcp)])
        .with("x/db", "app=db", "10.0.0.2,fd00::2", &[named_port("http", 8080, Protocol::Udp)])
        .with("y/web", "app=web", "10.0.0.3,fd00::3", &[])
}

/// A policy of the cluster on `app=db`, with ingress rules.
fn into_db(name: &str, place: (Tier, u16), rules: Vec<TierRule>) -> ClusterPolicy {
    cluster_policy(name, place, having("app=db"), rules, vec![])
}

/// A policy of the cluster on `app=web`, with egress rules.
fn out_of_web(name: &str, place: (Tier, u16), rules: Vec<TierRule>) -> ClusterPolicy {
    cluster_policy(name, place, having("app=web"), vec![], rules)
}

fn from_web(action: Action, ports: Option<Vec<PortMatch>>) -> TierRule {
    step(action, vec![pods_of(all(), having("app=web"))], ports)
}

fn to_blocks(action: Action, blocks: &[&str]) -> TierRule {
    step(action, blocks.iter().map(|cidr| block(cidr, &[])).collect(), None)
}

/// Isolates `x/db`, but for `y`.
fn isolated(scene: Scene) -> Scene {
    let only_y = rule(Some(vec![pods_of(having("kubernetes.io/metadata.name=y"), all())]), None);
    scene.and(policy("x", "db", having("app=db"), Some(vec![only_y]), None))
}

#[test]
fn a_policy_of_the_cluster_isolates_nobody() {
    let scene = scene().under(into_db("c", (Admin, 0), vec![from_web(Deny, Some(vec![tcp(80, 80)]))]));
    assert!(!scene.allows("x/web", "x/db", 80) && !scene.allows("y/web@6", "x/db@6", 80));
    assert!(scene.allows("x/web", "x/db", 81) && scene.allows_protocol("x/web", "x/db", ICMP, 0));
    assert!(scene.allows("192.0.2.1", "x/db", 80) && scene.allows("host:10.0.0.254", "x/db", 80));
    assert!(scene.allows("x/db", "x/web", 80));
}

#[test]
fn the_first_rule_decides_narrow_and_wide() {
    let out = |rules| scene().under(out_of_web("c", (Admin, 0), rules));
    let hole = out(vec![to_blocks(Accept, &["192.0.2.7/32"]), to_blocks(Deny, &["192.0.2.0/24"])]);
    assert!(hole.allows("x/web", "192.0.2.7", 1) && !hole.allows("x/web", "192.0.2.8", 1));
    assert!(hole.allows("x/web", "198.51.100.1", 1));
    let shadowed = out(vec![to_blocks(Deny, &["192.0.2.0/24"]), to_blocks(Accept, &["192.0.2.7/32"])]);
    assert!(!shadowed.allows("x/web", "192.0.2.7", 1));
    let only = out(vec![
        to_blocks(Accept, &["192.0.2.0/24", "2001:db8::/64"]),
        to_blocks(Deny, &["0.0.0.0/0", "::/0"]),
    ]);
    assert!(only.allows("x/web", "192.0.2.7", 1) && only.allows("x/web@6", "2001:db8::1", 1));
    assert!(!only.allows("x/web", "198.51.100.1", 1) && !only.allows("x/web@6", "2001:db9::1", 1));
    // Blocks hold endpoints too.
    assert!(!only.allows("x/web", "x/db", 1) && !only.allows("x/web@6", "x/db@6", 1));
    let v4 = out(vec![to_blocks(Deny, &["0.0.0.0/0"])]);
    assert!(!v4.allows("x/web", "x/db", 1) && v4.allows("x/web@6", "x/db@6", 1));
}

#[test]
fn ranges_that_overlap_are_cut_where_they_do() {
    let scene = scene().under(into_db(
        "c",
        (Admin, 0),
        vec![
            from_web(Deny, Some(vec![tcp(8080, 8080)])),
            from_web(Accept, Some(vec![tcp(8000, 8100)])),
            from_web(Pass, Some(vec![tcp(8090, 8200)])),
            from_web(Deny, Some(vec![tcp(8050, 9000), tcp(1, 1)])),
        ],
    ));
    for (port, open) in [
        (1, false),
        (2, true),
        (7999, true),
        (8000, true),
        (8079, true),
        (8080, false),
        (8081, true),
        (8100, true),
        (8101, true),
        (8200, true),
        (8201, false),
        (9000, false),
        (9001, true),
        (65535, true),
    ] {
        assert_eq!(scene.allows("x/web", "x/db", port), open, "{port}");
        assert!(scene.allows_protocol("x/web", "x/db", SCTP, port));
    }
}

#[test]
fn priority_comes_before_the_order_of_files_and_the_name_decides_between_equals() {
    let two = |first: (&str, u16, Action), second: (&str, u16, Action)| {
        let policy =
            |(name, priority, action)| into_db(name, (Admin, priority), vec![from_web(action, None)]);
        scene().under(policy(first)).under(policy(second)).allows("x/web", "x/db", 1)
    };
    assert!(two(("a", 9, Deny), ("b", 1, Accept)) && !two(("a", 9, Accept), ("b", 1, Deny)));
    assert!(!two(("b", 5, Accept), ("a", 5, Deny)) && two(("b", 5, Deny), ("a", 5, Accept)));
}

#[test]
fn admin_before_network_policies_and_baseline_where_there_is_none() {
    let baseline = || into_db("base", (Baseline, 0), vec![from_web(Deny, None)]);
    let open = scene().under(baseline());
    assert!(!open.allows("x/web", "x/db", 1) && !open.allows("y/web", "x/db", 1));
    // A network policy has the last word, either way.
    let isolated = isolated(open);
    assert!(!isolated.allows("x/web", "x/db", 1) && isolated.allows("y/web", "x/db", 1));
    for (action, x, y) in [(Accept, true, true), (Deny, false, false), (Pass, false, true)] {
        let scene = isolated.clone().under(into_db("top", (Admin, 0), vec![from_web(action, None)]));
        assert_eq!(
            (scene.allows("x/web", "x/db", 1), scene.allows("y/web", "x/db", 1)),
            (x, y),
            "{action:?}"
        );
        assert!(!scene.allows("192.0.2.1", "x/db", 1), "isolated as before");
    }
    // It isolates for ingress only: what goes out is the baseline's.
    let scene = isolated.under(cluster_policy(
        "out",
        (Baseline, 0),
        having("app=db"),
        vec![],
        vec![to_blocks(Deny, &["192.0.2.0/24"])],
    ));
    assert!(!scene.allows("x/db", "192.0.2.1", 1) && scene.allows("x/db", "198.51.100.1", 1));
}

#[test]
fn pass_skips_the_rest_of_its_tier_only() {
    let scene = scene()
        .under(into_db("a", (Admin, 1), vec![from_web(Pass, Some(vec![tcp(80, 80)]))]))
        .under(into_db("b", (Admin, 2), vec![from_web(Deny, None)]))
        .under(into_db("c", (Baseline, 1), vec![from_web(Pass, Some(vec![tcp(80, 80)]))]))
        .under(into_db("d", (Baseline, 2), vec![from_web(Deny, None)]));
    assert!(scene.allows("x/web", "x/db", 80) && !scene.allows("x/web", "x/db", 81));
    let scene = isolated(scene);
    assert!(!scene.allows("x/web", "x/db", 80) && scene.allows("y/web", "x/db", 80));
    assert!(!scene.allows("y/web", "x/db", 81));
}

#[test]
fn a_port_name_is_of_any_protocol_and_the_serving_endpoints() {
    let http = || Some([Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(|p| called("http", p)).to_vec());
    let out =
        scene().under(cluster_policy("c", (Admin, 0), all(), vec![], vec![step(Deny, everyone(), http())]));
    let into =
        scene().under(cluster_policy("c", (Admin, 0), all(), vec![step(Deny, everyone(), http())], vec![]));
    for scene in [out, into] {
        assert!(!scene.allows("y/web", "x/web", 80) && scene.allows("y/web", "x/web", 8080));
        assert!(scene.allows("y/web", "x/db", 80) && scene.allows("y/web", "x/db", 8080));
        assert!(!scene.allows_protocol("y/web", "x/db", 17, 8080));
        assert!(scene.allows("x/web", "y/web", 80));
    }
}

#[test]
fn rules_without_peers_of_a_network_policy_stay_for_everyone() {
    let any_port_80 = rule(None, Some(vec![tcp(80, 80), called("http", Protocol::Udp)]));
    let scene = scene()
        .and(policy("x", "db", having("app=db"), Some(vec![any_port_80]), None))
        .under(into_db("c", (Admin, 0), vec![from_web(Deny, Some(vec![tcp(443, 443)]))]));
    for from in ["x/web", "y/web", "192.0.2.1"] {
        assert!(scene.allows(from, "x/db", 80) && !scene.allows(from, "x/db", 81), "{from}");
        assert!(scene.allows_protocol(from, "x/db", 17, 8080), "{from}");
    }
}

#[test]
fn protocols_without_ports() {
    let any_tcp = vec![PortMatch { protocol: Protocol::Tcp, ports: Ports::Any }];
    let scene =
        scene().under(into_db("c", (Admin, 0), vec![from_web(Accept, Some(any_tcp)), from_web(Deny, None)]));
    assert!(scene.allows("x/web", "x/db", 0) && scene.allows("x/web", "x/db", 65535));
    for (protocol, port) in [(17, 53), (SCTP, 1), (ICMP, 0), (47, 0)] {
        assert!(!scene.allows_protocol("x/web", "x/db", protocol, port));
    }
}

#[test]
fn answers_name_the_rule_that_decides() {
    let mut deny = from_web(Deny, Some(vec![tcp(80, 80)]));
    deny.name = Some("no-web".to_owned());
    let tables = isolated(scene()).under(into_db("c", (Admin, 0), vec![deny])).compile();
    let ingress = |from, port| tables.answer(&side(from), &side("x/db"), 6, port).unwrap().ingress;
    assert_eq!(ingress("x/web", 80).to_string(), "denied by cluster/c, rule no-web, in :0");
    assert!(matches!(ingress("x/web", 80), Reason::Denied(_)) && !ingress("x/web", 80).agrees());
    assert!(ingress("x/web", 81).to_string().starts_with("isolated by x/db in test.yaml:1"));
    assert!(ingress("y/web", 81).to_string().starts_with("allowed by x/db in "));
    let open = tables.answer(&side("y/web"), &side("x/web"), 6, 80).unwrap();
    assert_eq!((open.allowed, open.ingress), (true, Reason::NotIsolated));
    // Where tiers speak and none of them of this.
    let tables = scene().under(into_db("c", (Admin, 0), vec![from_web(Deny, None)])).compile();
    let answer = tables.answer(&side("192.0.2.1"), &side("x/db"), 6, 80).unwrap();
    assert_eq!((answer.allowed, answer.ingress), (true, Reason::NotIsolated));
    assert!(tables.isolating[&id("x/db")].ingress.is_empty());
}

#[test]
fn a_policy_of_the_cluster_is_shown_without_a_namespace() {
    let policy = into_db("c", (Admin, 0), vec![]);
    let shown = PolicyRef::from(&policy);
    assert_eq!(shown.to_string(), "cluster/c");
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!((&json["namespace"], &json["name"]), (&serde_json::Value::Null, &"c".into()));
}

#[test]
fn what_no_tier_touches_has_the_rows_it_had() {
    let before =
        isolated(scene()).and(policy("y", "p", all(), Some(vec![rule(Some(vec![pods(all())]), None)]), None));
    let after = before
        .clone()
        .under(into_db("c", (Baseline, 0), vec![from_web(Deny, None)]))
        .under(cluster_policy("d", (Admin, 0), having("app=none"), vec![from_web(Deny, None)], vec![]));
    let (old, new) = (before.compile(), after.compile_after(&before.compile().numbers));
    assert_eq!(old.rules, new.rules);
    assert_eq!(old.subjects[&id("x/db")].ingress, new.subjects[&id("x/db")].ingress);
}

#[test]
fn few_rows_say_all_but_one_port() {
    let tables =
        scene().under(into_db("c", (Admin, 0), vec![from_web(Deny, Some(vec![tcp(80, 80)]))])).compile();
    // For the peers all and the one port, for each of their classes; for everyone else all.
    let classes = [&tables.subjects[&id("x/web")], &tables.subjects[&id("y/web")]];
    assert!(classes.iter().all(|subject| subject.identity4 == classes[0].identity4));
    assert_eq!(tables.rules.len(), 3, "{:?}", tables.rules);
}
