//! Up, adoption, and down: what is there, what stays the same, and that nothing is left.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netfast_tests::{HOST_V4, Lab, require_root};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);
const NONE: [String; 0] = [];

const TOPOLOGY: &str = r#"
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: "fd77::/64"}
endpoints:
  web: {labels: {app: web}, ip: 10.77.0.2, ports: ["http=80/tcp"], publish: ["8080:80"]}
  client: {labels: {role: client}, command: [sleep, "1000"]}
  stranger: {}
policies: [policy.yaml]
"#;

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchLabels: {role: client}}}, {ipBlock: {cidr: 192.0.2.0/24}}]
";

/// A lab with the topology's file.
fn lab() -> (Lab, String) {
    let lab = Lab::new().unwrap();
    lab.file("policy.yaml", POLICY).unwrap();
    let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    (lab, file)
}

/// What must not change when nothing is changed.
fn identity(lab: &Lab) -> Value {
    let status = lab.netfast_json(&["status"]).unwrap();
    let of = |key: &str| status[key].clone();
    let links = lab.host.ip("-o link show").unwrap();
    let mut devices: Vec<_> = links
        .lines()
        .filter_map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ").into())
        .collect();
    devices.sort_unstable();
    let endpoints: Vec<_> = status["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            ["name", "ip", "ip6", "mac", "host_ifindex", "pid", "netns", "ready"].map(|key| e[key].clone())
        })
        .collect();
    json!({
        "devices": devices, "endpoints": endpoints, "networks": of("networks"), "ports": of("ports"),
        "links": of("links"), "programs": of("programs"), "generation": of("generation"),
    })
}

#[test]
fn up_twice_and_down_twice() {
    require_root!();
    let (lab, file) = lab();
    let addresses = || lab.host.ip("-o address").unwrap().replace(" tentative", "");
    let before = addresses();
    let status = lab.netfast_json(&["status"]).unwrap();
    assert_eq!((&status["up"], &status["endpoints"]), (&json!(false), &json!([])));
    assert_eq!(lab.netfast_ok(&["status"]).unwrap(), "not up (netfast up -f FILE brings it up)\n");
    assert_eq!(lab.leftovers().unwrap(), NONE, "looking makes nothing");

    let summary = lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    assert!(summary.contains("endpoint  web") && summary.contains("8080/tcp"), "{summary}");
    let status = lab.netfast_json(&["status"]).unwrap();
    assert_eq!(status["up"], true);
    let names: Vec<_> = status["endpoints"].as_array().unwrap().iter().map(|e| e["name"].clone()).collect();
    assert_eq!(names, ["client", "stranger", "web"]);
    assert!(status["endpoints"].as_array().unwrap().iter().all(|e| e["ready"] == true), "{status:#}");
    assert_eq!(status["ports"][0]["host"], "8080");
    assert_eq!(status["policies"], json!(["default/web"]));
    assert_eq!(status["uplinks"][0]["device"], "uplink0");
    assert!(status["links"].as_array().unwrap().iter().all(|link| link["alive"] == true), "{status:#}");
    // Two for each endpoint, one for the uplink, and those of the cgroup.
    assert!(status["links"].as_array().unwrap().len() > 7, "{status:#}");

    let (client, web) = (lab.endpoint_ns("client").unwrap(), lab.endpoint_ns("web").unwrap());
    let _server = web.tcp_serve("[::]:80").unwrap();
    client.tcp_ask("10.77.0.2:80", SECOND).unwrap();
    lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), SECOND).unwrap();
    lab.host.tcp_ask("127.0.0.1:8080", SECOND).unwrap();
    lab.endpoint_ns("stranger").unwrap().tcp_ask("10.77.0.2:80", SHORT).unwrap_err();

    // What would be left is seen.
    let there = lab.leftovers().unwrap();
    for what in ["nf-lab", "mount ", "/bpffs/", "/run/netns/web", "at uplink0", "at the cgroup", "process "] {
        assert!(there.iter().any(|there| there.contains(what)), "no {what} in {there:#?}");
    }

    let first = identity(&lab);
    assert_eq!(lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap(), summary);
    assert_eq!(identity(&lab), first);

    let told = lab.netfast_ok(&["down"]).unwrap();
    assert_eq!(told, "removed network lab, endpoint client, endpoint stranger, endpoint web\n");
    assert_eq!(lab.leftovers().unwrap(), NONE);
    assert_eq!(addresses(), before);
    assert_eq!(lab.netfast_ok(&["down"]).unwrap(), "nothing was up\n");
    assert_eq!(lab.leftovers().unwrap(), NONE);
    assert_eq!(lab.netfast_json(&["status"]).unwrap()["up"], false);
    // The host's own connections are nobody's business any more.
    lab.host.tcp_ask("127.0.0.1:8080", SHORT).unwrap_err();
}

