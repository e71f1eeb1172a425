//! Commands about one endpoint: they write down that one, and nothing else; and one that is killed has done it or has not.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::Duration;

use netfast_tests::{Lab, Ns, Running, require_root};
use nix::libc::SIGKILL;

const S: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(100);
const NONE: [String; 0] = [];

const TOPOLOGY: &str = "
networks: {lab: {subnet: 10.77.0.0/24}}
endpoints:
  client: {labels: {role: client}}
  other: {}
  web: {ip: 10.77.0.2, labels: {app: web}}
policies: [policy.yaml]
";

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {role: client}}}]}]
";

fn lab() -> (Lab, String) {
    let lab = Lab::new().unwrap();
    lab.file("policy.yaml", POLICY).unwrap();
    let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    (lab, file)
}

/// The endpoints there are, each with its labels.
fn endpoints(lab: &Lab) -> Vec<String> {
    let all = lab.netfast_json(&["endpoint", "ls"]).unwrap();
    let text = |e: &serde_json::Value| {
        assert_eq!(e["ready"], true, "{e:#}");
        format!("{} {}", e["name"].as_str().unwrap(), e["labels"])
    };
    all.as_array().unwrap().iter().map(text).collect()
}

fn may_enter(lab: &Lab, client: &str) -> bool {
    let client = lab.endpoint_ns(client).unwrap();
    (0..3).any(|_| client.tcp_ask("10.77.0.2:80", SHORT).is_ok())
}

