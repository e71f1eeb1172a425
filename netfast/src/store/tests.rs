use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::model::{EndpointId, Name};

/// Tells a copy of this test program what to do, and where.
const ROLE: &str = "NETFAST_TEST_ROLE";
const PLACE: &str = "NETFAST_TEST_PLACE";

pub(super) fn store(dir: &Path) -> Store {
    let options = PathsOptions {
        state_dir: Some(dir.join("state")),
        run_dir: Some(dir.join("run")),
        bpffs: Some(dir.join("bpf")),
        cgroup: None,
    };
    Store::new(Paths::resolve(options).unwrap())
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn endpoint(namespace: &str, endpoint: &str) -> EndpointRecord {
    EndpointRecord {
        id: EndpointId { namespace: name(namespace), name: name(endpoint) },
        incarnation: 1,
        slot: 0,
        network: name("net"),
        ip: Some([10, 0, 0, 2].into()),
        ip6: None,
        more: Vec::new(),
        mac: [2, 0, 0, 0, 0, 1],
        host_ifname: "nf1".to_owned(),
        host_ifindex: None,
        container_ifname: "eth0".to_owned(),
        aliases: Vec::new(),
        apart: false,
        netns: "/run/netns/x".into(),
        owns_netns: true,
        mtu: 1500,
        netns_inode: Some((4, 4_026_532_000)),
        adopted: None,
        publish: Vec::new(),
        command: Some(CommandRecord { argv: vec!["sleep".to_owned()], pid: 1, start_time: 2 }),
    }
}

fn copy_of_this_test(role: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "store::tests::in_another_process", "--nocapture"])
        .env(ROLE, role)
        .env(PLACE, place);
    command
}

/// Not a test of its own: what the copies do.
#[test]
fn in_another_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let store = store(Path::new(&std::env::var_os(PLACE).unwrap()));
    let locked = store.lock(Duration::from_secs(20)).unwrap();
    match role.as_str() {
        "count" => {
            let counted = locked.numbers::<u64>().unwrap().unwrap_or_default();
            std::thread::sleep(Duration::from_millis(2));
            locked.save_numbers(&(counted + 1)).unwrap();
        }
        "die" => {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        _ => {
            locked.save_endpoint(&endpoint("default", "web")).unwrap();
            locked.save_endpoint(&endpoint("default", "db")).unwrap();
        }
    }
}

#[test]
fn a_file_without_content_is_of_an_earlier_boot() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let locked = store.lock(LOCK_TIMEOUT).unwrap();
    locked.save_instance(&Instance::new(NetnsId { cookie: 7, dev: 4, ino: 5 }).unwrap()).unwrap();
    for content in [&b""[..], &[0; 512]] {
        fs::write(store.instance_file(), content).unwrap();
        assert!(!store.instance().unwrap().unwrap().is_of_this_boot().unwrap());
    }
    fs::write(store.instance_file(), "{").unwrap();
    assert!(matches!(store.instance(), Err(StoreError::Corrupt { .. })));
}

