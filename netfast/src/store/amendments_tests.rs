//! What becomes of single endpoints, beside the definitions and in them.

use std::fs;
use std::thread;
use std::time::Duration;

use super::*;
use crate::model::{Endpoint, EndpointId};

fn id(name: &str) -> EndpointId {
    EndpointId { namespace: "default".parse().unwrap(), name: name.parse().unwrap() }
}

fn endpoint(name: &str, app: &str) -> Endpoint {
    Endpoint {
        labels: [("app".to_owned(), app.to_owned())].into(),
        ..Endpoint::new(id(name), "net".parse().unwrap())
    }
}

fn now(name: &str, app: &str) -> Amendment {
    let defined = Defined { origin: Origin::Command, endpoint: endpoint(name, app) };
    Amendment { id: id(name), now: Some(defined) }
}

/// Definitions of two endpoints, `a` and `b`.
fn written(store: &LockedStore) -> Definitions {
    let mut definitions = Definitions::default();
    for name in ["a", "b"] {
        definitions.world.endpoints.insert(id(name), endpoint(name, "old"));
        definitions.origins.insert(id(name), Origin::File);
    }
    write(store, definitions, &Definitions::default())
}

fn write(store: &LockedStore, mut definitions: Definitions, before: &Definitions) -> Definitions {
    let prepared = store.prepare_definitions(&mut definitions, before).unwrap();
    store.save_definitions(prepared, &definitions, before).unwrap();
    assert_eq!(store.definitions().unwrap(), definitions);
    definitions
}

fn amend(store: &LockedStore, writing: &str, amendment: &Amendment) {
    store.prepare_amendment(writing, amendment).unwrap().put().unwrap();
}

/// The endpoints that are defined, each with its label.
fn apps(store: &Store) -> Vec<(String, String)> {
    let definitions = store.definitions().unwrap();
    assert!(definitions.origins.keys().eq(definitions.world.endpoints.keys()));
    let app = |endpoint: &Endpoint| (endpoint.id.to_string(), endpoint.labels["app"].clone());
    definitions.world.endpoints.values().map(app).collect()
}

fn of(apps: &[(&str, &str)]) -> Vec<(String, String)> {
    apps.iter().map(|(name, app)| ((*name).to_owned(), (*app).to_owned())).collect()
}

#[test]
fn an_amendment_is_part_of_the_definitions() {
    let dir = tempfile::tempdir().unwrap();
    let store = tests::store(dir.path()).lock(LOCK_TIMEOUT).unwrap();
    let Definitions { writing, .. } = written(&store);
    let prepared = store.prepare_amendment(&writing, &now("a", "new")).unwrap();
    assert_eq!(apps(&store), of(&[("a", "old"), ("b", "old")]));
    prepared.put().unwrap();
    amend(&store, &writing, &now("c", "new"));
    amend(&store, &writing, &Amendment { id: id("b"), now: None });
    assert_eq!(apps(&store), of(&[("a", "new"), ("c", "new")]));
    amend(&store, &writing, &now("a", "newer"));
    assert_eq!(apps(&store), of(&[("a", "newer"), ("c", "new")]));
    store.remove_all().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn who_writes_all_voids_what_was_amended() {
    let dir = tempfile::tempdir().unwrap();
    let store = tests::store(dir.path()).lock(LOCK_TIMEOUT).unwrap();
    let first = written(&store);
    amend(&store, &first.writing, &now("a", "new"));
    let left = fs::read_dir(store.amendments_dir()).unwrap().next().unwrap().unwrap().path();
    let content = fs::read(&left).unwrap();
    // Also where what is written is what stood there at first, and where a killed writer left an amendment.
    let amended = store.definitions().unwrap();
    assert_ne!(amended, first);
    let second = write(&store, first.clone(), &amended);
    assert!(!left.exists());
    fs::write(&left, &content).unwrap();
    assert_eq!(apps(&store), of(&[("a", "old"), ("b", "old")]));
    // The one that was left is swept by the next that writes.
    let third = Definitions { manifest: Some("netfast.yaml".into()), ..second.clone() };
    write(&store, third, &second);
    assert!(!left.exists());
}

#[test]
fn what_is_the_same_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = tests::store(dir.path()).lock(LOCK_TIMEOUT).unwrap();
    let first = written(&store);
    let before = fs::read(store.definitions_file()).unwrap();
    assert_eq!(write(&store, first.clone(), &first), first);
    assert_eq!(fs::read(store.definitions_file()).unwrap(), before);
    // What container runtimes attach is written elsewhere, and amendments stay.
    amend(&store, &first.writing, &now("a", "new"));
    let amended = store.definitions().unwrap();
    let mut attached = amended.clone();
    attached.world.endpoints.insert(id("c"), endpoint("c", "new"));
    attached.origins.insert(id("c"), Origin::Cni);
    assert!(store.prepare_definitions(&mut attached, &amended).unwrap().is_nothing());
    assert_eq!(attached.writing, first.writing);
    assert_eq!(apps(&store), of(&[("a", "new"), ("b", "old")]));
}

