//! Properties of every compile.

use std::collections::{BTreeMap, BTreeSet};

use netfast_common::policy::{ANY_IDENTITY, OPEN, RuleKey, RuleRow, Verdict};
use proptest::collection::vec;
use proptest::prelude::*;

use super::generate::{probes, scene, scenes, services};
use super::reference;
use crate::compile::policy::{Numbers, Tables};

type Rows = BTreeMap<(RuleKey, u32), RuleRow>;

/// The rows of every set in use, also of those that have none.
fn sets(tables: &Tables) -> BTreeMap<u32, Rows> {
    let used = tables
        .subjects
        .values()
        .flat_map(|subject| [subject.ingress, subject.egress, subject.audit_ingress, subject.audit_egress]);
    let mut sets: BTreeMap<u32, Rows> =
        used.filter(|set| *set != OPEN).map(|set| (set, Rows::new())).collect();
    for (key, row) in &tables.rules {
        sets.get_mut(&key.0.set).expect("a row of a set that nobody uses").insert(*key, *row);
    }
    sets
}

/// Everybody that is somewhere.
fn identities(tables: &Tables) -> BTreeSet<u32> {
    let of_endpoints = tables.subjects.values().flat_map(|s| [s.identity4, s.identity6]);
    of_endpoints.chain(tables.cidrs.values().copied()).filter(|i| *i != ANY_IDENTITY).collect()
}

