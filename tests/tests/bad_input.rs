//! Mistakes are told in one line that says where, and change nothing.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use netfast_tests::{Finished, Lab, Running, require_root};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

const PATIENCE: Duration = Duration::from_secs(10);
const NONE: [String; 0] = [];

const GOOD: &str = "networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints: {web: {labels: {app: web}, publish: [\"8080:80\"]}}\n";

/// Topologies, and what is said of them after the directory's name.
const TOPOLOGIES: &[(&str, &str)] = &[
    (
        "networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints: {web: {label: {app: web}}}\n",
        "bad.yaml:2:19: endpoints.web.label: unknown field (did you mean labels?)",
    ),
    ("network: {}\n", "bad.yaml:1:1: network: unknown field (did you mean networks?)"),
    (
        "networks:\n  a: {subnet: 10.77.0.0/16}\n  b: {subnet: 10.77.5.0/24}\n",
        "bad.yaml:3:15: network b: subnet: 10.77.5.0/24 overlaps with 10.77.0.0/16 of network a",
    ),
    ("networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints:\n  web: {}\n  web: {}\n", "bad.yaml:4:3: "),
    (
        "networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints:\n- name: web\n- name: default/web\n",
        "bad.yaml:4:",
    ),
    (
        "networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints:\n  a: {ip: 10.77.0.9}\n  b: {ip: 10.77.0.9}\n",
        "bad.yaml:4:11: endpoint b: ip: endpoint a has the same",
    ),
    (
        "networks: {lab: {subnet: 10.77.0.0/30}}\nendpoints: {a: {}, b: {}}\n",
        "bad.yaml:1:26: network lab: subnet: 10.77.0.0/30 has addresses for 1 endpoint, not for 2 (use a shorter prefix)",
    ),
    (
        "networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints:\n  a: {publish: [\"80:80\"]}\n  b: {publish: [\"80:81\"]}\n",
        "bad.yaml:4:17: endpoint b: publish[0]: host port 80/tcp is published by endpoint a already",
    ),
    (
        "networks: {lab: {subnet: 10.77.0.0/24}}\npolicies: [nowhere.yaml]\n",
        "nowhere.yaml: cannot read: No such file or directory (it is named at ",
    ),
    ("networks: {lab: {subnet: 10.77.0.0/24}\nendpoints: {}\n", "bad.yaml:"),
    ("networks:\n\tlab: {}\n", "bad.yaml:2:1: a tab; YAML indents with spaces"),
    ("networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints: {web: {network: lap}}\n", "bad.yaml:2:28: "),
];

/// One line on stderr, with the directory's name left out.
fn told(lab: &Lab, done: &Finished) -> String {
    assert_eq!(done.stdout, "", "{done:?}");
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    done.stderr.trim().replace(&format!("{}/", lab.dir().display()), "")
}

/// The status without its counters.
fn status(lab: &Lab) -> serde_json::Value {
    let mut status = lab.netfast_json(&["status"]).unwrap();
    status["counters"].take();
    for endpoint in status["endpoints"].as_array_mut().unwrap() {
        endpoint["drops"].take();
    }
    status
}