fn amendments(lab: &Lab) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(lab.dir().join("state/amendments")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn only_what_changes_is_read_and_written() {
    require_root!();
    let (mut lab, file) = lab();
    let web = lab.endpoint_ns("web").unwrap();
    let server = web.tcp_serve("0.0.0.0:80").unwrap();
    assert!(may_enter(&lab, "client") && !may_enter(&lab, "other"));

    // Whoever reads the definitions now cannot understand them.
    let definitions = lab.dir().join("state/definitions.json");
    let (content, about) = (fs::read(&definitions).unwrap(), fs::metadata(&definitions).unwrap());
    let overwrite = |content: &[u8]| {
        fs::write(&definitions, content).unwrap();
        File::options()
            .write(true)
            .open(&definitions)
            .unwrap()
            .set_modified(about.modified().unwrap())
            .unwrap();
    };
    overwrite(&vec![b'#'; content.len()]);
    lab.netfast(&["endpoint", "ls"]).unwrap().success().then(|| panic!("the definitions are read"));
    lab.netfast_ok(&["endpoint", "label", "other", "role=client"]).unwrap();
    lab.netfast_ok(&["endpoint", "label", "client", "role-"]).unwrap();
    lab.netfast_ok(&["endpoint", "add", "new", "-l", "role=client"]).unwrap();
    lab.netfast_ok(&["endpoint", "add", "gone"]).unwrap();
    lab.netfast_ok(&["endpoint", "label", "new", "tier=1"]).unwrap();
    lab.netfast_ok(&["endpoint", "rm", "gone"]).unwrap();
    lab.netfast_ok(&["endpoint", "rm", "gone", "--ignore-missing"]).unwrap();
    for (args, part) in [
        (vec!["endpoint", "add", "new"], "endpoint new exists already"),
        (
            vec!["endpoint", "label", "gone", "a=b"],
            "no endpoint is called gone (known: client, new, other, web)",
        ),
        (vec!["endpoint", "rm", "gone"], "no endpoint is called gone"),
        (vec!["endpoint", "add", "x", "--network", "y"], "there is no network y (known: lab)"),
    ] {
        let done = lab.netfast(&args).unwrap();
        assert!(!done.success() && done.stderr.contains(part), "{args:?}: {done:?}");
    }
    let now = fs::metadata(&definitions).unwrap();
    assert_eq!((now.ino(), now.modified().unwrap()), (about.ino(), about.modified().unwrap()));
    assert_eq!(amendments(&lab).len(), 4);

    overwrite(&content);
    let wanted = [
        "client {}",
        r#"new {"role":"client","tier":"1"}"#,
        r#"other {"role":"client"}"#,
        r#"web {"app":"web"}"#,
    ];
    assert_eq!(endpoints(&lab), wanted);
    assert!(!may_enter(&lab, "client") && may_enter(&lab, "other") && may_enter(&lab, "new"));

    // A reboot keeps them, and whoever writes all of the definitions puts them in there.
    drop((server, web));
    lab.reboot().unwrap();
    lab.netfast_ok(&["deny", "add", "198.51.100.0/24"]).unwrap();
    assert_eq!((endpoints(&lab), amendments(&lab)), (wanted.map(str::to_owned).into(), Vec::new()));
    // The file has the last word on those it names.
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    let wanted = [
        r#"client {"role":"client"}"#,
        r#"new {"role":"client","tier":"1"}"#,
        "other {}",
        r#"web {"app":"web"}"#,
    ];
    assert_eq!(endpoints(&lab), wanted);
    lab.netfast_ok(&["endpoint", "label", "web", "a=b"]).unwrap();
    lab.netfast_ok(&["down"]).unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn a_damaged_amendment_is_told_and_taken_down() {
    require_root!();
    let (mut lab, file) = lab();
    lab.netfast_ok(&["endpoint", "label", "web", "a=b"]).unwrap();
    let [damaged] = amendments(&lab).try_into().unwrap();
    fs::write(&damaged, "{").unwrap();
    let done = lab.netfast(&["up", "-d", "-f", &file]).unwrap();
    let named = done.stderr.contains(damaged.to_str().unwrap());
    assert!(!done.success() && named && done.stderr.contains("is damaged ("), "{done:?}");
    lab.netfast_ok(&["down"]).unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);

    // Also where a machine that lost its power has come up again, and nothing of the run directory is left.
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    lab.netfast_ok(&["endpoint", "label", "web", "a=b"]).unwrap();
    fs::write(&damaged, "{").unwrap();
    lab.reboot().unwrap();
    fs::remove_dir_all(lab.dir().join("run")).unwrap();
    lab.netfast_ok(&["down"]).unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn many_amendments_are_put_into_the_definitions() {
    require_root!();
    let (lab, _) = lab();
    let deny = || lab.netfast_ok(&["deny", "add", "198.51.100.0/24"]).unwrap();
    deny();
    lab.netfast_ok(&["endpoint", "label", "web", "a=b"]).unwrap();
    let [one] = amendments(&lab).try_into().unwrap();
    // As if others had come and gone.
    let mut other: serde_json::Value = serde_json::from_str(&fs::read_to_string(&one).unwrap()).unwrap();
    other["now"] = serde_json::Value::Null;
    for number in 0..254 {
        other["id"]["name"] = format!("gone{number}").into();
        fs::write(one.with_file_name(format!("default+gone{number}.json")), other.to_string()).unwrap();
    }
    // What is denied already changes no definitions, and takes note of what is there.
    deny();
    lab.netfast_ok(&["endpoint", "label", "web", "a=c"]).unwrap();
    assert_eq!(amendments(&lab).len(), 255);
    lab.netfast_ok(&["endpoint", "label", "client", "a=c"]).unwrap();
    assert_eq!(amendments(&lab).len(), 256);
    lab.netfast_ok(&["endpoint", "label", "web", "a=d"]).unwrap();
    assert_eq!(amendments(&lab), NONE.map(PathBuf::from));
    let wanted = [r#"client {"a":"c","role":"client"}"#, "other {}", r#"web {"a":"d","app":"web"}"#];
    assert_eq!(endpoints(&lab), wanted);
}

/// A place that an endpoint has whose namespace is gone is its own still.
#[test]
fn nobody_gets_the_place_of_one_that_is_left_out() {
    require_root!();
    let (lab, _) = lab();
    let path = PathBuf::from(lab.file("given", "").unwrap());
    let mount = || {
        let given = Ns::new("given").unwrap();
        let [from, to] = [given.path(), path.clone()].map(|path| path.display().to_string());
        fs::write(&path, "").unwrap();
        assert!(lab.host.finish("mount", &["--bind", &from, &to], S).unwrap().success());
    };
    let place = path.display().to_string();
    mount();
    lab.netfast_ok(&["endpoint", "add", "first", "--netns", &place]).unwrap();
    assert!(lab.host.finish("umount", &["-l", &place], S).unwrap().success());
    fs::remove_file(&path).unwrap();
    lab.netfast_ok(&["deny", "add", "198.51.100.0/24"]).unwrap();
    mount();
    let done = lab.netfast(&["endpoint", "add", "second", "--netns", &place]).unwrap();
    assert!(!done.success() && done.stderr.contains("first"), "{done:?}");
    lab.netfast_ok(&["deny", "add", "203.0.113.0/24"]).unwrap();
    lab.netfast_ok(&["endpoint", "rm", "first"]).unwrap();
    lab.netfast_ok(&["endpoint", "add", "second", "--netns", &place]).unwrap();
    lab.netfast_ok(&["down"]).unwrap();
    assert!(lab.host.finish("umount", &["-l", &place], S).unwrap().success());
}

/// Runs a command that dies at a point. `None`: it does not pass so many.
fn killed(lab: &Lab, args: &[&str], point: usize) -> Option<String> {
    let mut command = lab.command(args);
    let done =
        Running::start(command.env("NETFAST_FAULT", point.to_string())).unwrap().finish(20 * S).unwrap();
    if done.success() {
        return None;
    }
    assert_eq!(done.status.signal(), Some(SIGKILL), "{done:?}");
    Some(format!("{args:?}, {}", done.stderr.trim()))
}

#[test]
fn a_command_killed_anywhere_has_done_it_or_not() {
    require_root!();
    let (lab, _) = lab();
    let web = lab.endpoint_ns("web").unwrap();
    let _server = web.tcp_serve("0.0.0.0:80").unwrap();
    let all = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let before = all(&[r#"client {"role":"client"}"#, "other {}", r#"web {"app":"web"}"#]);
    let added =
        all(&[r#"client {"role":"client"}"#, r#"new {"role":"client"}"#, "other {}", r#"web {"app":"web"}"#]);
    let labelled =
        all(&[r#"client {"role":"client"}"#, r#"other {"role":"client"}"#, r#"web {"app":"web"}"#]);
    let add = ["endpoint", "add", "new", "-l", "role=client"];
    let rm = ["endpoint", "rm", "new"];
    let label = ["endpoint", "label", "other", "role=client"];
    let unlabel = ["endpoint", "label", "other", "role-"];
    for (args, back, from, to) in [
        (&label[..], &unlabel[..], &before, &labelled),
        (&add[..], &rm[..], &before, &added),
        (&rm[..], &add[..], &added, &before),
    ] {
        if from == &added {
            lab.netfast_ok(&add).unwrap();
        }
        // Some of the points; `NETFAST_TEST_ALL=1` takes all. A write of a file has three.
        let step = if std::env::var_os("NETFAST_TEST_ALL").is_some() { 1 } else { 4 };
        let mut point = 1;
        while let Some(when) = killed(&lab, args, point) {
            // Whichever command comes next makes it good.
            lab.netfast_ok(&["deny", "add", "198.51.100.0/24"]).expect(&when);
            let there = endpoints(&lab);
            assert!(there == *from || there == *to, "{when}: {there:?}");
            assert_eq!(may_enter(&lab, "other"), there == labelled, "{when}");
            let status = lab.netfast_json(&["status"]).unwrap();
            assert_eq!(status["problems"].as_array().unwrap().len(), 0, "{when}: {status:#}");
            if there == *from {
                lab.netfast_ok(args).expect(&when);
                assert_eq!(endpoints(&lab), *to, "{when}");
            }
            lab.netfast_ok(back).expect(&when);
            assert_eq!(endpoints(&lab), *from, "{when}");
            point += step;
        }
        assert!(point > 10, "{args:?}: only {point} points");
        // It was done in the end.
        assert_eq!(endpoints(&lab), *to, "{args:?}");
        if *to != before {
            lab.netfast_ok(back).unwrap();
        }
    }
    lab.netfast_ok(&["down"]).unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}
