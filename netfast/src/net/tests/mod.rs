//! Tests on a real kernel, each in network namespaces of its own. They need root and say so where they are skipped.

mod addresses;
mod child;
mod free_ports;
mod namespace;
mod pair;
mod process;
mod removal;
mod settings;
mod wire;

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use super::netns::on_fresh_thread;
use super::{Netlink, Netns};

/// Returns from the test, with a word about it, unless it runs as root.
macro_rules! need_root {
    () => {
        if !super::is_root() {
            println!("skipped: needs root");
            return;
        }
    };
}
use need_root;

fn is_root() -> bool {
    geteuid().is_root()
}

/// A namespace that is gone with its last handle.
fn namespace() -> Netns {
    let make = || unshare(CloneFlags::CLONE_NEWNET).map(|()| Netns::current().unwrap());
    let netns = on_fresh_thread(make).unwrap().unwrap();
    Netlink::open(&netns).unwrap().set_up(1).unwrap();
    netns
}

/// A namespace on a file, removed with this value.
struct Mounted {
    directory: tempfile::TempDir,
}

impl Mounted {
    fn new() -> Self {
        let mounted = Self { directory: tempfile::tempdir().unwrap() };
        Netns::create(&mounted.path()).unwrap();
        mounted
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("a/b/netns")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Netns::remove(&self.path()).unwrap_or_else(|error| println!("{error}"));
    }
}

/// Output of a command inside a namespace.
fn output(netns: &Netns, command: &str) -> String {
    let words: Vec<_> = command.split(' ').collect();
    let output = netns.run(|| Command::new(words[0]).args(&words[1..]).output().unwrap()).unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// JSON output of a command inside a namespace.
fn json(netns: &Netns, command: &str) -> serde_json::Value {
    serde_json::from_str(&output(netns, command)).unwrap()
}

/// Waits for something to hold. Returns whether it came to.
fn within_three_seconds(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(3);
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}