#[test]
fn bad_topologies() {
    require_root!();
    let lab = Lab::new().unwrap();
    let good = lab.file("good.yaml", GOOD).unwrap();
    for is_up in [false, true] {
        if is_up {
            lab.netfast_ok(&["up", "-d", "-f", &good]).unwrap();
        }
        let (before, left) = (status(&lab), lab.leftovers().unwrap());
        assert_eq!(left.is_empty(), !is_up);
        for (topology, said) in TOPOLOGIES {
            let bad = lab.file("bad.yaml", topology).unwrap();
            let done = lab.netfast(&["up", "-d", "-f", &bad]).unwrap();
            assert_eq!(done.status.code(), Some(1), "{topology}: {done:?}");
            assert!(told(&lab, &done).starts_with(said), "{said:?} is not said of\n{topology}: {done:?}");
        }
        assert_eq!(status(&lab), before);
        assert_eq!(lab.leftovers().unwrap(), left);
    }
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn bad_arguments() {
    require_root!();
    let lab = Lab::new().unwrap();
    let good = lab.file("good.yaml", GOOD).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &good]).unwrap();
    let before = status(&lab);
    for (args, code, said) in [
        (
            &["up", "-d", "-f", "/nowhere.yaml"][..],
            1,
            "/nowhere.yaml: cannot read: No such file or directory",
        ),
        (&["up", "-d"], 1, "netfast: up: there is no netfast.yaml in this directory"),
        (
            &["up", "-d", "-f", &good, "--policy", "/p.yaml"],
            1,
            "/p.yaml: cannot read: No such file or directory",
        ),
        (&["up", "-d", "-f", "/"], 1, "/: cannot read: "),
        (&["endpoint", "add", "web"], 1, "netfast: endpoint add web: endpoint web exists already"),
        (
            &["endpoint", "add", "b", "--network", "x"],
            1,
            "netfast: endpoint add b: there is no network x (known: lab)",
        ),
        (
            &["endpoint", "add", "b", "--ip", "10.78.0.2"],
            1,
            "netfast: endpoint add b: endpoint b: ip: 10.78.0.2 is not",
        ),
        (&["endpoint", "add", "b", "-p", "8080:80"], 1, "netfast: endpoint add b: endpoint web: publish"),
        (
            &["endpoint", "add", "b", "--pid", "4194305"],
            1,
            "netfast: endpoint add b: endpoint b: open its network",
        ),
        (&["endpoint", "rm", "b"], 1, "netfast: endpoint rm: "),
        (&["endpoint", "inspect", "b"], 1, "netfast: endpoint inspect b: "),
        (&["exec", "b", "--", "true"], 1, "netfast: exec b: "),
        (&["deny", "rm", "10.0.0.0/8"], 1, "netfast: deny rm: 10.0.0.0/8 is not on the deny list"),
        (&["fly"], 2, "error: unrecognized subcommand 'fly'"),
        (&["endpoint", "add", "Ä"], 2, "error: invalid value"),
        (&["deny", "add", "10.0.0.5/24"], 2, "error: invalid value"),
    ] {
        let done = lab.netfast(args).unwrap();
        assert_eq!(done.status.code(), Some(code), "{args:?}: {done:?}");
        assert!(done.stderr.starts_with(said), "{said:?} is not said by {args:?}: {done:?}");
        assert!(code == 2 || done.stderr.lines().count() == 1, "{args:?}: {done:?}");
    }
    assert_eq!(status(&lab), before);
    assert_eq!(lab.netfast_ok(&["endpoint", "rm", "--ignore-missing", "b"]).unwrap(), "");
    assert_eq!(status(&lab), before);
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn nobody_may_do_anything() {
    require_root!();
    let lab = Lab::new().unwrap();
    let good = lab.file("good.yaml", GOOD).unwrap();
    let as_nobody = |args: &[&str]| {
        let mut command = lab.command(args);
        // SAFETY: the closure makes system calls only. It runs after the one that enters the namespaces.
        unsafe {
            command.pre_exec(|| {
                setgroups(&[]).map_err(io::Error::from)?;
                let (user, group) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
                setresgid(group, group, group)?;
                setresuid(user, user, user)?;
                Ok(())
            });
        }
        Running::start(&mut command).unwrap().finish(PATIENCE).unwrap()
    };
    for args in [
        &["up", "-d", "-f", &good][..],
        &["down"],
        &["status"],
        &["endpoint", "ls"],
        &["endpoint", "add", "x"],
        &["port", "ls"],
        &["deny", "add", "10.0.0.1"],
        &["exec", "web", "--", "true"],
    ] {
        let done = as_nobody(args);
        assert_eq!(done.status.code(), Some(1), "{args:?}: {done:?}");
        let line = told(&lab, &done);
        assert!(line.starts_with("netfast: ") && line.ends_with(": needs root (run it with sudo)"), "{line}");
    }
    assert_eq!(lab.leftovers().unwrap(), NONE);
    // What needs no rights needs no root.
    assert!(as_nobody(&["--help"]).success());
}