#[test]
fn everything_is_read_as_written_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    assert!(!store.exists());
    assert_eq!(store.definitions().unwrap(), Definitions::default());
    let locked = store.lock(LOCK_TIMEOUT).unwrap();

    let web = endpoint("default", "web");
    let mut definitions = Definitions { manifest: Some("netfast.yaml".into()), ..Definitions::default() };
    definitions.origins.insert(web.id.clone(), Origin::Command);
    let prepared = locked.prepare_definitions(&mut definitions, &Definitions::default()).unwrap();
    assert_eq!(store.definitions().unwrap(), Definitions::default());
    locked.save_definitions(prepared, &definitions, &Definitions::default()).unwrap();
    assert_eq!(store.definitions().unwrap(), definitions);

    let network = NetworkRecord {
        name: name("net"),
        id: 1,
        subnet: None,
        subnet6: None,
        fixed_gateway: None,
        fixed_gateway6: None,
        more: Vec::new(),
        mtu: 1500,
        internal: false,
        adopted: false,
        bridge: "nfb1".to_owned(),
        mac: [2; 6],
        ifindex: Some(3),
    };
    locked.save_network(&network).unwrap();
    assert_eq!(store.network(&network.name).unwrap().as_ref(), Some(&network));
    assert_eq!(store.networks().unwrap().into_values().collect::<Vec<_>>(), [network]);

    let mut instance = Instance::new(NetnsId { cookie: 7, dev: 4, ino: 5 }).unwrap();
    assert_eq!((instance.take_incarnation().unwrap(), instance.take_incarnation().unwrap()), (1, 2));
    locked.save_instance(&instance).unwrap();
    assert_eq!(store.instance().unwrap().unwrap(), instance);
    assert!(instance.is_of_this_boot().unwrap());

    locked.save_endpoint(&web).unwrap();
    assert_eq!(store.endpoint(&web.id).unwrap(), Some(web.clone()));
    assert!(locked.remove_endpoint(&web.id).unwrap());
    assert!(!locked.remove_endpoint(&web.id).unwrap());
    locked.save_endpoint(&web).unwrap();

    for directory in store.directories() {
        assert_eq!(fs::metadata(directory).unwrap().mode() & 0o777, 0o700);
    }
    assert_eq!(fs::metadata(store.definitions_file()).unwrap().mode() & 0o777, 0o600);
    assert!(store.exists());
    locked.remove_all().unwrap();
    assert!(!store.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn names_as_long_as_they_may_be_do_not_collide() {
    let dir = tempfile::tempdir().unwrap();
    let locked = store(dir.path()).lock(LOCK_TIMEOUT).unwrap();
    let long = "a".repeat(253);
    let names = [format!("{}b", &long[1..]), format!("{}c", &long[1..]), long.clone()];
    for endpoint_name in &names {
        locked.save_endpoint(&endpoint(&long, endpoint_name)).unwrap();
    }
    let found: BTreeSet<_> = locked.endpoints().unwrap().into_keys().map(|id| id.name.to_string()).collect();
    assert_eq!(found, names.into_iter().collect());
}

#[test]
fn damage_and_foreign_schemas_are_told_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let locked = store.lock(LOCK_TIMEOUT).unwrap();
    let file = store.definitions_file();
    for (content, part) in
        [("{\"schema\": 1, \"wor", "is damaged"), ("{\"schema\": 9, \"x\": 0}", "schema 9")]
    {
        fs::write(&file, content).unwrap();
        let error = store.definitions().unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("definitions.json"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
    fs::write(store.endpoints_dir().join("default+x.json"), "{").unwrap();
    assert!(matches!(store.endpoints(), Err(StoreError::Corrupt { .. })));
    locked.remove_all().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_a_killed_writer_left_is_ignored_and_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    drop(store.lock(LOCK_TIMEOUT).unwrap());
    let torn = store.endpoints_dir().join(".tmp-abc");
    fs::write(&torn, "{\"id\"").unwrap();
    assert!(store.endpoints().unwrap().is_empty());
    // To look for it takes the longer the more endpoints there are, so it is done where somebody was killed.
    drop(store.lock(LOCK_TIMEOUT).unwrap());
    assert!(torn.exists());
    fs::write(store.paths().run_dir.join("lock"), "4194304   \n").unwrap();
    // What cannot be removed is come back to.
    let stubborn = store.endpoints_dir().join(".tmp-0");
    fs::create_dir(&stubborn).unwrap();
    store.lock(LOCK_TIMEOUT).unwrap_err();
    fs::remove_dir(&stubborn).unwrap();
    let locked = store.lock(LOCK_TIMEOUT).unwrap();
    assert!(!torn.exists());
    drop(locked);
}

#[test]
fn a_foreign_file_keeps_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let locked = store.lock(LOCK_TIMEOUT).unwrap();
    let foreign = store.paths().state_dir.join("mine.txt");
    fs::write(&foreign, "").unwrap();
    locked.remove_all().unwrap();
    assert!(foreign.exists() && !store.paths().run_dir.exists());
}

#[test]
fn a_held_lock_is_reported_with_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let locked = store.lock(LOCK_TIMEOUT).unwrap();
    let error = store.lock(Duration::from_millis(50)).unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(locked);
    // The one who gave up does not keep it either.
    for _ in 0..3 {
        drop(store.lock(Duration::from_secs(5)).unwrap());
    }
}

#[test]
fn threads_and_processes_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let (processes, threads, rounds) = (8, 4, 10);
    let mut children: Vec<_> =
        (0..processes).map(|_| copy_of_this_test("count", dir.path()).spawn().unwrap()).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let locked = store(dir.path()).lock(LOCK_TIMEOUT).unwrap();
                    let counted = locked.numbers::<u64>().unwrap().unwrap_or_default();
                    locked.save_numbers(&(counted + 1)).unwrap();
                }
            });
        }
    });
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    let counted = store(dir.path()).numbers::<u64>().unwrap();
    assert_eq!(counted, Some(processes + threads * rounds));
}

#[test]
fn those_who_wait_while_everything_is_removed_start_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let locked = store.lock(LOCK_TIMEOUT).unwrap();
                    assert!(!locked.exists(), "two have the lock");
                    locked.save_numbers(&1).unwrap();
                    locked.save_endpoint(&endpoint("default", "web")).unwrap();
                    locked.remove_all().unwrap();
                }
            });
        }
    });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_is_made_while_others_remove_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                drop(fs::remove_dir(&path));
            }
        });
        let made = (0..20_000).try_for_each(|_| atomic::make_directory(&path));
        is_over.store(true, Ordering::Relaxed);
        made.unwrap();
    });
    // What is no directory, and stays, is told at once.
    drop(fs::remove_dir(&path));
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    let error = atomic::make_directory(&path).unwrap_err();
    assert!(
        matches!(&error, StoreError::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists),
        "{error:?}"
    );
}

#[test]
fn a_dead_holder_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let status = copy_of_this_test("die", dir.path()).status().unwrap();
    assert_eq!(status.signal(), Some(9));
    drop(store(dir.path()).lock(Duration::from_secs(5)).unwrap());
}

#[test]
fn a_crash_at_any_point_leaves_whole_files() {
    let dir = tempfile::tempdir().unwrap();
    let output = copy_of_this_test("write", dir.path()).env(fault::VARIABLE, "count").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let points: u64 = said.split("fault: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(points, 6, "three for each write");
    for point in 1..=points {
        let dir = tempfile::tempdir().unwrap();
        let child =
            copy_of_this_test("write", dir.path()).env(fault::VARIABLE, point.to_string()).output().unwrap();
        assert_eq!(child.status.signal(), Some(9));
        let store = store(dir.path());
        let there = store.endpoints().unwrap().len() as u64;
        assert_eq!(there, point / 3, "at point {point}");
        store.lock(LOCK_TIMEOUT).unwrap().remove_all().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
