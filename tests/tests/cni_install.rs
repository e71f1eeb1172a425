//! `netfast cni install` and `uninstall`: what they write, what they leave alone, and what is left.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netfast_tests::{Finished, Lab, Running, require_root};
use serde_json::{Value, json};
use tempfile::TempDir;

const NONE: [String; 0] = [];

/// A list as podman makes them; what is odd about its form is to stay.
const PODMAN: &str = r#"{
  "cniVersion": "0.4.0",
  "name": "podman", "future": [1.50],
  "plugins": [
    {"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.88.0.0/16"}},
    {
      "type": "portmap", "capabilities": {"portMappings": true}
    }
  ]
}
"#;

struct World {
    lab: Lab,
    /// In memory: the program is large, and written again and again.
    memory: TempDir,
    conf: PathBuf,
}

fn world() -> World {
    let lab = Lab::new().unwrap();
    let memory = tempfile::Builder::new().prefix("netfast-bin-").tempdir_in("/dev/shm").unwrap();
    let conf = lab.dir().join("net.d");
    World { lab, memory, conf }
}

impl World {
    fn cni(&self, command: &str, args: &[&str]) -> Finished {
        let (bin, conf) = (self.bin().display().to_string(), self.conf.display().to_string());
        let directories: &[&str] =
            if command == "install" { &["--bin-dir", &bin, "--conf-dir", &conf] } else { &[] };
        self.lab.netfast(&[&["cni", command], directories, args].concat()).unwrap()
    }

    /// The same of another instance.
    fn other(&self, command: &str, args: &[&str]) -> String {
        let (bin, conf) = (self.bin().display().to_string(), self.conf.display().to_string());
        let directories: &[&str] =
            if command == "install" { &["--bin-dir", &bin, "--conf-dir", &conf] } else { &[] };
        let mut command = self.lab.command(&[&["cni", command], directories, args].concat());
        for (variable, name) in [("STATE_DIR", "state2"), ("RUN_DIR", "run2"), ("BPFFS", "bpffs2")] {
            command.env(format!("NETFAST_{variable}"), self.lab.dir().join(name));
        }
        let done = Running::start(&mut command).unwrap().finish(Duration::from_mins(1)).unwrap();
        assert!(done.success() && done.stderr.is_empty(), "{done:?}");
        done.stdout
    }

    fn ok(&self, command: &str, args: &[&str]) -> String {
        let done = self.cni(command, args);
        assert!(done.success() && done.stderr.is_empty(), "{done:?}");
        done.stdout
    }

