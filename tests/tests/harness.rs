//! The harness itself, on a plain veth pair and on an empty lab: what it reports must be trusted before netfast
//! can be judged by it.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use netfast_tests::{
    HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, Running, place_program, require_root,
};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(200);

fn pair() -> (Ns, Ns) {
    let (left, right) = (Ns::new("left").unwrap(), Ns::new("right").unwrap());
    left.join("v0", &right, "v0").unwrap();
    for (ns, end) in [(&left, 1), (&right, 2)] {
        ns.address("v0", &format!("10.0.0.{end}/24")).unwrap();
        ns.address("v0", &format!("fd00::{end}/64")).unwrap();
    }
    (left, right)
}

/// What other tests do meanwhile: their children are started, and end.
fn among_children<T>(f: impl FnOnce() -> T) -> T {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert!(Command::new("true").status().unwrap().success());
                }
            });
        }
        f()
    })
}

#[test]
fn a_placed_program_can_be_run_at_once() {
    require_root!();
    let lab = Lab::new().unwrap();
    among_children(|| {
        for number in 0..200 {
            let path = lab.dir().join(format!("program{number}"));
            place_program(&path, b"#!/bin/sh\nexit 0\n").unwrap();
            assert!(Command::new(&path).status().unwrap().success());
        }
    });
}

#[test]
fn children_interrupt_nobody() {
    require_root!();
    let (left, right) = pair();
    let _server = right.tcp_serve("[::]:80").unwrap();
    let _udp = right.udp_serve("10.0.0.2:53").unwrap();
    among_children(|| {
        for _ in 0..100 {
            left.tcp_stream("10.0.0.2:80", 300_000, 10 * SECOND).unwrap();
            left.udp_ask("10.0.0.2:53", 10 * SECOND).unwrap();
        }
    });
}

#[test]
fn tcp_tells_both_ends_addresses() {
    require_root!();
    let (left, right) = pair();
    let server = right.tcp_serve("[::]:80").unwrap();
    assert_eq!(server.address().port(), 80);
    for (address, source) in [("10.0.0.2:80", "10.0.0.1"), ("[fd00::2]:80", "fd00::1")] {
        let reply = left.tcp_ask(address, SECOND).unwrap();
        assert_eq!(reply.by, "right");
        assert_eq!(reply.seen_source, reply.local);
        assert_eq!(reply.seen_source.ip().to_string(), source);
        assert_eq!(reply.seen_destination.to_string(), address);
        assert_eq!(reply.remote.to_string(), address);
    }
}

