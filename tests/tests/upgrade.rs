//! Another netfast's programs in the place of the running ones, while packets flow.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics where it fails, in its helpers too"
)]

use std::os::unix::process::ExitStatusExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use netfast_tests::{Finished, Lab, Running, Traffic, require_root};
use nix::libc::SIGKILL;

const SECOND: Duration = Duration::from_secs(1);
/// Longer than this no flow may stand still.
const STALL: Duration = Duration::from_millis(200);
const NONE: [String; 0] = [];

const MANIFEST: &str = "
networks: {lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}}
endpoints:
  web: {publish: ['8080:80', '5353:53/udp']}
  client: {}
";

/// What another netfast's object would be called.
const OTHER: &str = "0000000000000000";

struct Host {
    lab: Lab,
    file: String,
    attach: &'static str,
}

impl Host {
    fn new(attach: &'static str) -> Self {
        let lab = Lab::new().unwrap();
        let file = lab.file("netfast.yaml", MANIFEST).unwrap();
        let host = Self { lab, file, attach };
        host.ok(&["up", "-d", "-f", &host.file]);
        // So that there is an XDP link too.
        host.ok(&["deny", "add", "198.51.100.0/24"]);
        host
    }

    fn run(&self, args: &[&str], fault: &str) -> Finished {
        let mut command = self.lab.command(args);
        command.env("NETFAST_ATTACH", self.attach).env("NETFAST_FAULT", fault);
        Running::start(&mut command).unwrap().finish(20 * SECOND).unwrap()
    }

    fn ok(&self, args: &[&str]) {
        let done = self.run(args, "");
        assert!(done.success(), "{args:?}: {done:?}");
    }

    /// Runs a shell command among the pins.
    fn sh(&self, script: &str) -> String {
        let script = format!("cd {}/bpffs && {script}", self.lab.dir().display());
        let done = self.lab.host.finish("sh", &["-c", &script], 5 * SECOND).unwrap();
        assert!(done.success(), "{script}: {}", done.stderr);
        done.stdout
    }

    /// Makes the running programs another netfast's.
    fn age(&self) {
        self.sh(&format!("mv v1/programs-* v1/programs-{OTHER}"));
        let object = &self.lab.netfast_json(&["status"]).unwrap()["object"];
        assert_eq!((&object["digest"], &object["is_own"]), (&OTHER.into(), &false.into()));
    }

    fn check(&self, when: &str) {
        let status = self.lab.netfast_json(&["status"]).unwrap();
        assert_eq!(status["object"]["is_own"], true, "{when}: {}", status["object"]);
        assert_eq!(self.sh("ls v1").lines().count(), 3, "{when}");
        let links = status["links"].as_array().unwrap();
        // Two hooks of two endpoints, the uplink and its deny list, and the sockets.
        assert!(links.len() >= 4 + 2 + 8, "{when}: {links:#?}");
        let programs = status["programs"].as_array().unwrap();
        let is_right = |link: &serde_json::Value| {
            let hook = link["hook"].as_str().unwrap();
            let program = programs.iter().find(|program| program["name"] == link["program"]).unwrap();
            link["alive"] == true
                && (self.attach == "clsact" || hook != "clsact")
                && (hook == "cgroup" || link["program_id"] == program["id"])
        };
        assert!(links.iter().all(is_right), "{when}: {links:#?}");
        let endpoints = status["endpoints"].as_array().unwrap();
        assert!(endpoints.iter().all(|endpoint| endpoint["ready"] == true), "{when}: {endpoints:#?}");
    }

    fn ids(&self) -> Vec<u64> {
        let status = self.lab.netfast_json(&["status"]).unwrap();
        status["programs"].as_array().unwrap().iter().map(|p| p["id"].as_u64().unwrap()).collect()
    }
}

/// Held by a test with traffic: the flows of two would stop each other.
static TRAFFIC: Mutex<()> = Mutex::new(());

fn assert_unharmed(host: &Host, traffic: Traffic) {
    let report = traffic.stop().unwrap();
    let status = host.lab.netfast_json(&["status"]).unwrap();
    let drops = status["counters"]["drops"].as_object().unwrap();
    let mut dropped = drops.iter().filter(|(reason, count)| *reason != "multicast" && count["packets"] != 0);
    assert_eq!(dropped.next(), None);
    assert_eq!(report.broken, NONE);
    // There are five times as many flows as controls, so one of them meets the worst the machine does.
    assert!(report.worst.0 <= STALL + 2 * report.control, "{report:?}");
    assert!(report.exchanges > 1000, "{report:?}");
}

fn replaced_under_traffic(attach: &'static str) {
    let host = Host::new(attach);
    let alone = TRAFFIC.lock().unwrap_or_else(PoisonError::into_inner);
    let traffic = Traffic::start(&host.lab).unwrap();
    for round in 0..8 {
        let before = host.ids();
        host.age();
        // Any changing command will do.
        match round % 2 {
            0 => host.ok(&["up", "-d", "-f", &host.file]),
            _ => host.ok(&["deny", "add", "203.0.113.0/24"]),
        }
        host.check(&format!("round {round}"));
        assert!(host.ids().iter().all(|id| !before.contains(id)), "round {round}");
        std::thread::sleep(SECOND / 10);
    }
    assert_unharmed(&host, traffic);
    drop(alone);
    host.ok(&["down"]);
    assert_eq!(host.lab.leftovers().unwrap(), NONE);
}

