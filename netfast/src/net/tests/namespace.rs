//! Namespaces: identity, creation, removal.

use std::fs;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use super::super::{BridgeSpec, Error, Netlink, Netns, VethSpec};
use super::child::child;
use super::{Mounted, namespace, need_root, within_three_seconds};

#[test]
fn a_namespace_has_a_cookie_and_an_inode_of_its_own() {
    need_root!();
    let (a, b) = (namespace(), namespace());
    assert_ne!(a.cookie().unwrap(), b.cookie().unwrap());
    assert_ne!(a.inode().unwrap(), b.inode().unwrap());
    let again = a.run(|| Netns::current().unwrap()).unwrap();
    assert_eq!(a.cookie().unwrap(), again.cookie().unwrap());
    assert_eq!(a.inode().unwrap(), again.inode().unwrap());
    let own = Netns::of_pid(std::process::id()).unwrap();
    assert_eq!(own.inode().unwrap(), Netns::current().unwrap().inode().unwrap());
}

#[test]
fn what_runs_in_a_namespace_already_stays_on_its_thread() {
    need_root!();
    let (a, b) = (namespace(), namespace());
    let thread = || thread::current().id();
    let (outer, inner, other) = a.run(|| (thread(), a.run(thread).unwrap(), b.run(thread).unwrap())).unwrap();
    assert_eq!(outer, inner);
    assert!(outer != thread() && outer != other);
    assert_eq!(Netns::current().unwrap().run(thread).unwrap(), thread());
}

#[test]
fn a_visit_stays_on_its_thread_and_ends_where_it_began() {
    need_root!();
    let place = || (thread::current().id(), Netns::current().unwrap().inode().unwrap());
    let here = place();
    let other = namespace();
    assert_eq!(other.visit(place).unwrap(), (here.0, other.inode().unwrap()));
    assert_eq!(place(), here);
    let error = other.visit(|| panic!("on purpose")).unwrap_err();
    assert!(matches!(&error, Error::Panicked(text) if text == "on purpose"), "{error}");
    assert_eq!(place(), here);
}

#[test]
fn a_panic_inside_is_an_error() {
    need_root!();
    for netns in [namespace(), Netns::current().unwrap()] {
        let error = netns.run(|| panic!("on purpose")).unwrap_err();
        assert!(matches!(&error, Error::Panicked(text) if text == "on purpose"), "{error}");
    }
}

#[test]
fn other_files_are_no_namespaces() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path(), "/proc/self/ns/mnt".as_ref()] {
        assert_eq!(Netns::open(path).unwrap_err().errno(), Some(Errno::EINVAL as i32));
    }
    assert!(Netns::open("/proc/self/ns/none".as_ref()).unwrap_err().is_not_found());
}

#[test]
fn creating_and_removing_leave_nothing() {
    need_root!();
    let mounted = Mounted::new();
    let path = mounted.path();
    let netns = Netns::open(&path).unwrap();
    assert_ne!(netns.inode().unwrap(), Netns::current().unwrap().inode().unwrap());
    let links = Netlink::open(&netns).unwrap().links().unwrap();
    assert!(links.iter().any(|link| link.loopback && link.up), "{links:?}");

    assert!(Netns::create(&path).unwrap_err().is_exists());
    Netns::remove(&path).unwrap();
    assert!(!path.exists());
    Netns::remove(&path).unwrap();
    Netns::remove(&path.join("below")).unwrap();
    // What a kill between making the file and mounting leaves.
    fs::write(&path, "").unwrap();
    Netns::remove(&path).unwrap();
    assert!(!path.exists());
    // Nobody else's file.
    fs::write(&path, "text").unwrap();
    Netns::remove(&path).unwrap_err();
    assert!(path.exists());
}

#[test]
fn a_kill_leaves_what_can_be_removed() {
    need_root!();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("netns");
    for delay in [5, 9, 12, 16, 21] {
        let mut churn = child(&["churn", path.to_str().unwrap()]).stdout(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(delay));
        churn.kill().unwrap();
        churn.wait().unwrap();
        Netns::remove(&path).unwrap();
        assert!(!path.exists());
    }
}

#[test]
fn a_copy_of_the_mount_elsewhere_does_not_keep_the_namespace() {
    need_root!();
    let mounted = Mounted::new();
    let path = mounted.path();
    let host = namespace();
    let netlink = Netlink::open(&host).unwrap();
    let bridge = netlink.create_bridge(&bridge("nf0")).unwrap();
    let container = Netns::open(&path).unwrap();
    let pair = netlink
        .create_veth(&VethSpec {
            host_name: "nfv0",
            host_mac: None,
            bridge: Some(bridge),
            alias: "",
            container_netns: &container,
            container_name: "eth0",
            container_mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
        })
        .unwrap();
    drop(container);
    let mut holder = Command::new("unshare")
        .args(["--mount", "--propagation=private", "sh", "-c", "echo ready; exec sleep 60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 5];
    std::io::Read::read_exact(&mut holder.stdout.take().unwrap(), &mut ready).unwrap();

    let removed = Netns::remove(&path);
    // The namespace takes its veth along, and so the host's end.
    let gone = within_three_seconds(|| netlink.link_by_index(pair.host).is_err_and(|e| e.is_not_found()));
    holder.kill().unwrap();
    holder.wait().unwrap();
    removed.unwrap();
    assert!(gone, "the namespace lives on");
}

#[test]
fn refusals_say_what_and_why() {
    need_root!();
    let host = namespace();
    let netlink = Netlink::open(&host).unwrap();
    assert!(netlink.link("none").unwrap_err().is_not_found());
    assert!(!netlink.delete_link(4711).unwrap());
    let index = netlink.create_bridge(&bridge("nf0")).unwrap();
    let error = netlink.create_bridge(&bridge("nf0")).unwrap_err();
    assert!(error.is_exists() && error.to_string().starts_with("create bridge nf0: "), "{error}");
    assert!(!netlink.delete_neighbour(index, IpAddr::from([10, 0, 0, 9])).unwrap());
    // In the kernel's words.
    let error = netlink.add_fdb(1, [2, 0, 0, 0, 0, 9]).unwrap_err();
    assert!(matches!(&error, Error::Netlink { .. }), "{error}");
    let error = netlink.create_bridge(&BridgeSpec { mtu: 1, ..bridge("nf1") }).unwrap_err();
    assert!(matches!(&error, Error::Netlink { reason: Some(_), .. }), "{error}");
    assert!(netlink.delete_link(index).unwrap());
    assert!(netlink.link_by_index(index).unwrap_err().is_not_found());
}

fn bridge(name: &str) -> BridgeSpec {
    BridgeSpec {
        name: name.to_owned(),
        mac: [2, 0, 0, 0, 0, 0xfe],
        mtu: 1500,
        addresses: Vec::new(),
        alias: "netfast".to_owned(),
    }
}
