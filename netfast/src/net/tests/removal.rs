//! Removal of devices by a process that is left behind.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::{Netlink, Netns, VethPair};
use super::child::child;
use super::{namespace, need_root};

/// A pair from `host` to `container`, up.
fn wire(host: &Netns, container: &Netns) -> VethPair {
    let netlink = Netlink::open(host).unwrap();
    let pair = netlink.create_wire("v0", container, "eth0").unwrap();
    netlink.set_up(pair.host).unwrap();
    Netlink::open(container).unwrap().set_up(pair.container).unwrap();
    pair
}

#[test]
fn a_device_is_out_of_sight_before_the_kernel_has_freed_it() {
    need_root!();
    let (host, container) = (namespace(), namespace());
    let netlink = Netlink::open(&host).unwrap();
    let inside = Netlink::open(&container).unwrap();
    let mut times = [Duration::MAX; 2];
    for _ in 0..10 {
        for (soon, best) in [false, true].into_iter().zip(&mut times) {
            let pair = wire(&host, &container);
            let start = Instant::now();
            let delete = if soon { Netlink::delete_link_soon } else { Netlink::delete_link };
            assert!(delete(&netlink, pair.host).unwrap());
            *best = start.elapsed().min(*best);
            // First what is asked without waiting for who changes devices. The far end is the last to go.
            let settings = Path::new("/proc/sys/net/ipv4/conf/eth0");
            assert!(!container.run(|| settings.exists()).unwrap());
            assert!(netlink.link("v0").unwrap_err().is_not_found());
            assert!(inside.link("eth0").unwrap_err().is_not_found());
        }
    }
    let [whole, soon] = times;
    // By half an order of magnitude on a machine, by half in an emulator.
    assert!(soon < whole, "{soon:?} and {whole:?}");
}

#[test]
fn a_device_that_is_not_there_cannot_be_removed() {
    need_root!();
    let netlink = Netlink::open(&namespace()).unwrap();
    assert!(!netlink.delete_link_soon(4711).unwrap());
    // What the kernel refuses is told.
    let error = netlink.delete_link_soon(1).unwrap_err();
    assert_eq!(error.errno(), netlink.delete_link(1).unwrap_err().errno(), "{error}");
}

#[test]
fn nobody_need_hear_how_the_child_ended() {
    need_root!();
    let output = child(&["remove", "4711"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("removed: Ok(false)"), "{output:?}");
}
