//! A netfast that is killed at any point: the next one makes it good, whichever command that is.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics where it fails, in its helpers too"
)]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use netfast_tests::{Finished, HOST_V4, Lab, Running, require_root};
use nix::libc::SIGKILL;

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(100);
const NONE: [String; 0] = [];

const OLD: &str = r#"
networks: {lab: {subnet: 10.77.0.0/24}}
endpoints:
  web: {labels: {app: web}, ip: 10.77.0.2, publish: ["8080:80"], command: [sleep, "1000"]}
  client: {labels: {role: client}}
policies: [old-policy.yaml]
"#;

/// One endpoint less, one more, another published port, and another may enter.
const NEW: &str = r#"
networks: {lab: {subnet: 10.77.0.0/24}}
endpoints:
  web: {labels: {app: web}, ip: 10.77.0.2, publish: ["8081:80"]}
  guest: {labels: {role: guest}}
policies: [new-policy.yaml]
"#;

fn policy(role: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: web}}\nspec:\n  podSelector: \
         {{matchLabels: {{app: web}}}}\n  ingress: [{{from: [{{podSelector: {{matchLabels: {{role: {role}}}}}}}, \
         {{ipBlock: {{cidr: 192.0.2.2/32}}}}]}}]\n"
    )
}

/// The points to die at, numbered: one of three in turn, or all of them with `NETFAST_TEST_ALL=1`, which takes two
/// minutes.
fn points_of(count: usize) -> impl Iterator<Item = (usize, usize)> {
    let is_all = std::env::var_os("NETFAST_TEST_ALL").is_some();
    // Not every third: a write of a file has three points, and it would always be the same one.
    (1..=count).filter(move |point| is_all || point % 3 == point / 3 % 3).enumerate()
}

struct World {
    lab: Lab,
    old: String,
    new: String,
}

fn world() -> World {
    let lab = Lab::new().unwrap();
    lab.file("old-policy.yaml", &policy("client")).unwrap();
    lab.file("new-policy.yaml", &policy("guest")).unwrap();
    let (old, new) = (lab.file("old.yaml", OLD).unwrap(), lab.file("new.yaml", NEW).unwrap());
    World { lab, old, new }
}

impl World {
    fn faulty(&self, args: &[&str], fault: &str) -> Finished {
        let mut command = self.lab.command(args);
        command.env("NETFAST_FAULT", fault);
        Running::start(&mut command).unwrap().finish(20 * SECOND).unwrap()
    }

    /// How many points a command passes.
    fn points(&self, args: &[&str]) -> usize {
        let done = self.faulty(args, "count");
        assert!(done.success(), "{done:?}");
        let told = done.stderr.lines().find_map(|line| line.strip_prefix("fault: ")?.strip_suffix(" points"));
        let points = told.unwrap().parse().unwrap();
        assert!(points > 10, "only {points} points");
        points
    }

    /// Runs a command that dies at a point, and tells which that was.
    fn killed(&self, args: &[&str], point: usize) -> String {
        let done = self.faulty(args, &point.to_string());
        // A point that only some runs pass, such as the repair of something, may be beyond the end of this one.
        assert!(done.success() || done.status.signal() == Some(SIGKILL), "{done:?}");
        format!("`{}`, {}", args[0], done.stderr.trim())
    }

    fn ok(&self, args: &[&str], when: &str) {
        let done = self.lab.netfast(args).unwrap();
        assert!(done.success(), "{args:?} after {when}: {done:?}");
    }

