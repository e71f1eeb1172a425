//! The runner that calls plugins: as the real libcni does, and strict with what they print.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use netfast_tests::{
    Lab, Libcni, Ns, PluginError, RealLibcni, Sandbox, place_program, require_root, require_runtimes,
};
use serde_json::{Value, json};

/// A plugin that notes how it was called, and answers.
const RECORDER: &str = r#"#!/bin/sh
number=$(ls "$0.calls" | wc -l)
{ env | grep ^CNI_ | sort; echo; cat; } > "$0.calls/$number-$CNI_COMMAND-${0##*/}"
case $CNI_COMMAND in
ADD) echo '{"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}], "dns": {"domain": "'"${0##*/}"'"}}' ;;
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}' ;;
esac
"#;

/// A plugin in `directory` that is this shell script.
fn plugin(directory: &Path, name: &str, script: &str) {
    place_program(&directory.join(name), script.as_bytes()).unwrap();
}

/// A directory with two recorders, `first` and `second`.
fn recorders(lab: &Lab) -> PathBuf {
    let directory = lab.dir().join("plugins");
    fs::create_dir_all(&directory).unwrap();
    for name in ["first", "second"] {
        plugin(&directory, name, RECORDER);
        fs::create_dir_all(directory.join(format!("{name}.calls"))).unwrap();
    }
    directory
}

/// Variables and configuration of a call.
type Call = (BTreeMap<String, String>, Value);

/// What was recorded since the last look, by number, command and plugin.
fn calls(directory: &Path) -> BTreeMap<String, Call> {
    let mut calls = BTreeMap::new();
    for name in ["first", "second"] {
        for entry in fs::read_dir(directory.join(format!("{name}.calls"))).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let (variables, config) = text.split_once("\n\n").unwrap();
            let variables = variables.lines().map(|line| line.split_once('=').unwrap());
            let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            calls.insert(file, (variables, serde_json::from_str(config).unwrap()));
            fs::remove_file(path).unwrap();
        }
    }
    calls
}

fn list(version: &str) -> Value {
    json!({
        "cniVersion": version,
        "name": "recorded",
        "plugins": [
            {"type": "first", "key": [1, 2], "capabilities": {"portMappings": true, "mac": true, "dns": false}},
            {"type": "second", "capabilities": {"aliases": true}},
        ],
    })
}

fn sandbox(ns: &Ns) -> Sandbox {
    Sandbox::new("c1", ns)
        .args("IgnoreUnknown=1;K8S_POD_NAME=web")
        .ports(&[(8080, 80, "tcp")])
        .capability("dns", json!({"servers": ["192.0.2.53"]}))
        .capability("ipRanges", json!([]))
}

#[test]
fn it_calls_as_the_real_libcni_does() {
    require_runtimes!();
    let lab = Lab::new().unwrap();
    let directory = recorders(&lab);
    let (ours, real) = (Libcni::new(&lab, &[&directory]), RealLibcni::new(&lab, &[&directory]).unwrap());
    let ns = Ns::new("c1").unwrap();
    let sandbox = sandbox(&ns);
    for version in ["0.4.0", "1.0.0"] {
        let list = list(version);
        let file = lab.file("recorded.conflist", &list.to_string()).unwrap();
        if version == "1.0.0" {
            let result = ours.add(&list, &sandbox).unwrap();
            let by_ours = calls(&directory);
            assert_eq!(real.run("ADD", &file, &sandbox).unwrap(), Some(result));
            assert_eq!(by_ours, calls(&directory));
            assert_eq!(by_ours.len(), 2);
            ours.check(&list, &sandbox).unwrap();
            let by_ours = calls(&directory);
            assert_eq!(real.run("CHECK", &file, &sandbox).unwrap(), None);
            assert_eq!(by_ours, calls(&directory));
        }
        // The second time without a result in the cache.
        for gone in [sandbox.clone(), sandbox.clone().gone()] {
            ours.del(&list, &gone).unwrap();
            let by_ours = calls(&directory);
            assert_eq!(real.run("DEL", &file, &gone).unwrap(), None);
            assert_eq!(by_ours, calls(&directory));
            assert_eq!(by_ours.len(), 2);
        }
        ours.validate(&list).unwrap();
        let by_ours = calls(&directory);
        assert_eq!(real.run("VALIDATE", &file, &sandbox).unwrap(), None);
        let by_real = calls(&directory);
        assert_eq!(by_ours.keys().collect::<Vec<_>>(), by_real.keys().collect::<Vec<_>>());
    }
    assert!(ours.validate(&list("0.3.1")).is_err());
    let file = lab.file("recorded.conflist", &list("0.3.1").to_string()).unwrap();
    assert!(real.run("VALIDATE", &file, &sandbox).is_err());
}