#[test]
fn programs_are_replaced_under_traffic() {
    require_root!();
    replaced_under_traffic("auto");
}

#[test]
fn programs_are_replaced_under_traffic_with_clsact() {
    require_root!();
    replaced_under_traffic("clsact");
}

/// The points to die at: one of three in turn, or all of them with `NETFAST_TEST_ALL=1`.
fn points_of(count: usize) -> impl Iterator<Item = usize> {
    let is_all = std::env::var_os("NETFAST_TEST_ALL").is_some();
    // Not every third: a write of a file has three points, and it would always be the same one.
    (1..=count).filter(move |point| is_all || point % 3 == point / 3 % 3)
}

fn killed_anywhere(attach: &'static str) {
    let host = Host::new(attach);
    let up = ["up", "-d", "-f", &host.file];
    host.age();
    let done = host.run(&up, "count");
    let points = done.stderr.lines().find_map(|line| line.strip_prefix("fault: ")?.strip_suffix(" points"));
    let points: usize = points.unwrap().parse().unwrap();
    assert!(points > 30, "only {points} points");
    let alone = TRAFFIC.lock().unwrap_or_else(PoisonError::into_inner);
    let traffic = Traffic::start(&host.lab).unwrap();
    for point in points_of(points) {
        host.age();
        let done = host.run(&up, &point.to_string());
        assert!(done.success() || done.status.signal() == Some(SIGKILL), "{done:?}");
        host.ok(&up);
        host.check(done.stderr.trim());
    }
    assert_unharmed(&host, traffic);
    drop(alone);
    // And the next command may be `down`.
    for point in (points / 3..=points).step_by(5) {
        host.age();
        let done = host.run(&up, &point.to_string());
        host.ok(&["down"]);
        assert_eq!(host.lab.leftovers().unwrap(), NONE, "{done:?}");
        for direction in ["ingress", "egress"] {
            let args = ["filter", "show", "dev", "uplink0", direction];
            let filters = host.lab.host.finish("tc", &args, 5 * SECOND).expect("tc runs").stdout;
            assert!(!filters.contains("from_uplink"), "{done:?}: {filters}");
        }
        host.ok(&up);
        host.ok(&["deny", "add", "198.51.100.0/24"]);
    }
}

#[test]
fn a_replacement_killed_anywhere() {
    require_root!();
    killed_anywhere("auto");
}

#[test]
fn a_replacement_killed_anywhere_with_clsact() {
    require_root!();
    killed_anywhere("clsact");
}

#[test]
fn another_layout_version_is_refused_and_removed() {
    require_root!();
    let host = Host::new("auto");
    for version in ["999", "0"] {
        let server = host.lab.endpoint_ns("web").unwrap().tcp_serve("[::]:80").unwrap();
        let links = host.sh("ls v1/links");
        host.sh(&format!("mv v1 v{version}"));
        for args in [&["up", "-d", "-f", &host.file][..], &["status"], &["deny", "add", "192.0.2.7/32"]] {
            let done = host.run(args, "");
            assert!(!done.success(), "{done:?}");
            let wanted = format!(
                "bpffs/v{version} was made by a netfast of layout version {version}, this one has version 1 (go on \
                 with the netfast that made it, or remove it with `netfast down` and run `netfast up` again)"
            );
            assert!(done.stderr.contains(&wanted), "{}", done.stderr);
        }
        // It is left as it is, and goes on working.
        assert_eq!(host.sh(&format!("ls -d v*; ls v{version}/links")), format!("v{version}\n{links}"));
        host.lab.outside.tcp_ask("192.0.2.1:8080", SECOND).unwrap();
        drop(server);
        host.ok(&["down"]);
        assert_eq!(host.lab.leftovers().unwrap(), NONE);
        host.ok(&["up", "-d", "-f", &host.file]);
        host.ok(&["deny", "add", "198.51.100.0/24"]);
    }
}

#[test]
fn a_map_of_another_shape_is_refused() {
    require_root!();
    let host = Host::new("auto");
    let server = host.lab.endpoint_ns("web").unwrap().tcp_serve("[::]:80").unwrap();
    host.sh("mv v1/maps/NF_FLOW v1/saved && mv v1/maps/NF_SOCKET v1/maps/NF_FLOW");
    let done = host.run(&["up", "-d", "-f", &host.file], "");
    assert!(!done.success());
    for part in ["the pinned map NF_FLOW in ", "this netfast's has ", "layout version 1", "`netfast down`"] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    host.lab.outside.tcp_ask("192.0.2.1:8080", SECOND).unwrap();
    drop(server);
    host.ok(&["down"]);
    assert_eq!(host.lab.leftovers().unwrap(), NONE);
}