    fn refused(&self, args: &[&str], why: &str) {
        let before = self.files();
        let done = self.cni("install", args);
        assert_eq!(done.status.code(), Some(1), "{done:?}");
        assert!(done.stderr.starts_with("netfast: cni install: ") && done.stderr.contains(why), "{done:?}");
        assert_eq!(self.files(), before);
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::create_dir_all(&self.conf).unwrap();
        let path = self.conf.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.conf.join(name)).unwrap()
    }

    /// The files in both directories, sorted.
    fn files(&self) -> Vec<String> {
        let names = |directory: &Path| {
            let entries = fs::read_dir(directory).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        let mut files = [names(&self.bin()), names(&self.conf)].concat();
        files.sort();
        files
    }

    fn bin(&self) -> PathBuf {
        self.memory.path().join("bin")
    }

    fn plugin(&self) -> PathBuf {
        self.bin().join("netfast")
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_written_and_removed() {
    require_root!();
    let world = world();
    let printed = world.ok("install", &["--print", "--subnet", "10.99.0.0/24", "--subnet", "fd99::/64"]);
    assert_eq!(world.files(), NONE);
    world.ok("install", &["--subnet", "10.99.0.0/24", "--subnet", "fd99::/64"]);
    assert_eq!(world.files(), ["05-netfast.conflist", "netfast"]);
    assert_eq!(world.read("05-netfast.conflist"), printed);
    assert_eq!((mode(&world.plugin()), mode(&world.conf.join("05-netfast.conflist"))), (0o755, 0o644));

    let list: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&list["cniVersion"], &list["name"]), (&json!("1.0.0"), &json!("netfast")));
    let plugin = &list["plugins"][0];
    assert_eq!(plugin["type"], "netfast");
    assert_eq!(plugin["ipam"]["ranges"], json!([[{"subnet": "10.99.0.0/24"}], [{"subnet": "fd99::/64"}]]));
    for capability in ["portMappings", "ips", "mac", "dns", "aliases", "bandwidth", "ipRanges"] {
        assert_eq!(plugin["capabilities"][capability], true, "{capability}");
    }
    // The plugin is to work on the instance that the command is for.
    for (key, variable) in
        [("stateDir", "NETFAST_STATE_DIR"), ("runDir", "NETFAST_RUN_DIR"), ("bpffs", "NETFAST_BPFFS")]
    {
        let path = world.lab.environment().into_iter().find(|(name, _)| *name == variable).unwrap().1;
        assert_eq!(plugin[key], path.display().to_string());
    }

    // What is installed is this program, whole.
    let copied = fs::metadata(world.plugin()).unwrap().len();
    assert_eq!(copied, fs::metadata(world.lab.binary()).unwrap().len());
    let told = world.ok("uninstall", &[]);
    assert_eq!(told.lines().count(), 2, "{told}");
    assert_eq!(world.files(), NONE);
    assert_eq!(world.ok("uninstall", &[]), "nothing was installed\n");
    assert_eq!(world.lab.leftovers().unwrap(), NONE);
}

#[test]
fn a_second_time() {
    require_root!();
    let world = world();
    world.ok("install", &[]);
    let first = world.read("05-netfast.conflist");
    let told = world.ok("install", &[]);
    assert!(told.contains("is as it should be"), "{told}");
    // With other options, it is written anew.
    world.ok("install", &["--subnet", "10.99.0.0/24"]);
    let second = world.read("05-netfast.conflist");
    assert_ne!(first, second);
    // What somebody has changed stays, while the program is a new one.
    fs::write(world.plugin(), "an old one").unwrap();
    world.write("05-netfast.conflist", &second.replace("\"dns\": true", "\"dns\": false"));
    let told = world.ok("install", &[]);
    assert!(told.contains("was changed since, and stays"), "{told}");
    assert!(world.read("05-netfast.conflist").contains("\"dns\": false"));
    assert!(fs::metadata(world.plugin()).unwrap().len() > 100_000);
    world.ok("install", &["--force"]);
    assert_eq!(world.read("05-netfast.conflist"), first);
    world.ok("uninstall", &[]);
    assert_eq!(world.files(), NONE);
}

#[test]
fn files_of_others_stay() {
    require_root!();
    let world = world();
    fs::create_dir_all(world.bin()).unwrap();
    fs::write(world.plugin(), "somebody else's").unwrap();
    world.refused(&[], "netfast is not ours (move it away, or give --force)");
    fs::remove_file(world.plugin()).unwrap();
    world.write("05-netfast.conflist", PODMAN);
    world.refused(&[], "05-netfast.conflist is not ours (move it away, or give --force)");
    assert_eq!(world.read("05-netfast.conflist"), PODMAN);
    world.refused(&["--subnet", "10.1.0.0/16", "--subnet", "10.2.0.0/16"], "one subnet of a family");
    world.write("10-other.conflist", PODMAN);
    world.ok("install", &["--force"]);
    world.ok("uninstall", &[]);
    assert_eq!(world.files(), ["10-other.conflist"]);
    assert_eq!(world.read("10-other.conflist"), PODMAN);
    // By hand removed before: no reason to complain.
    world.ok("install", &[]);
    fs::remove_file(world.plugin()).unwrap();
    world.ok("uninstall", &[]);
    assert_eq!(world.files(), ["10-other.conflist"]);
}

