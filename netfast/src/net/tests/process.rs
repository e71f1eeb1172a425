//! Commands inside an endpoint.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::libc;

use super::super::hosts::rewrite_in_place;
use super::super::{Process, alive, spawn_inside, stop};
use super::child::child;
use super::{Mounted, need_root, within_three_seconds};

struct Endpoint {
    mounted: Mounted,
    files: tempfile::TempDir,
}

impl Endpoint {
    fn new() -> Self {
        let endpoint = Self { mounted: Mounted::new(), files: tempfile::tempdir().unwrap() };
        fs::write(endpoint.file("hosts"), "10.0.0.1 marker-in-hosts\n").unwrap();
        fs::write(endpoint.file("resolv"), "nameserver 192.0.2.53\n").unwrap();
        endpoint
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn exec(&self, argv: &[&str]) -> std::process::Output {
        let paths = [self.mounted.path(), self.file("hosts"), self.file("resolv")];
        let mut task = vec!["exec"];
        task.extend(paths.iter().map(|path| path.to_str().unwrap()));
        task.extend(argv);
        child(&task).output().unwrap()
    }

    fn spawn(&self, script: &str) -> Started {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let (hosts, resolv, log) = (self.file("hosts"), self.file("resolv"), self.file("log"));
        Started(spawn_inside(&self.mounted.path(), &hosts, &resolv, &argv, &log, None, "test").unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap()
    }
}

/// A command that ends with its test, however that ends.
struct Started(Process);

impl Started {
    fn alive(&self) -> bool {
        alive(self.0.pid, self.0.start_time)
    }

    fn stop(&self, grace: Duration) -> bool {
        stop(self.0.pid, self.0.start_time, grace).unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(stop(self.0.pid, self.0.start_time, Duration::ZERO));
    }
}

#[test]
fn a_command_sees_the_endpoints_files_and_devices() {
    need_root!();
    let endpoint = Endpoint::new();
    let script = "cat /etc/hosts /etc/resolv.conf /proc/net/dev; grep SigIgn /proc/self/status; exit 7";
    let output = endpoint.exec(&["sh", "-c", script]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert!(text.contains("marker-in-hosts") && text.contains("192.0.2.53"), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains(':') && line.contains(" 0 ")).count(), 1, "{text}");
    let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert_eq!(ignored & 1 << (libc::SIGPIPE - 1), 0, "{text}");
    assert!(!fs::read_to_string("/etc/hosts").unwrap().contains("marker-in-hosts"));
}

#[test]
fn a_command_that_cannot_be_executed_has_the_usual_exit_code() {
    need_root!();
    let endpoint = Endpoint::new();
    assert_eq!(endpoint.exec(&["no-such-command"]).status.code(), Some(127));
    assert_eq!(endpoint.exec(&["/etc"]).status.code(), Some(126));
    fs::remove_file(endpoint.file("hosts")).unwrap();
    let output = endpoint.exec(&["true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("find "), "it says which file");
}

#[test]
fn a_started_command_lives_in_the_endpoint_and_sees_later_names() {
    need_root!();
    let endpoint = Endpoint::new();
    let started = endpoint.spawn("while ! grep later /etc/hosts; do sleep 0.01; done; sleep 60");
    assert!(started.alive());
    rewrite_in_place(&endpoint.file("hosts"), "10.0.0.2 later\n").unwrap();
    assert!(within_three_seconds(|| endpoint.log() == "10.0.0.2 later\n"), "the command sees the new name");
    let inside = super::super::Netns::of_pid(started.0.pid).unwrap();
    let netns = super::super::Netns::open(&endpoint.mounted.path()).unwrap();
    assert_eq!(inside.inode().unwrap(), netns.inode().unwrap());
    let before = Instant::now();
    assert!(started.stop(Duration::from_secs(5)));
    assert!(before.elapsed() < Duration::from_secs(2), "SIGTERM is enough");
    assert!(!started.alive());
    assert!(!started.stop(Duration::ZERO), "it is stopped once");
}

#[test]
fn the_deaf_are_killed_with_their_children() {
    need_root!();
    let endpoint = Endpoint::new();
    let started = endpoint.spawn("trap '' TERM; sleep 61 & echo $!; wait; sleep 62");
    assert!(within_three_seconds(|| endpoint.log().ends_with('\n')), "the child starts");
    let child: u32 = endpoint.log().trim().parse().unwrap();
    assert!(started.stop(Duration::from_millis(30)));
    assert!(!started.alive());
    let stat = || fs::read_to_string(format!("/proc/{child}/stat"));
    assert!(within_three_seconds(|| stat().map_or(true, |text| text.contains(") Z "))), "the child ends");
}

#[test]
fn a_command_that_ended_is_dead_and_can_be_stopped() {
    need_root!();
    let endpoint = Endpoint::new();
    let started = endpoint.spawn("exit 3");
    assert!(within_three_seconds(|| !started.alive()), "it ends");
    assert!(!started.stop(Duration::ZERO));
    assert!(!PathBuf::from(format!("/proc/{}", started.0.pid)).exists(), "it is reaped");
}

#[test]
fn a_command_enters_its_control_group_and_tells_what_is_missing() {
    need_root!();
    let endpoint = Endpoint::new();
    let group = tempfile::tempdir().unwrap();
    fs::write(group.path().join("cgroup.procs"), "").unwrap();
    let start = |program: &str| {
        let (hosts, resolv, log) = (endpoint.file("hosts"), endpoint.file("resolv"), endpoint.file("log"));
        let argv = [program.to_owned()];
        spawn_inside(&endpoint.mounted.path(), &hosts, &resolv, &argv, &log, Some(group.path()), "test")
    };
    drop(Started(start("true").unwrap()));
    assert_eq!(fs::read_to_string(group.path().join("cgroup.procs")).unwrap(), "0");
    let error = start("no-such-command").unwrap_err();
    assert!(error.is_not_found() && error.to_string().starts_with("start no-such-command: "), "{error}");
    fs::remove_file(group.path().join("cgroup.procs")).unwrap();
    assert!(start("true").unwrap_err().to_string().contains("cgroup.procs"));
}
