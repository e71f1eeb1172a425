//! A change of one endpoint comes to what a compile of the whole world does, and looks at little of it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::build::{Scene, having, id, pods, pods_of, policy, rule, tcp};
use super::generate::{scene, scenes};
use crate::compile::policy::small::things_read;
use crate::compile::policy::{Assigned, Book, Member, Numbers, Roll, Tables, compile_to_change};
use crate::model::{Endpoint, EndpointId};

/// Compiles a world, and writes down what a change of one endpoint needs, if there can be such a thing.
fn compiled(scene: &Scene) -> (Tables, Option<(Vec<u8>, Roll)>) {
    let (tables, small) =
        compile_to_change(&scene.world, &scene.addresses, &Numbers::default(), 1_000_000).unwrap();
    (tables, small.map(|(book, roll)| (postcard::to_stdvec(&book).unwrap(), roll)))
}

/// Changes one endpoint of a compiled world, or leaves it out, and compares what comes of it with a compile of all.
fn compare(mut scene: Scene, id: &EndpointId, after: Option<&Endpoint>) -> Result<(), TestCaseError> {
    let (tables, Some((book, mut roll))) = compiled(&scene) else { return Ok(()) };
    let assigned = scene.addresses.get(id).cloned().unwrap_or_default();
    let before = scene.world.endpoints.get(id).cloned();
    let member = |endpoint| Member { endpoint, assigned: assigned.clone() };
    let book: Book<'_> = postcard::from_bytes(&book).unwrap();
    let Some(change) = book.change(&mut roll, before.as_ref().map(member), after.map(member)) else {
        return Ok(());
    };
    match after {
        Some(endpoint) => scene.world.endpoints.insert(id.clone(), endpoint.clone()),
        None => scene.world.endpoints.remove(id),
    };
    let mut numbers = tables.numbers.clone();
    roll.update(&mut numbers);
    let whole = scene.compile_after(&numbers);
    prop_assert_eq!(whole.subjects.get(id), change.subject.as_ref());
    let mut rows = tables.rules;
    for key in &change.removed {
        prop_assert!(rows.remove(key).is_some(), "{:?} was not there", key);
    }
    rows.extend(&change.added);
    let keys = |rows: &BTreeMap<_, _>| rows.keys().copied().collect::<Vec<_>>();
    prop_assert_eq!(keys(&rows), keys(&whole.rules));
    prop_assert_eq!(rows, whole.rules);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_endpoint_otherwise_is_as_if_all_were_compiled((scene, other) in scenes()) {
        for (id, endpoint) in &scene.world.endpoints {
            for model in scene.world.endpoints.values().chain(other.world.endpoints.values()) {
                let (labels, ports) = (model.labels.clone(), model.ports.clone());
                compare(scene.clone(), id, Some(&Endpoint { labels, ports, ..endpoint.clone() }))?;
            }
        }
    }

    #[test]
    fn one_endpoint_more_or_less_is_as_if_all_were_compiled(scene in scene()) {
        for (id, endpoint) in &scene.world.endpoints {
            compare(scene.clone(), id, None)?;
            let mut without = scene.clone();
            without.world.endpoints.remove(id);
            compare(without, id, Some(endpoint))?;
        }
    }
}

/// Namespaces of two endpoints each; policies of as many rules, of which each asks for others.
fn town(namespaces: usize) -> Scene {
    let mut scene = Scene::default();
    for n in 0..namespaces {
        for e in 0..2 {
            let address = format!("10.{}.{}.{}", n / 200, n % 200, e + 1);
            scene = scene.with(&format!("n{n}/e{e}"), &format!("app=a{e}"), &address, &[]);
        }
        let next = format!("kubernetes.io/metadata.name=n{}", (n + 1) % namespaces);
        let rules = vec![
            rule(Some(vec![pods(having("app=a1"))]), Some(vec![tcp(80, 80)])),
            rule(Some(vec![pods_of(having(&next), having("app=a0"))]), Some(vec![tcp(443, 443)])),
        ];
        for e in 0..2 {
            let selector = having(&format!("app=a{e}"));
            scene =
                scene.and(policy(&format!("n{n}"), &format!("p{e}"), selector, Some(rules.clone()), None));
        }
        let all = having("kind=any");
        scene = scene.and(policy(&format!("n{n}"), "rest", all, Some(rules), None));
    }
    scene
}

/// How much of a town's book is read when one more endpoint comes.
fn read_for_one_more(namespaces: usize) -> usize {
    let scene = town(namespaces);
    let (_, small) = compiled(&scene);
    let (book, mut roll) = small.unwrap();
    let book: Book<'_> = postcard::from_bytes(&book).unwrap();
    let like = &scene.world.endpoints[&id("n1/e0")];
    let endpoint = Endpoint { id: id("n1/new"), ..like.clone() };
    let assigned = Assigned { ip: Some("10.99.0.1".parse().unwrap()), ip6: None, more: Vec::new() };
    let before = things_read();
    book.change(&mut roll, None, Some(Member { endpoint: &endpoint, assigned })).unwrap();
    things_read() - before
}

#[test]
fn a_change_reads_of_the_policies_what_concerns_it() {
    let (few, many) = (read_for_one_more(4), read_for_one_more(200));
    assert!(few > 0);
    assert_eq!(few, many, "as much of 600 policies as of 12");
}
