//! What netfast leaves open to others, and what its process in the foreground may still do.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use netfast_tests::{Lab, eventually, require_root};
use nix::sys::signal::Signal;

const S: Duration = Duration::from_secs(1);
const NONE: [String; 0] = [];

const TOPOLOGY: &str = r#"
networks: {lab: {subnet: 10.77.0.0/24, subnet6: "fd77::/64"}}
endpoints:
  web: {publish: ["8080:80"], command: [sh, -c, "id -u; exec sleep 1000"]}
  shop/db: {}
"#;

/// Everything below a directory that anybody but root may read, write or enter; mounts are looked into.
fn open_to_others(path: &Path, found: &mut Vec<String>) {
    let about = fs::symlink_metadata(path).unwrap();
    // A mounted namespace has the kernel's mode, and its directory keeps others out.
    if about.mode() & 0o077 != 0 && !path.parent().unwrap().ends_with("netns") {
        found.push(format!("{} {:o}", path.display(), about.mode() & 0o777));
    }
    assert_eq!(about.uid(), 0, "{}", path.display());
    if about.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            open_to_others(&entry.unwrap().path(), found);
        }
    }
}

#[test]
fn nobody_but_root_sees_state_and_pins() {
    require_root!();
    let lab = Lab::new().unwrap();
    // Directories that netfast makes.
    for name in ["state", "run", "bpffs"] {
        fs::remove_dir(lab.dir().join(name)).unwrap();
    }
    let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    let mut command = lab.command(&["up", "-d", "-f", &file]);
    // SAFETY: a system call between fork and exec.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            nix::sys::stat::umask(nix::sys::stat::Mode::empty());
            Ok(())
        });
    }
    assert!(command.status().unwrap().success());
    lab.netfast_ok(&["deny", "add", "203.0.113.0/24"]).unwrap();
    let found = lab
        .host
        .run(|| {
            let mut found = Vec::new();
            for name in ["state", "run", "bpffs"] {
                open_to_others(&lab.dir().join(name), &mut found);
            }
            Ok(found)
        })
        .unwrap();
    // Commands inside endpoints, which need not be root's, have these two mounted; the way to them is closed.
    let meant =
        |line: &String| line.ends_with("/run/hosts/lab 644") || line.ends_with("/run/resolv.conf 644");
    let found: Vec<_> = found.into_iter().filter(|line| !meant(line)).collect();
    assert_eq!(found, NONE);
}

/// A line of `/proc/PID/status`, as a number.
fn status(pid: u64, field: &str, radix: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    u64::from_str_radix(line.trim_start_matches(':').trim(), radix).unwrap()
}