#[test]
fn a_damaged_amendment_is_told_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = tests::store(dir.path()).lock(LOCK_TIMEOUT).unwrap();
    let Definitions { writing, .. } = written(&store);
    amend(&store, &writing, &now("a", "new"));
    let file = fs::read_dir(store.amendments_dir()).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let error = store.definitions().unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()) && error.contains("is damaged"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), whole[..whole.len() / 2]);
    fs::write(&file, &whole).unwrap();
    assert_eq!(apps(&store), of(&[("a", "new"), ("b", "old")]));
}

#[test]
fn definitions_from_before_there_were_amendments_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = tests::store(dir.path()).lock(LOCK_TIMEOUT).unwrap();
    let now = written(&store);
    let text = fs::read_to_string(store.definitions_file()).unwrap();
    let old = text.replace("\"schema\": 2", "\"schema\": 1").replace(&now.writing, "");
    assert_ne!(old, text);
    fs::write(store.definitions_file(), old).unwrap();
    assert_eq!(store.definitions().unwrap(), Definitions { writing: String::new(), ..now });
}

#[test]
fn whoever_removes_an_amendment_by_hand_voids_what_is_known_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = tests::store(dir.path()).lock(LOCK_TIMEOUT).unwrap();
    let first = written(&store);
    amend(&store, &first.writing, &now("a", "new"));
    store.save_defined_endpoints(&DefinedEndpoints::of(&store.definitions().unwrap())).unwrap();
    store.save_ledger("all that is known", &[]).unwrap();
    assert!(store.defined_endpoints().unwrap().is_some());
    let file = fs::read_dir(store.amendments_dir()).unwrap().next().unwrap().unwrap().path();
    // The time of a directory is that of a tick of the kernel.
    thread::sleep(Duration::from_millis(20));
    fs::remove_file(file).unwrap();
    assert_eq!(store.defined_endpoints().unwrap(), None);
    assert_eq!(store.ledger::<String>().unwrap(), None);
}

#[test]
fn what_is_defined_is_known_beside_the_definitions_it_is_of() {
    let dir = tempfile::tempdir().unwrap();
    let store = tests::store(dir.path()).lock(LOCK_TIMEOUT).unwrap();
    let first = written(&store);
    store.save_defined_endpoints(&DefinedEndpoints::of(&first)).unwrap();
    let known = store.defined_endpoints().unwrap().unwrap();
    assert_eq!(known.writing, first.writing);
    let defined = Defined { origin: Origin::File, endpoint: endpoint("a", "old") };
    assert_eq!(known.endpoints.get(&id("a")), Some(&defined));
    write(&store, Definitions { manifest: Some("netfast.yaml".into()), ..first.clone() }, &first);
    assert_eq!(store.defined_endpoints().unwrap(), None);
}