    /// The file's world is up, the whole of it, and nothing else.
    fn check(&self, file: &str, when: &str) {
        let (other, outsider, port) =
            if *file == self.old { ("client", "guest", 8080) } else { ("guest", "client", 8081) };
        let status = self.lab.netfast_json(&["status"]).unwrap();
        let endpoints = status["endpoints"].as_array().unwrap();
        let mut names: Vec<_> = endpoints.iter().map(|e| e["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        let mut wanted = vec![other, "web"];
        wanted.sort_unstable();
        assert_eq!(names, wanted, "{when}");
        assert!(endpoints.iter().all(|e| e["ready"] == true), "{when}: {status:#}");
        assert_eq!(endpoints[endpoints.len() - 1]["pid"].is_u64(), *file == self.old, "{when}: {status:#}");

        let mut devices: Vec<_> = endpoints.iter().map(|e| e["host_ifname"].as_str().unwrap()).collect();
        devices.extend(["lo", "uplink0", "nf-lab"]);
        devices.sort_unstable();
        // And the one by which fragments are put in order.
        let (defrag, links): (Vec<_>, Vec<_>) =
            self.lab.host.links().unwrap().into_iter().partition(|link| link.starts_with("nf0-"));
        assert_eq!((links, defrag.len()), (devices.into_iter().map(str::to_owned).collect(), 1), "{when}");
        let run = self.lab.dir().join("run");
        for (directory, files) in [("netns", 3), ("endpoints", 2)] {
            assert_eq!(fs::read_dir(run.join(directory)).unwrap().count(), files, "{when}: {directory}");
        }
        let hosts = fs::read_to_string(run.join("hosts/lab")).unwrap();
        assert!(hosts.contains(other) && !hosts.contains(outsider), "{when}: {hosts}");

        let web = self.lab.endpoint_ns("web").unwrap();
        let _server = web.tcp_serve("0.0.0.0:80").unwrap();
        let client = self.lab.endpoint_ns(other).unwrap();
        client.tcp_ask("10.77.0.2:80", SECOND).expect(when);
        self.lab.outside.tcp_ask(&format!("{HOST_V4}:{port}"), SECOND).expect(when);
        let wrong = if port == 8080 { 8081 } else { 8080 };
        assert!(self.lab.outside.tcp_ask(&format!("{HOST_V4}:{wrong}"), SHORT).is_err(), "{when}");
    }

    fn check_nothing(&self, when: &str) {
        assert_eq!(self.lab.leftovers().unwrap(), NONE, "{when}");
    }
}

#[test]
fn up_killed_anywhere() {
    require_root!();
    let world = world();
    let up = ["up", "-d", "-f", &world.old];
    let points = world.points(&up);
    world.check(&world.old, "nothing");
    world.ok(&["down"], "up");
    for (number, point) in points_of(points) {
        let when = world.killed(&up, point);
        if number % 2 == 0 {
            world.ok(&up, &when);
            world.check(&world.old, &when);
        }
        world.ok(&["down"], &when);
        world.check_nothing(&when);
    }
}

#[test]
fn a_change_killed_anywhere() {
    require_root!();
    let world = world();
    let (to_old, to_new) = (["up", "-d", "-f", &world.old], ["up", "-d", "-f", &world.new]);
    world.ok(&to_old, "nothing");
    let points = world.points(&to_new);
    world.check(&world.new, "a change");
    for (number, point) in points_of(points) {
        world.ok(&to_old, "before");
        let when = world.killed(&to_new, point);
        let (args, file) = if number % 2 == 0 { (&to_old, &world.old) } else { (&to_new, &world.new) };
        world.ok(args, &when);
        world.check(file, &when);
    }
    world.ok(&["down"], "all");
    world.check_nothing("all");
}

#[test]
fn down_killed_anywhere() {
    require_root!();
    let world = world();
    let up = ["up", "-d", "-f", &world.old];
    world.ok(&up, "nothing");
    let points = world.points(&["down"]);
    world.check_nothing("down");
    for (number, point) in points_of(points) {
        world.ok(&up, "down");
        let when = world.killed(&["down"], point);
        if number % 4 == 0 {
            world.ok(&up, &when);
            world.check(&world.old, &when);
        }
        world.ok(&["down"], &when);
        world.check_nothing(&when);
    }
}