#[test]
fn chained_after_others() {
    require_root!();
    let world = world();
    let list = world.write("87-podman.conflist", PODMAN);
    let printed = world.ok("install", &["--chain", &list, "--print"]);
    assert_eq!(
        (world.read("87-podman.conflist").as_str(), world.files()),
        (PODMAN, vec!["87-podman.conflist".to_owned()])
    );
    world.ok("install", &["--chain", &list]);
    assert_eq!(world.read("87-podman.conflist"), printed);
    let chained: Value = serde_json::from_str(&printed).unwrap();
    let mut plugins = chained["plugins"].as_array().unwrap().clone();
    let ours = plugins.pop().unwrap();
    assert_eq!(ours["type"], "netfast");
    // portmap is there for that.
    assert_eq!(ours["capabilities"], Value::Null);
    assert_eq!(
        plugins,
        serde_json::from_str::<Value>(PODMAN).unwrap()["plugins"].as_array().unwrap().clone()
    );
    assert!(printed.contains(r#""name": "podman", "future": [1.50],"#), "{printed}");
    let told = world.ok("install", &["--chain", &list]);
    assert!(told.contains("has netfast already"), "{told}");
    assert_eq!(world.read("87-podman.conflist"), printed);
    // What else was changed meanwhile stays.
    world.write("87-podman.conflist", &printed.replace("10.88.", "10.89."));
    world.ok("uninstall", &[]);
    assert_eq!(world.read("87-podman.conflist"), PODMAN.replace("10.88.", "10.89."));
    assert_eq!(world.files(), ["87-podman.conflist"]);
    world.refused(&["--chain", &world.conf.join("no.conflist").display().to_string()], "there is no ");
    let old = world
        .write("88-old.conflist", r#"{"cniVersion": "0.2.0", "name": "o", "plugins": [{"type": "ptp"}]}"#);
    world.refused(&["--chain", &old], "88-old.conflist: cniVersion is 0.2.0, and netfast speaks 0.3.1, ");
}

#[test]
fn a_single_configuration_becomes_a_list_and_back() {
    require_root!();
    let world = world();
    let text = "{\"cniVersion\": \"0.3.1\", \"name\": \"p\", \"type\": \"ptp\", \"ipMasq\": true}\n";
    let single = world.write("10-ptp.conf", text);
    world.ok("install", &["--chain", &single]);
    assert_eq!(world.files(), ["10-ptp.conf.before-netfast", "10-ptp.conflist", "netfast"]);
    let list: Value = serde_json::from_str(&world.read("10-ptp.conflist")).unwrap();
    assert_eq!((&list["cniVersion"], &list["name"]), (&json!("0.3.1"), &json!("p")));
    assert_eq!(list["plugins"][0], serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(list["plugins"][1]["capabilities"], json!({"portMappings": true}));
    let told = world.ok("install", &["--chain", &single]);
    assert!(told.contains("has netfast already"), "{told}");
    world.ok("uninstall", &[]);
    assert_eq!((world.files(), world.read("10-ptp.conf").as_str()), (vec!["10-ptp.conf".to_owned()], text));
}

#[test]
fn a_second_instance() {
    require_root!();
    let world = world();
    let list = world.write("87-podman.conflist", PODMAN);
    world.ok("install", &[]);
    let told = world.other("install", &["--name", "other", "--subnet", "10.99.0.0/16"]);
    assert!(told.contains("netfast is this program"), "{told}");
    world.other("install", &["--chain", &list]);
    let all = ["05-netfast.conflist", "06-netfast-other.conflist", "87-podman.conflist", "netfast"];
    assert_eq!(world.files(), all);
    let other: Value = serde_json::from_str(&world.read("06-netfast-other.conflist")).unwrap();
    assert_eq!(other["name"], "other");
    assert_eq!(other["plugins"][0]["stateDir"], world.lab.dir().join("state2").display().to_string());
    // The program stays as long as a configuration names it.
    let told = world.ok("uninstall", &[]);
    assert!(
        told.contains("netfast stays, for ") && told.contains("06-netfast-other.conflist names"),
        "{told}"
    );
    assert_eq!(world.files(), all[1..]);
    // A file that is no configuration of anybody's is in nobody's way.
    fs::write(world.conf.join("99-odd.conf"), [0xff, 0xfe]).unwrap();
    world.other("uninstall", &[]);
    assert_eq!(world.files(), ["87-podman.conflist", "99-odd.conf"]);
    assert_eq!(world.read("87-podman.conflist"), PODMAN);
    // With one that is all that another instance has there.
    world.other("install", &["--chain", &list]);
    world.ok("install", &[]);
    world.ok("uninstall", &[]);
    assert!(world.plugin().exists());
    world.other("uninstall", &[]);
    assert!(!world.plugin().exists());
}

#[test]
fn names_links_and_modes_of_others_are_as_before() {
    require_root!();
    let world = world();
    let text = r#"{"cniVersion": "0.3.1", "name": "p", "type": "ptp"}"#;
    let single = world.write("10-ptp.json", text);
    world.ok("install", &["--chain", &single]);
    assert_eq!(world.files(), ["10-ptp.conflist", "10-ptp.json.before-netfast", "netfast"]);
    world.ok("uninstall", &[]);
    assert_eq!((world.files(), world.read("10-ptp.json").as_str()), (vec!["10-ptp.json".to_owned()], text));
    fs::remove_file(single).unwrap();

    let real = world.lab.file("podman.list", PODMAN).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let link = world.conf.join("87-podman.conflist");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    for (command, args) in [("install", vec!["--chain", link.to_str().unwrap()]), ("uninstall", Vec::new())] {
        world.ok(command, &args);
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(&real), "{command}");
        assert_eq!(mode(Path::new(&real)), 0o640, "{command}");
        assert_eq!(world.read("87-podman.conflist").contains("netfast"), command == "install");
    }
    assert_eq!(world.read("87-podman.conflist"), PODMAN);
}

#[test]
fn keys_in_other_spellings() {
    require_root!();
    let world = world();
    let text = r#"{"CniVersion": "1.0.0", "Name": "z", "Plugins": [{"Type": "bridge"}]}"#;
    let list = world.write("10-z.conflist", text);
    world.ok("install", &["--chain", &list]);
    let chained: Value = serde_json::from_str(&world.read("10-z.conflist")).unwrap();
    assert_eq!(chained["Plugins"][1]["type"], "netfast");
    world.ok("uninstall", &[]);
    assert_eq!(world.read("10-z.conflist"), text);
}

#[test]
fn killed_anywhere() {
    require_root!();
    let world = world();
    let original =
        world.write("10-ptp.conf", "{\"cniVersion\": \"0.3.1\", \"name\": \"p\", \"type\": \"ptp\"}\n");
    let faulty = |fault: &str| {
        let (bin, conf) = (world.bin().display().to_string(), world.conf.display().to_string());
        let args = ["cni", "install", "--bin-dir", &bin, "--conf-dir", &conf, "--chain", &original];
        let mut command = world.lab.command(&args);
        Running::start(command.env("NETFAST_FAULT", fault)).unwrap().finish(Duration::from_mins(1)).unwrap()
    };
    let counted = faulty("count").stderr;
    let points =
        counted.lines().find_map(|line| line.strip_prefix("fault: ")?.strip_suffix(" points")).unwrap();
    let points: usize = points.parse().unwrap();
    world.ok("uninstall", &[]);
    for point in 1..=points {
        faulty(&point.to_string());
        // A runtime that reads now finds one configuration or the other, and whatever that names.
        let list = world.conf.join("10-ptp.conflist");
        if list.exists() {
            assert!(world.plugin().exists(), "point {point}");
            serde_json::from_str::<Value>(&fs::read_to_string(list).unwrap()).unwrap();
        } else {
            assert!(Path::new(&original).exists(), "point {point}");
        }
        world.ok("uninstall", &[]);
        let files: Vec<_> = world.files().into_iter().filter(|name| !name.starts_with(".netfast-")).collect();
        assert_eq!(files, ["10-ptp.conf"], "point {point}");
    }
}
