//! The ledger and the companions: what is void is as good as none.

use std::fs;
use std::path::Path;

use super::*;

/// An instance with definitions, numbers and all that is about them.
fn filled(dir: &Path) -> LockedStore {
    let locked = tests::store(dir).lock(LOCK_TIMEOUT).unwrap();
    define(&locked, &Definitions::default());
    locked.save_numbers(&7).unwrap();
    locked.save_ledger("all that is known", b"and more").unwrap();
    locked.save_companion(Companion::Roll, &"who is who").unwrap();
    locked
}

fn define(store: &LockedStore, definitions: &Definitions) {
    let before = Definitions::default();
    let mut definitions = definitions.clone();
    let prepared = store.prepare_definitions(&mut definitions, &before).unwrap();
    store.save_definitions(prepared, &definitions, &before).unwrap();
}

fn ledger(store: &LockedStore) -> Option<String> {
    let (known, tail) = store.ledger::<String>().unwrap()?;
    assert_eq!(&*tail, b"and more");
    Some(known)
}

fn roll(store: &LockedStore) -> Option<String> {
    store.companion(Companion::Roll).unwrap()?.read()
}

#[test]
fn what_is_true_is_read_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    assert_eq!(ledger(&store).as_deref(), Some("all that is known"));
    assert_eq!(roll(&store).as_deref(), Some("who is who"));
    store.remove_ledger().unwrap();
    assert_eq!(ledger(&store), None);
}

#[test]
fn what_is_about_another_file_is_void() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    define(&store, &Definitions { manifest: Some("netfast.yaml".into()), ..Definitions::default() });
    assert_eq!(ledger(&store), None);
    store.save_numbers(&8).unwrap();
    assert_eq!(roll(&store), None);
    assert!(store.has_companion(Companion::Roll));
}

#[test]
fn what_is_torn_is_void() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    for file in [store.ledger_file(), store.companion_file(Companion::Roll)] {
        let whole = fs::read(&file).unwrap();
        let longer = [whole.as_slice(), b"!"].concat();
        for torn in (0..whole.len()).map(|length| &whole[..length]).chain([longer.as_slice()]) {
            fs::write(&file, torn).unwrap();
            let is_read = if file == store.ledger_file() { ledger(&store) } else { roll(&store) };
            assert_eq!(is_read, None, "{} of {} bytes", torn.len(), whole.len());
        }
    }
}

#[test]
fn what_an_older_netfast_wrote_is_void() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    // The form has the first eight bytes; before it had a name, there was the stamp. The ledger was JSON.
    for file in [store.ledger_file(), store.companion_file(Companion::Roll)] {
        let now = fs::read(&file).unwrap();
        fs::write(&file, &now[8..]).unwrap();
    }
    assert_eq!((ledger(&store), roll(&store)), (None, None));
    fs::write(store.ledger_file(), "{\"definitions\":{},\"ledger\":\"all that is known\"}\n").unwrap();
    assert_eq!(ledger(&store), None);
}