/// The rows of a set that speak of some identities, or of anybody.
fn of(set: &Rows, identities: &BTreeSet<u32>) -> Rows {
    let counts = |identity: u32| identity == ANY_IDENTITY || identities.contains(&identity);
    set.iter().filter(|((key, _), _)| counts(key.identity)).map(|(key, row)| (*key, *row)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_decide_as_the_policies_read(scene in scene(), services in services()) {
        let tables = scene.compile();
        for (from, to) in probes(&scene) {
            for (protocol, port) in &services {
                let expected =
                    reference::allows(&scene.world, &scene.addresses, &from, &to, *protocol, *port).unwrap();
                let got = tables.verdict(&from, &to, *protocol, *port).unwrap();
                prop_assert_eq!(got.allowed, expected, "{:?} -> {:?} {}/{}", from, to, protocol, port);
                for verdict in [got.egress, got.ingress] {
                    if let Verdict::Allowed(row) | Verdict::Denied(row) = verdict {
                        prop_assert!(row.number() == 0 || tables.rule_info.contains_key(&row.number()));
                    }
                }
            }
        }
    }

    #[test]
    fn policies_under_audit_are_judged_apart(scene in scene(), services in services(), audits in vec(any::<bool>(), 16)) {
        let mut audits = audits.into_iter();
        let mut enforced = scene.clone();
        let mut audited = scene;
        for policy in &mut audited.world.policies {
            policy.audit = audits.next().unwrap_or_default();
        }
        for policy in &mut audited.world.cluster_policies {
            policy.audit = audits.next().unwrap_or_default();
        }
        enforced.world.policies = audited.world.policies.iter().filter(|p| !p.audit).cloned().collect();
        enforced.world.cluster_policies =
            audited.world.cluster_policies.iter().filter(|p| !p.audit).cloned().collect();
        let tables = audited.compile();
        let mut would = tables.clone();
        for subject in would.subjects.values_mut() {
            for (set, audit) in
                [(&mut subject.ingress, subject.audit_ingress), (&mut subject.egress, subject.audit_egress)]
            {
                if audit != OPEN {
                    *set = audit;
                }
            }
        }
        for (from, to) in probes(&audited) {
            for (protocol, port) in &services {
                for (tables, world) in [(&tables, &enforced.world), (&would, &audited.world)] {
                    let expected =
                        reference::allows(world, &audited.addresses, &from, &to, *protocol, *port).unwrap();
                    let got = tables.verdict(&from, &to, *protocol, *port).unwrap();
                    prop_assert_eq!(got.allowed, expected, "{:?} -> {:?} {}/{}", from, to, protocol, port);
                }
            }
        }
    }

    #[test]
    fn a_changed_world_never_changes_a_set((first, second) in scenes(), services in services()) {
        let before = first.compile();
        let after = second.compile_after(&before.numbers);
        let (old_sets, new_sets) = (sets(&before), sets(&after));
        let shared: BTreeSet<u32> = identities(&before).intersection(&identities(&after)).copied().collect();
        for (number, rows) in &new_sets {
            if let Some(old) = old_sets.get(number) {
                prop_assert_eq!(of(old, &shared), of(rows, &shared), "set {}", number);
            }
        }
        for (from, to) in probes(&second) {
            for (protocol, port) in &services {
                let expected =
                    reference::allows(&second.world, &second.addresses, &from, &to, *protocol, *port).unwrap();
                let got = after.verdict(&from, &to, *protocol, *port).unwrap();
                prop_assert_eq!(got.allowed, expected, "{:?} -> {:?} {}/{}", from, to, protocol, port);
            }
        }

        // And back: what the second compile freed is not used again.
        let back = first.compile_after(&after.numbers);
        let third_sets = sets(&back);
        for number in old_sets.keys().filter(|number| !new_sets.contains_key(number)) {
            prop_assert!(!third_sets.contains_key(number), "set {} rose from the dead", number);
        }
        let freed: BTreeSet<u32> = identities(&before).difference(&identities(&after)).copied().collect();
        prop_assert!(freed.is_disjoint(&identities(&back)));
        let shared: BTreeSet<u32> = identities(&after).intersection(&identities(&back)).copied().collect();
        for (number, rows) in &third_sets {
            if let Some(old) = new_sets.get(number) {
                prop_assert_eq!(of(old, &shared), of(rows, &shared));
            }
        }
    }

    #[test]
    fn the_same_world_gives_the_same_tables(scene in scene()) {
        let once = scene.compile();
        prop_assert_eq!(&once, &scene.compile());
        let again = scene.compile_after(&once.numbers);
        prop_assert_eq!(&once, &again);
    }

    #[test]
    fn the_order_of_policies_is_nothing_to_the_kernel(scene in scene()) {
        let once = scene.compile();
        let mut turned = scene.clone();
        turned.world.policies.reverse();
        turned.world.cluster_policies.reverse();
        let again = turned.compile_after(&once.numbers);
        prop_assert_eq!(&once.subjects, &again.subjects);
        prop_assert_eq!(&once.cidrs, &again.cidrs);
        prop_assert_eq!(&once.rules, &again.rules);
    }

    #[test]
    fn numbers_survive_json(scene in scene()) {
        let numbers = scene.compile().numbers;
        let text = serde_json::to_string(&numbers).unwrap();
        prop_assert_eq!(serde_json::from_str::<Numbers>(&text).unwrap(), numbers);
    }

    #[test]
    fn rows_are_well_formed(scene in scene()) {
        let tables = scene.compile();
        let places = tables.subjects.values().flat_map(|s| [s.identity4, s.identity6]);
        let identities: BTreeSet<u32> = places.chain(tables.cidrs.values().copied()).collect();
        drop(sets(&tables));
        for ((key, len), row) in &tables.rules {
            prop_assert!([64].into_iter().chain(72..=88).any(|l| l == *len));
            prop_assert!(key.identity == ANY_IDENTITY || identities.contains(&key.identity));
            prop_assert!(key.pad == 0 && (*len > 64 || key.protocol == 0));
            let tail = u16::MAX.checked_shr(len.saturating_sub(72)).unwrap_or(0);
            prop_assert_eq!(u16::from_be_bytes(key.port_be) & tail, 0);
            prop_assert!(row.number() == 0 || tables.rule_info.contains_key(&row.number()));
        }
        for (prefix, identity) in &tables.cidrs {
            let bits = u128::from_be_bytes(prefix.addr.octets());
            prop_assert_eq!(bits & u128::MAX.checked_shr(prefix.len).unwrap_or(0), 0);
            prop_assert!(*identity != ANY_IDENTITY);
        }
    }
}