#[test]
fn the_foreground_gives_up_what_it_does_not_need() {
    require_root!();
    let lab = Lab::new().unwrap();
    let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    let mut up = lab.start(&["up", "-f", &file]).unwrap();
    up.wait_for("Ctrl-C takes it down", 20 * S).unwrap();
    let pid = u64::from(up.pid());
    let own = u64::from(std::process::id());
    // DAC_READ_SEARCH, KILL, NET_ADMIN, SYS_PTRACE, SYS_ADMIN, PERFMON, BPF.
    let needed = [2, 5, 12, 19, 21, 38, 39].into_iter().fold(0, |set, bit| set | 1_u64 << bit);
    eventually("it has given them up", || status(pid, "CapEff", 16) & !needed == 0);
    let kept = needed & status(own, "CapPrm", 16);
    for set in ["CapEff", "CapPrm"] {
        assert_eq!(status(pid, set, 16), kept, "{set}");
    }
    assert_ne!(status(own, "CapEff", 16), kept, "there is something to give up");

    // A command it starts again has what it had at first.
    let command = || lab.inspect("web").unwrap()["pid"].as_u64();
    let first = command().unwrap();
    let fields =
        [("CapInh", 16), ("CapPrm", 16), ("CapEff", 16), ("CapBnd", 16), ("CapAmb", 16), ("NoNewPrivs", 10)];
    let before = fields.map(|(field, radix)| status(first, field, radix));
    let device = lab.inspect("web").unwrap()["host_ifname"].as_str().unwrap().to_owned();
    lab.host.ip(&format!("link del {device}")).unwrap();
    eventually("the endpoint is there again", || command().is_some_and(|pid| pid != first));
    let second = command().unwrap();
    eventually("its shell runs", || {
        fs::read_to_string(format!("/proc/{second}/comm")).unwrap() != "netfast\n"
    });
    assert_eq!(fields.map(|(field, radix)| status(second, field, radix)), before);

    // And what is left suffices for taking everything down.
    lab.netfast_ok(&["deny", "add", "203.0.113.0/24"]).unwrap();
    up.signal(Signal::SIGINT).unwrap();
    let done = up.finish(10 * S).unwrap();
    assert!(done.success(), "{done:?}");
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

/// Names that would reach other files, options or map rows if anybody let them.
const NASTY: &[&str] = &[
    "../x", "a/b", "/etc", ".", "..", "-rf", "--", "a\nb", "a b", "$(id)", "ü", "A", "", "a\tb", "🦀", "a..b",
];

#[test]
fn nasty_names_go_nowhere() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up("networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints: {web: {}}\n").unwrap();
    let list = || {
        let files = lab.host.finish("find", &[lab.dir().to_str().unwrap(), "-print"], S).unwrap();
        let devices: Vec<_> = lab.host.links().unwrap();
        (files.stdout, devices)
    };
    let long = "x".repeat(300);
    let before = list();
    let refused = |args: &[&str]| {
        let done = lab.netfast(args).unwrap();
        assert!(matches!(done.status.code(), Some(1 | 2)), "{args:?}: {done:?}");
        // Told, in words, and nothing that a terminal would obey.
        assert!(done.stderr.contains("error: ") || done.stderr.contains("netfast: "), "{args:?}: {done:?}");
        assert!(!done.stderr.contains("panicked"), "{args:?}: {done:?}");
        assert!(done.stderr.len() < 2000, "{args:?}: {done:?}");
        assert_eq!(list(), before, "{args:?}");
    };
    for name in NASTY.iter().copied().chain([long.as_str()]) {
        // That is a namespace and a name.
        if name != "a/b" {
            refused(&["endpoint", "add", "--", name]);
        }
        refused(&["endpoint", "add", &format!("--network={name}"), "ok"]);
        refused(&["endpoint", "add", &format!("--namespace={name}"), "ok"]);
        // Keys of labels may be these.
        if !["a/b", "A", "a..b"].contains(&name) {
            refused(&["endpoint", "add", &format!("--label={name}=x"), "ok"]);
        }
        refused(&["endpoint", "rm", "--", name]);
        refused(&["endpoint", "inspect", "--", name]);
        refused(&["exec", "--", name, "true"]);
    }
    refused(&["endpoint", "add", &format!("--label=k={long}"), "ok"]);
    refused(&["endpoint", "add", "--label=k=a\nb", "ok"]);
    refused(&["endpoint", "add", "--netns=../../etc/passwd", "ok"]);
    refused(&["endpoint", "add", "--netns=/etc/passwd", "ok"]);
    refused(&["deny", "add", "../x"]);
}

#[test]
fn nasty_names_in_a_file_go_nowhere() {
    require_root!();
    let lab = Lab::new().unwrap();
    let long = "x".repeat(300);
    for name in NASTY.iter().copied().chain([long.as_str()]) {
        let quoted = serde_json::to_string(name).unwrap();
        for topology in [
            format!("networks: {{{quoted}: {{subnet: 10.77.0.0/24}}}}\nendpoints: {{web: {{}}}}\n"),
            format!("networks: {{lab: {{subnet: 10.77.0.0/24}}}}\nendpoints: {{{quoted}: {{}}}}\n"),
            format!(
                "networks: {{lab: {{subnet: 10.77.0.0/24}}}}\nendpoints: {{web: {{network: {quoted}}}}}\n"
            ),
            format!(
                "networks: {{lab: {{subnet: 10.77.0.0/24}}}}\nendpoints: {{web: {{namespace: {quoted}}}}}\n"
            ),
            format!(
                "networks: {{lab: {{subnet: 10.77.0.0/24}}}}\nendpoints: {{web: {{labels: {{{quoted}: x}}}}}}\n"
            ),
        ] {
            // Keys of labels may be these, and an endpoint's may be `namespace/name`.
            if (["a/b", "A", "a..b"].contains(&name) && topology.contains("labels"))
                || (name == "a/b" && topology.contains("endpoints: {\"a/b"))
            {
                continue;
            }
            let file = lab.dir().join("nasty.yaml");
            fs::write(&file, &topology).unwrap();
            let done = lab.netfast(&["up", "-d", "-f", file.to_str().unwrap()]).unwrap();
            assert_eq!(done.status.code(), Some(1), "{topology}: {done:?}");
            assert!(done.stderr.contains("nasty.yaml:"), "{topology}: {done:?}");
            assert!(done.stderr.len() < 4000 && !done.stderr.contains("panicked"), "{topology}: {done:?}");
            assert_eq!(lab.leftovers().unwrap(), NONE, "{topology}");
        }
    }
}
