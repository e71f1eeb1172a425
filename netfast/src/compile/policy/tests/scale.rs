//! Big worlds compile fast.

use std::time::{Duration, Instant};

use super::build::{Scene, block, called, having, named_port, pods, pods_of, policy, rule, tcp};
use crate::compile::policy::compile;
use crate::model::{Protocol, Rule};

/// 50 namespaces of 20 endpoints (5 workloads of 4) and 10 policies, each of 10 rules in both directions: 10,000 rules.
fn big() -> Scene {
    let mut scene = Scene::default();
    for n in 0..50 {
        for e in 0..20 {
            let ports = [named_port("http", if e % 2 == 0 { 80 } else { 8080 }, Protocol::Tcp)];
            let with = format!("app=a{},pod=n{n}-e{e}", e % 5);
            scene = scene.with(&format!("n{n}/e{e}"), &with, &format!("10.{n}.0.{e},fd00::{n}:{e}"), &ports);
        }
        for p in 0..10 {
            let rules = || Some((0..10).map(|r| typical_rule(n, p, r)).collect());
            let selector = having(&format!("app=a{}", p % 5));
            scene = scene.and(policy(&format!("n{n}"), &format!("p{p}"), selector, rules(), rules()));
        }
    }
    scene
}

/// Mostly neighbours and other namespaces, some blocks, and one policy of a namespace that lets the whole world in.
fn typical_rule(n: u16, p: u16, r: u16) -> Rule {
    let port = 1000 * (r + 1) + p;
    let app = having(&format!("app=a{}", (p + r) % 5));
    let (peer, ports) = match (p, r) {
        (0, 0) => (block("0.0.0.0/0", &["10.0.0.0/8"]), tcp(443, 443)),
        (0, 1) => (pods_of(having(""), app), tcp(port, port)),
        (_, 2) => (block(&format!("198.51.{n}.{p}/32"), &[]), tcp(port, port + 99)),
        (_, 3 | 6 | 9) => {
            let other = format!("kubernetes.io/metadata.name=n{}", (n + r) % 50);
            (pods_of(having(&other), app), called("http", Protocol::Tcp))
        }
        _ => (pods(app), tcp(port, port)),
    };
    rule(Some(vec![peer]), Some(vec![ports]))
}

#[test]
fn ten_thousand_rules() {
    let scene = big();
    let start = Instant::now();
    let tables = scene.compile();
    let first = start.elapsed();
    let start = Instant::now();
    let again = scene.compile_after(&tables.numbers);
    let second = start.elapsed();
    assert_eq!(tables, again);
    println!(
        "{} endpoints, {} policies: {} rules, {} prefixes, {} rows in {first:?}, again in {second:?}; numbers: {} KiB",
        tables.subjects.len(),
        scene.world.policies.len(),
        tables.rule_info.len(),
        tables.cidrs.len(),
        tables.rules.len(),
        serde_json::to_string(&tables.numbers).unwrap().len() / 1024,
    );
    // Both are many times what it takes, as other tests run beside it.
    let bound = if cfg!(debug_assertions) { 30 } else { 3 };
    assert!(first.max(second) < Duration::from_secs(bound));
}

#[test]
fn too_many_rows_are_refused_before_they_are_made() {
    let scene = big();
    let numbers = scene.compile().numbers;
    let error = compile(&scene.world, &scene.addresses, &numbers, 1000).unwrap_err();
    assert_eq!(error.limit, 1000);
    assert!(error.total > 1000 && error.rows <= error.total && error.largest.is_some());
    let text = error.to_string();
    assert!(text.contains(&error.total.to_string()) && text.contains("/p0 in "), "{text}");
}
