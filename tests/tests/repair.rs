//! What somebody or something broke is put right: by the next command, and by the process in the foreground.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use netfast_tests::{HOST_V4, Lab, Ns, Running, eventually, require_root};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const S: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);
const NONE: [String; 0] = [];

const TOPOLOGY: &str = r#"
networks: {lab: {subnet: 10.77.0.0/24, subnet6: "fd77::/64"}}
endpoints:
  web: {ip: 10.77.0.2, publish: ["8080:80"]}
  client: {ip: 10.77.0.3, command: [sleep, "1000"]}
"#;

fn lab(topology: &str) -> (Lab, String) {
    let lab = Lab::new().unwrap();
    let file = lab.file("netfast.yaml", topology).unwrap();
    (lab, file)
}

fn foreground(lab: &Lab, file: &str) -> Running {
    let mut up = lab.start(&["up", "-f", file]).unwrap();
    up.wait_for("Ctrl-C takes it down", 20 * S).unwrap();
    up
}

fn status(lab: &Lab) -> Value {
    lab.netfast_json(&["status"]).unwrap()
}

fn problems(lab: &Lab) -> Vec<String> {
    let status = status(lab);
    status["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect()
}

/// Everything that is published and connected works.
fn works(lab: &Lab) {
    let (client, web) = (lab.endpoint_ns("client").unwrap(), lab.endpoint_ns("web").unwrap());
    let _server = web.tcp_serve("[::]:80").unwrap();
    let [_, ip6] = lab.addresses("web").unwrap();
    for (ns, to) in [
        (&client, "10.77.0.2:80"),
        (&client, &format!("[{ip6}]:80")),
        (&lab.host, "10.77.0.2:80"),
        (&lab.host, &format!("[{ip6}]:80")),
        (&lab.host, "127.0.0.1:8080"),
        (&lab.outside, &format!("{HOST_V4}:8080")),
    ] {
        assert_eq!(ns.tcp_ask(to, 2 * S).unwrap_or_else(|e| panic!("{} to {to}: {e}", ns.name())).by, "web");
    }
    assert_eq!(problems(lab), NONE);
}

fn device(lab: &Lab, endpoint: &str) -> String {
    lab.inspect(endpoint).unwrap()["host_ifname"].as_str().unwrap().to_owned()
}

/// The pins of links.
fn pins(lab: &Lab, part: &str) -> Vec<PathBuf> {
    let list = |directory: PathBuf| -> Vec<PathBuf> {
        // A bpf file system has files of its own at the top.
        if !directory.is_dir() {
            return Vec::new();
        }
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let bpffs = lab.dir().join("bpffs");
    lab.host
        .run(|| {
            let links = list(bpffs).into_iter().flat_map(|version| list(version.join("links")));
            Ok(links.filter(|path| path.display().to_string().contains(part)).collect())
        })
        .unwrap()
}

fn unpin(lab: &Lab, part: &str) {
    let pins = pins(lab, part);
    assert!(!pins.is_empty(), "{part}");
    lab.host.run(|| Ok(pins.iter().try_for_each(fs::remove_file)?)).unwrap();
}

/// Ways to break it, and a part of what is told of it.
#[expect(clippy::type_complexity, reason = "it is a table")]
const BREAKS: &[(&str, fn(&Lab), &str)] = &[
    (
        "a device deleted",
        |lab| drop(lab.host.ip(&format!("link del {}", device(lab, "web"))).unwrap()),
        "endpoint web: its device is gone",
    ),
    (
        "a device renamed",
        |lab| {
            lab.host.ip(&format!("link set {} name another", device(lab, "web"))).unwrap();
        },
        "endpoint web: its device is gone",
    ),
    (
        "a device moved",
        |lab| {
            let other = Ns::new("other").unwrap();
            lab.host
                .ip(&format!("link set {} netns {}", device(lab, "web"), other.path().display()))
                .unwrap();
        },
        "endpoint web: its device is gone",
    ),
    (
        "a device no port any more",
        |lab| {
            lab.host.ip(&format!("link set {} nomaster", device(lab, "web"))).unwrap();
        },
        "endpoint web: its device is no port of the bridge any more",
    ),
    (
        "a device down",
        |lab| drop(lab.host.ip(&format!("link set {} down", device(lab, "web"))).unwrap()),
        "is down",
    ),
    (
        "a bridge deleted",
        |lab| drop(lab.host.ip("link del nf-lab").unwrap()),
        "network lab: its bridge is gone",
    ),
    (
        "a bridge renamed",
        |lab| {
            lab.host.ip("link set nf-lab down").unwrap();
            lab.host.ip("link set nf-lab name another").unwrap();
        },
        "network lab: its bridge is gone",
    ),
    ("a bridge down", |lab| drop(lab.host.ip("link set nf-lab down").unwrap()), "the device nf-lab is down"),
    (
        "an address lost",
        |lab| drop(lab.host.ip("addr del 10.77.0.1/24 dev nf-lab").unwrap()),
        "the bridge nf-lab has lost the address 10.77.0.1/24",
    ),
    (
        "a neighbour lost",
        |lab| drop(lab.host.ip("neigh del 10.77.0.2 dev nf-lab").unwrap()),
        "endpoint web: the neighbour entry of 10.77.0.2 is gone",
    ),
    (
        "a namespace unmounted",
        |lab| {
            let path = lab.dir().join("run/netns/web").display().to_string();
            assert!(lab.host.finish("umount", &["-l", &path], S).unwrap().success());
        },
        "endpoint web: its network namespace is gone",
    ),
    (
        "the device for fragments deleted",
        |lab| {
            let links = lab.host.links().unwrap();
            let device = links.iter().find(|link| link.starts_with("nf0-")).unwrap();
            lab.host.ip(&format!("link del {device}")).unwrap();
        },
        "the namespace for fragments: its device is gone",
    ),
    (
        "the program for fragments unpinned",
        |lab| unpin(lab, "from_defrag"),
        "from_defrag is not attached to its device",
    ),
    ("programs unpinned", |lab| unpin(lab, "endpoint"), "from_endpoint is not attached"),
    (
        "the uplink's program unpinned",
        |lab| unpin(lab, "from_uplink"),
        "from_uplink is not attached to the uplink uplink0",
    ),
    (
        "socket programs unpinned",
        |lab| unpin(lab, "cgroup-connect4"),
        "the programs of the host's sockets are not attached",
    ),
    (
        "records removed",
        |lab| {
            fs::remove_dir_all(lab.dir().join("run/endpoints")).unwrap();
            fs::create_dir(lab.dir().join("run/endpoints")).unwrap();
            // A stranger may keep the names.
            lab.host.ip(&format!("link del {}", "nf1-client")).unwrap();
        },
        "endpoint web is not there",
    ),
];

/// The run directory, but for what is mounted in it, and the state directory where that is asked for.
fn remove_records(lab: &Lab, with_definitions: bool) {
    let entries = |directory: &str| fs::read_dir(lab.dir().join(directory)).unwrap();
    let of_state = with_definitions.then(|| entries("state")).into_iter().flatten();
    for entry in entries("run").chain(of_state).map(|entry| entry.unwrap()) {
        if entry.file_name() == "netns" {
            continue;
        }
        let remove = if entry.path().is_dir() { fs::remove_dir_all } else { fs::remove_file };
        remove(entry.path()).unwrap();
    }
}

#[test]
fn what_lost_its_records_is_cleared_away() {
    require_root!();
    for (with_definitions, is_wanted) in [(false, true), (true, true), (false, false), (true, false)] {
        let (lab, file) = lab(&TOPOLOGY.replace(r#", command: [sleep, "1000"]"#, ""));
        lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
        remove_records(&lab, with_definitions);
        if is_wanted {
            lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
            works(&lab);
        }
        lab.down().unwrap();
        assert_eq!(lab.leftovers().unwrap(), NONE, "{with_definitions}, {is_wanted}");
    }
}

#[test]
fn the_next_command_repairs() {
    require_root!();
    let (lab, file) = lab(TOPOLOGY);
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    works(&lab);
    for (n, (name, break_it, told)) in
        BREAKS.iter().filter(|(name, ..)| *name != "records removed").enumerate()
    {
        break_it(&lab);
        let wrong = problems(&lab);
        assert!(wrong.iter().any(|problem| problem.contains(told)), "{name}: {wrong:?}");
        assert_eq!(lab.netfast(&["status", "--check"]).unwrap().status.code(), Some(3), "{name}");
        // Any command that changes something, and `up` again.
        if n % 2 == 0 {
            lab.netfast_ok(&["deny", "add", &format!("203.0.113.{n}")]).unwrap();
        } else {
            lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
        }
        assert_eq!(problems(&lab), NONE, "{name}");
        works(&lab);
        lab.netfast_ok(&["status", "--check"]).unwrap();
    }
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

/// What netlink tells of is repaired at once, the rest within the period.
#[test]
fn the_foreground_repairs() {
    require_root!();
    let (lab, file) = lab(TOPOLOGY);
    let mut up = foreground(&lab, &file);
    works(&lab);
    for (name, break_it, told) in BREAKS {
        if name.contains("namespace unmounted") || *name == "records removed" {
            continue;
        }
        let is_silent = name.contains("unpinned") || name.contains("neighbour");
        let limit = if is_silent { 14 * S } else { 4 * S };
        let start = Instant::now();
        break_it(&lab);
        up.wait_for(told, limit).unwrap_or_else(|e| panic!("{name}: {e}"));
        while !problems(&lab).is_empty() {
            assert!(start.elapsed() < limit + 4 * S, "{name}: {:?}, {}", problems(&lab), up.stderr());
            thread::sleep(Duration::from_millis(50));
        }
        works(&lab);
    }
    up.signal(Signal::SIGINT).unwrap();
    let done = up.finish(10 * S).unwrap();
    assert!(done.success(), "{done:?}");
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn where_nothing_differs_nothing_is_written() {
    require_root!();
    let (lab, file) = lab(TOPOLOGY);
    let mut up = foreground(&lab, &file);
    thread::sleep(S);
    let look = || {
        let files =
            lab.host.finish("find", &[lab.dir().to_str().unwrap(), "-printf", "%p %i %T@\n"], S).unwrap();
        (files.stdout, status(&lab)["generation"].clone(), status(&lab)["links"].clone())
    };
    let before = look();
    // A change that concerns nobody makes it look, and so does the time.
    lab.host.ip("link add other type bridge").unwrap();
    thread::sleep(12 * S);
    assert_eq!(look(), before);
    assert!(!up.ended());
    assert_eq!(up.stderr(), "");
}

#[test]
fn a_namespace_of_the_users_that_is_gone_is_said_once() {
    require_root!();
    let (lab, _) = lab(TOPOLOGY);
    let given = Ns::new("given").unwrap();
    // Mounted on a file, as `ip netns` does: a path below /proc may soon be somebody else's.
    let path = PathBuf::from(lab.file("given", "").unwrap());
    let [from, to] = [given.path(), path.clone()].map(|path| path.display().to_string());
    assert!(lab.host.finish("mount", &["--bind", &from, &to], S).unwrap().success());
    let topology =
        format!("{TOPOLOGY}  given: {{ip: 10.77.0.9, netns: {}, publish: ['8081:80']}}\n", path.display());
    let file = lab.file("netfast.yaml", &topology).unwrap();
    let mut up = foreground(&lab, &file);
    works(&lab);
    drop(given);
    assert!(lab.host.finish("umount", &["-l", &to], S).unwrap().success());
    fs::remove_file(&path).unwrap();
    let told = format!("endpoint given is left out: its network namespace {} is gone", path.display());
    up.wait_for(&told, 13 * S).unwrap();
    assert_eq!(problems(&lab), std::slice::from_ref(&told));
    let text = lab.netfast(&["status", "--check"]).unwrap();
    assert!(text.stdout.starts_with(&format!("Not as it should be\n  {told}\n")), "{}", text.stdout);
    assert_eq!(text.status.code(), Some(3));
    // Devices come and go, and time passes.
    lab.host.ip("link add other type bridge").unwrap();
    thread::sleep(12 * S);
    assert_eq!(up.stderr().matches("is left out").count(), 1, "{}", up.stderr());
    // Others can be changed meanwhile.
    lab.netfast_ok(&["endpoint", "add", "late"]).unwrap();
    // And it is there again once its namespace is.
    let given = Ns::new("given").unwrap();
    fs::write(&path, "").unwrap();
    let from = given.path().display().to_string();
    assert!(lab.host.finish("mount", &["--bind", &from, &to], S).unwrap().success());
    up.wait_for("repaired: endpoint given is not there", 13 * S).unwrap();
    given.ping("10.77.0.1", S).unwrap();
    assert_eq!(problems(&lab), NONE);
}

#[test]
fn taken_down_by_another_command() {
    require_root!();
    let (lab, file) = lab(TOPOLOGY);
    let mut up = foreground(&lab, &file);
    lab.down().unwrap();
    up.wait_for("taken down by another command", 4 * S).unwrap();
    assert!(up.finish(5 * S).unwrap().success());
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn other_commands_work_at_the_same_time() {
    require_root!();
    let (lab, file) = lab(TOPOLOGY);
    let mut up = foreground(&lab, &file);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..6 {
                let name = format!("e{n}");
                // A device that is deleted under a command makes it fail, and go back.
                eventually("it is added", || lab.netfast_ok(&["endpoint", "add", &name]).is_ok());
                lab.endpoint_ns(&name).unwrap().ping("10.77.0.1", S).unwrap();
                eventually("it is removed", || lab.netfast_ok(&["endpoint", "rm", &name]).is_ok());
            }
        });
        for n in 0..10 {
            lab.host.ip(&format!("link add d{n} type bridge")).unwrap();
            lab.host.ip(&format!("link del {}", device(&lab, "web"))).unwrap();
            eventually("it is repaired", || {
                lab.endpoint_ns("web").is_ok_and(|web| web.ping("10.77.0.1", SHORT).is_ok())
            });
        }
    });
    eventually("all is well", || status(&lab)["problems"] == json!([]));
    works(&lab);
    assert!(!up.ended(), "{}", up.stderr());
    // Two at a time share the work.
    let second = foreground(&lab, &file);
    lab.host.ip("link del nf-lab").unwrap();
    eventually("all is well", || status(&lab)["problems"] == json!([]));
    works(&lab);
    second.signal(Signal::SIGTERM).unwrap();
    assert!(second.finish(5 * S).unwrap().success());
    assert!(!up.ended());
}