#[test]
fn a_conversation_goes_on_until_the_server_stops() {
    require_root!();
    let (left, right) = pair();
    let server = right.tcp_serve("10.0.0.2:80").unwrap();
    let from = "10.0.0.1:4000".parse().unwrap();
    let mut conversation = left.tcp_connect_from(Some(from), "10.0.0.2:80", SECOND).unwrap();
    assert_eq!(conversation.ask().unwrap().seen_source, from);
    conversation.swap(100_000).unwrap();
    assert_eq!(conversation.ask().unwrap().seen_source, from);
    drop(server);
    assert!(conversation.ask().is_err());
    assert_eq!(left.tcp_ask("10.0.0.2:80", SECOND).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_stream_arrives_whole() {
    require_root!();
    let (left, right) = pair();
    let _server = right.tcp_serve("[::]:80").unwrap();
    for address in ["10.0.0.2:80", "[fd00::2]:80"] {
        left.tcp_stream(address, 3_000_001, 10 * SECOND).unwrap();
    }
}

#[test]
fn udp_whole_and_in_fragments() {
    require_root!();
    let (left, right) = pair();
    let _servers = ["10.0.0.2:53", "[fd00::2]:53"].map(|address| right.udp_serve(address).unwrap());
    for address in ["10.0.0.2:53", "[fd00::2]:53"] {
        let reply = left.udp_ask(address, SECOND).unwrap();
        assert_eq!(reply.by, "right");
        assert_eq!(reply.seen_source, reply.local);
        left.udp_ask_sized(address, 9_000, SECOND).unwrap();
    }
    assert_eq!(left.udp_ask("10.0.0.2:54", SECOND).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn silence_is_a_timeout() {
    require_root!();
    let (left, _right) = pair();
    // Nobody has the address, and the neighbour table is kept from finding that out.
    left.ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0").unwrap();
    for kind in [
        left.tcp_ask("10.0.0.9:80", SHORT).unwrap_err().kind(),
        left.udp_ask("10.0.0.9:80", SHORT).unwrap_err().kind(),
        left.ping("10.0.0.9", SHORT).unwrap_err().kind(),
    ] {
        assert_eq!(kind, ErrorKind::TimedOut);
    }
}

#[test]
fn ping_small_and_in_fragments() {
    require_root!();
    let (left, _right) = pair();
    for address in ["10.0.0.2", "fd00::2"] {
        left.ping(address, SECOND).unwrap();
        left.ping_sized(address, 5_001, SECOND).unwrap();
    }
}

#[test]
fn counters_and_links() {
    require_root!();
    let (left, right) = pair();
    assert_eq!(left.links().unwrap(), ["lo", "v0"]);
    let before = (left.counters().unwrap()["v0"], right.counters().unwrap()["v0"]);
    for _ in 0..10 {
        left.ping("10.0.0.2", SECOND).unwrap();
    }
    let after = (left.counters().unwrap()["v0"], right.counters().unwrap()["v0"]);
    assert!(after.0.tx_packets - before.0.tx_packets >= 10);
    assert!(after.1.rx_bytes - before.1.rx_bytes >= 10 * 98);
}

#[test]
fn a_lab_reaches_its_outside() {
    require_root!();
    let lab = Lab::with_binary(Path::new("/bin/true")).unwrap();
    assert_eq!(lab.host.links().unwrap(), ["lo", "uplink0"]);
    let _server = lab.outside.tcp_serve("[::]:80").unwrap();
    for (outside, host) in [(OUTSIDE_V4, HOST_V4), (OUTSIDE_V6, HOST_V6)] {
        lab.host.ping(outside, SECOND).unwrap();
        lab.outside.ping(host, SECOND).unwrap();
    }
    let reply = lab.host.tcp_ask(&format!("{OUTSIDE_V4}:80"), SECOND).unwrap();
    assert_eq!(reply.seen_source.ip().to_string(), HOST_V4);
}

#[test]
fn a_labs_processes_are_in_its_cgroup() {
    require_root!();
    let lab = Lab::with_binary(Path::new("/bin/true")).unwrap();
    let name = lab.cgroup().file_name().unwrap().to_str().unwrap().to_owned();
    let done = lab.host.finish("cat", &["/proc/self/cgroup"], SECOND).unwrap();
    assert!(done.stdout.contains(&format!("0::/{name}")), "{}", done.stdout);
    // And this process is not.
    assert!(!fs::read_to_string("/proc/self/cgroup").unwrap().contains(&name));
}

#[test]
fn a_labs_sockets_are_in_its_cgroup() {
    require_root!();
    let lab = Lab::with_binary(Path::new("/bin/true")).unwrap();
    let name = lab.cgroup().file_name().unwrap().to_str().unwrap().to_owned();
    let _server = lab.host.tcp_serve("127.0.0.1:80").unwrap();
    let done = lab.host.finish("ss", &["--listening", "--tcp", "--cgroup"], SECOND).unwrap();
    assert!(done.stdout.contains(&format!("cgroup:/{name}")), "{}{}", done.stdout, done.stderr);
}

#[test]
fn a_process_is_heard_while_it_runs() {
    require_root!();
    let ns = Ns::new("lonely").unwrap();
    let mut cat = Running::start(&mut ns.command("cat")).unwrap();
    cat.write("hello\n").unwrap();
    cat.wait_for("hello", SECOND).unwrap();
    assert!(!cat.ended());
    assert!(cat.finish(SECOND).unwrap().success());

    let mut silent = Running::start(&mut ns.command("true")).unwrap();
    assert!(silent.wait_for("hello", 10 * SECOND).is_err());
    let slow = Running::start(ns.command("sleep").arg("60")).unwrap();
    assert!(slow.finish(SHORT).is_err());
}

#[test]
fn a_lab_leaves_nothing() {
    require_root!();
    let lab = Lab::with_binary(Path::new("/bin/true")).unwrap();
    let (dir, cgroup) = (lab.dir().to_owned(), lab.cgroup().to_owned());
    let bpffs = dir.join("bpffs").display().to_string();
    let done = lab.host.finish("mount", &["-t", "bpf", "bpf", &bpffs], SECOND).unwrap();
    assert!(done.success(), "{}", done.stderr);
    // Others do not see what is mounted on the host.
    assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(&bpffs));
    assert!(lab.host.finish("cat", &["/proc/mounts"], SECOND).unwrap().stdout.contains(&bpffs));
    // A process that was forgotten goes with the lab.
    let sleeper = Running::start(lab.host.command("sleep").arg("60")).unwrap();
    std::mem::forget(sleeper);
    drop(lab);
    assert!(!dir.exists());
    assert!(!cgroup.exists());
}

/// A runtime starts netfast twice for each container: it is not to wait for a loader first.
#[test]
fn netfast_is_linked_statically_where_the_libraries_are_there() {
    let found = Command::new("cc").arg("-print-file-name=libc.a").output();
    if !found.is_ok_and(|found| found.stdout.starts_with(b"/")) {
        println!("skipped: there is no static C library here");
        return;
    }
    require_root!();
    let lab = Lab::new().unwrap();
    let program = fs::read(lab.binary()).unwrap();
    let word = |at: usize| u64::from_le_bytes(*program[at..].first_chunk().unwrap());
    let half = |at: usize| u16::from_le_bytes(*program[at..].first_chunk().unwrap());
    // The program headers of a 64-bit ELF file: where they begin, how long each is, and how many there are.
    let (start, size, count) = (usize::try_from(word(32)).unwrap(), half(54), half(56));
    let kinds: Vec<_> = (0..usize::from(count)).map(|i| half(start + i * usize::from(size))).collect();
    let (loaded, interpreter) = (1, 3);
    assert!(kinds.contains(&loaded) && !kinds.contains(&interpreter), "{kinds:?}");
}