#[test]
fn the_foreground_ends_by_signals() {
    require_root!();
    let (lab, file) = lab();
    let mut up = lab.start(&["up", "-f", &file]).unwrap();
    up.wait_for("Ctrl-C takes it down", 10 * SECOND).unwrap();
    up.signal(Signal::SIGTERM).unwrap();
    assert!(up.finish(10 * SECOND).unwrap().success());
    let first = identity(&lab);
    assert_eq!(lab.netfast_json(&["status"]).unwrap()["up"], true);

    let start = Instant::now();
    let mut up = lab.start(&["up", "-f", &file]).unwrap();
    up.wait_for("Ctrl-C takes it down", 10 * SECOND).unwrap();
    assert_eq!(identity(&lab), first);
    up.signal(Signal::SIGINT).unwrap();
    let done = up.finish(10 * SECOND).unwrap();
    // Seconds would tell of a command that had to be killed, since it inherited signals held back.
    assert!(start.elapsed() < 4 * SECOND, "{:?}", start.elapsed());
    assert!(done.success() && done.stdout.contains("removed network lab"), "{done:?}");
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

/// Ctrl-C while it is being brought up.
#[test]
fn an_interrupt_in_the_middle_takes_down_what_was_made() {
    require_root!();
    let (lab, file) = lab();
    for wait in [1, 20, 60, 120, 200] {
        let mut up = lab.start(&["up", "-f", &file]).unwrap();
        thread::sleep(Duration::from_millis(wait));
        if !up.ended() {
            up.signal(Signal::SIGINT).unwrap();
        }
        let done = up.finish(10 * SECOND).unwrap();
        let left = lab.leftovers().unwrap();
        if done.success() {
            assert_eq!(left, NONE, "after {wait} ms: {done:?}");
        } else {
            // It died before it made anything; there may be the lock, and where the records would be.
            let early = ["run/lock", "run/attachments", "run/endpoints", "run/networks", "state/amendments"]
                .map(|name| lab.dir().join(name).display().to_string());
            assert!(left.iter().all(|left| early.contains(left)), "after {wait} ms: {left:?}, {done:?}");
        }
    }
}

#[test]
fn a_killed_foreground_interrupts_nothing_and_is_adopted() {
    require_root!();
    let (lab, file) = lab();
    let mut up = lab.start(&["up", "-f", &file]).unwrap();
    up.wait_for("Ctrl-C takes it down", 10 * SECOND).unwrap();
    let first = identity(&lab);
    let (client, web) = (lab.endpoint_ns("client").unwrap(), lab.endpoint_ns("web").unwrap());
    let _server = web.tcp_serve("[::]:80").unwrap();
    let mut conversation = client.tcp_connect("10.77.0.2:80", 5 * SECOND).unwrap();
    let local = conversation.local().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let transfer = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                conversation.swap(2_000_000).unwrap();
                rounds += 1;
            }
            assert_eq!(conversation.ask().unwrap().seen_source, local);
            rounds
        });
        thread::sleep(Duration::from_millis(100));
        up.signal(Signal::SIGKILL).unwrap();
        thread::sleep(Duration::from_millis(200));
        assert!(up.ended());
        assert_eq!(identity(&lab), first);
        lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
        assert_eq!(identity(&lab), first);
        thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        assert!(transfer.join().unwrap() > 1);
    });
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn what_somebody_removed_is_made_again() {
    require_root!();
    let (lab, file) = lab();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    let stranger = lab.netfast_json(&["endpoint", "inspect", "stranger"]).unwrap();
    lab.host.ip(&format!("link del {}", stranger["host_ifname"].as_str().unwrap())).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    lab.endpoint_ns("stranger").unwrap().ping("10.77.0.1", SECOND).unwrap();
    lab.host.ip("link del nf-lab").unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    for name in ["web", "client", "stranger"] {
        lab.endpoint_ns(name).unwrap().ping("10.77.0.1", SECOND).unwrap();
    }
    // And what somebody removed does not keep it from being taken down.
    lab.host.ip("link del nf-lab").unwrap();
    fs::remove_dir_all(lab.dir().join("run/hosts")).unwrap();
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn later_commands_remember_the_cgroup() {
    require_root!();
    let (lab, file) = lab();
    lab.netfast_ok(&["up", "-f", &file, "-d"]).unwrap();
    let added = lab.command(&["endpoint", "add", "late"]).env_remove("NETFAST_CGROUP").status().unwrap();
    assert!(added.success());
    let status = lab.netfast_json(&["status"]).unwrap();
    let links = status["links"].as_array().unwrap();
    let cgroups: Vec<_> = links.iter().filter(|link| link["hook"] == "cgroup").collect();
    assert!(!cgroups.is_empty(), "{links:?}");
    let own = lab.cgroup().display().to_string();
    assert!(cgroups.iter().all(|link| link["target"] == own.as_str()), "{cgroups:?}");
    // It is not only said: a process of the lab's cgroup reaches the published port.
    let _web = lab.endpoint_ns("web").unwrap().tcp_serve("[::]:80").unwrap();
    let reply = lab.host.tcp_ask("127.0.0.1:8080", 5 * SECOND).unwrap();
    assert_eq!(reply.by, "web");
}