#[test]
fn what_the_real_libcni_is_too_old_for() {
    require_root!();
    let lab = Lab::new().unwrap();
    let directory = recorders(&lab);
    let libcni = Libcni::new(&lab, &[&directory]);
    let mut list = list("1.0.0");
    for id in ["one", "two", "three"] {
        libcni.add(&list, &Sandbox::new(id, &lab.host)).unwrap();
    }
    calls(&directory);
    list["cniVersion"] = "1.1.0".into();
    libcni.gc(&list, &[("two", "eth0")]).unwrap();
    let made = calls(&directory);
    let order: Vec<_> = made.keys().map(String::as_str).collect();
    // Each plugin counts for itself.
    assert_eq!(
        order,
        ["0-DEL-first", "0-DEL-second", "1-DEL-first", "1-DEL-second", "2-GC-first", "2-GC-second"]
    );
    assert_eq!(made["0-DEL-first"].0["CNI_CONTAINERID"], "one");
    assert_eq!(made["0-DEL-first"].0["CNI_NETNS"], "");
    assert_eq!(made["0-DEL-first"].1["prevResult"]["dns"]["domain"], "second");
    assert_eq!(made["1-DEL-first"].0["CNI_CONTAINERID"], "three");
    let (variables, config) = &made["2-GC-second"];
    assert_eq!(variables.keys().collect::<Vec<_>>(), ["CNI_COMMAND", "CNI_PATH"]);
    for key in ["cni.dev/attachments", "cni.dev/valid-attachments"] {
        assert_eq!(config[key], json!([{"containerID": "two", "ifname": "eth0"}]));
    }
    libcni.status(&list).unwrap();
    assert_eq!(calls(&directory).into_keys().collect::<Vec<_>>(), ["0-STATUS-first", "0-STATUS-second"]);
    list["disableGC"] = true.into();
    libcni.gc(&list, &[]).unwrap();
    assert!(calls(&directory).is_empty());
}

#[test]
fn a_plugin_that_does_not_behave_is_found_out() {
    require_root!();
    let lab = Lab::new().unwrap();
    let directory = lab.dir().join("plugins");
    fs::create_dir(&directory).unwrap();
    let libcni = Libcni::new(&lab, &[&directory]);
    let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "odd"}]});
    let sandbox = Sandbox::new("c1", &lab.host);
    let result = r#"{"cniVersion": "1.0.0"}"#;
    for (script, complaint) in [
        (format!("echo hello; echo '{result}'"), "no JSON document"),
        (format!("echo '{result}' '{result}'"), "no JSON document"),
        ("exit 0".to_owned(), "printed nothing"),
        ("exit 1".to_owned(), "failed in silence"),
        (format!("echo '{result}'; exit 1"), "no error"),
        ("echo '{\"cniVersion\": \"0.4.0\"}'".to_owned(), "another version"),
        (format!("sleep 1000 & echo '{result}'; echo $! > $0.pid"), "keeps its output open"),
    ] {
        plugin(&directory, "odd", &format!("#!/bin/sh\n{script}\n"));
        let error = libcni.add(&list, &sandbox).unwrap_err();
        assert!(format!("{error:#}").contains(complaint), "{script}: {error:#}");
        assert!(error.downcast_ref::<PluginError>().is_none(), "{script}: {error:#}");
    }
    plugin(&directory, "odd", &format!("#!/bin/sh\necho '{result}'\n"));
    for error in [libcni.del(&list, &sandbox), libcni.check(&list, &sandbox)] {
        assert!(format!("{:#}", error.unwrap_err()).contains(" printed {"), "a DEL or CHECK that speaks");
    }
    plugin(
        &directory,
        "odd",
        "#!/bin/sh\necho '{\"cniVersion\": \"1.0.0\", \"code\": 7, \"msg\": \"no\"}'; exit 1\n",
    );
    let error = libcni.add(&list, &sandbox).unwrap_err();
    assert_eq!(error.downcast_ref::<PluginError>().unwrap().code(), Some(7));
    plugin(&directory, "odd", "#!/bin/sh\nkill -9 $$\n");
    let error = libcni.add(&list, &sandbox).unwrap_err();
    assert_eq!(error.downcast_ref::<PluginError>().unwrap().code(), None);
}
