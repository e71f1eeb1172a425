//! `netfast up` in the foreground follows its files, in whatever way they are changed.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use netfast_tests::{Lab, Ns, Running, TcpServer, eventually, require_root};
use nix::sys::signal::Signal;

const S: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);
/// Far less than the period of looking without a notice, which is 10 s.
const SOON: Duration = Duration::from_secs(4);

const TOPOLOGY: &str = "
networks: {lab: {subnet: 10.77.0.0/24}}
endpoints:
  web: {ip: 10.77.0.2, labels: {app: web}}
  client: {ip: 10.77.0.3, labels: {role: client}}
";

/// Lets those with a role reach `web`.
fn policy(role: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: web}}
spec:
  podSelector: {{matchLabels: {{app: web}}}}
  ingress: [{{from: [{{podSelector: {{matchLabels: {{role: {role}}}}}}}]}}]
"
    )
}

/// A lab in whose foreground netfast follows its files.
struct Scene {
    up: Running,
    client: Ns,
    _server: TcpServer,
    /// How many changes were told.
    told: usize,
    lab: Lab,
}

impl Scene {
    /// `policies`: the arguments that name them.
    fn new(lab: Lab, topology: &str, policies: &[&Path]) -> Self {
        let file = lab.file("netfast.yaml", topology).unwrap();
        let mut args = vec!["up", "-f", &file];
        args.extend(policies.iter().flat_map(|path| ["--policy", path.to_str().unwrap()]));
        let mut up = lab.start(&args).unwrap();
        up.wait_for("Ctrl-C takes it down", 20 * S).unwrap();
        let server = lab.endpoint_ns("web").unwrap().tcp_serve("0.0.0.0:80").unwrap();
        let client = lab.endpoint_ns("client").unwrap();
        Self { up, client, _server: server, told: 0, lab }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.lab.dir().join(name)
    }

    /// Whether `client` reaches `web`.
    fn is_open(&self) -> bool {
        self.client.tcp_ask("10.77.0.2:80", SHORT).is_ok()
    }

    /// Waits until netfast says once more that it has put something in force.
    #[track_caller]
    fn applied(&mut self, what: &str) {
        self.told += 1;
        let told = || self.up.stderr().matches("netfast: put in force: ").count() >= self.told;
        eventually(what, told);
    }

    /// Something is changed so that `client` is let in, or not any more.
    #[track_caller]
    fn expect(&mut self, is_open: bool, what: &str, change: impl FnOnce(&Self)) {
        change(self);
        self.applied(what);
        assert_eq!(self.is_open(), is_open, "{what}: {}", self.up.stderr());
    }

    fn end(self) {
        self.up.signal(Signal::SIGINT).unwrap();
        assert!(self.up.finish(20 * S).unwrap().success());
        assert_eq!(self.lab.leftovers().unwrap(), [""; 0]);
    }
}

#[test]
fn every_way_to_replace_a_file() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.file("policy.yaml", &policy("client")).unwrap();
    let mut scene = Scene::new(lab, &format!("{TOPOLOGY}policies: [policy.yaml]\n"), &[]);
    assert!(scene.is_open());
    let file = scene.path("policy.yaml");
    scene.expect(false, "written in place", |_| fs::write(&file, policy("nobody")).unwrap());
    scene.expect(true, "renamed over", |s| {
        fs::write(s.path("new"), policy("client")).unwrap();
        fs::rename(s.path("new"), &file).unwrap();
    });
    scene.expect(false, "removed and made", |_| {
        fs::remove_file(&file).unwrap();
        fs::write(&file, policy("nobody")).unwrap();
    });
    scene.expect(true, "with a backup", |s| {
        fs::rename(&file, s.path("policy.yaml~")).unwrap();
        fs::write(&file, policy("client")).unwrap();
    });
    // Established flows follow too.
    let mut flow = scene.client.tcp_connect("10.77.0.2:80", S).unwrap();
    flow.ask().unwrap();
    scene.expect(false, "in two steps", |_| {
        fs::write(&file, "").unwrap();
        fs::write(&file, policy("nobody")).unwrap();
    });
    flow.ask().unwrap_err();
    scene.expect(true, "made a link", |s| {
        fs::write(s.path("other.yaml"), policy("client")).unwrap();
        fs::remove_file(&file).unwrap();
        symlink("other.yaml", &file).unwrap();
    });
    scene.expect(false, "where the link leads", |s| {
        fs::write(s.path("other.yaml"), policy("nobody")).unwrap();
    });
    assert_eq!(scene.up.stderr().matches("error").count(), 0, "{}", scene.up.stderr());
    scene.end();
}

#[test]
fn a_swapped_directory_and_files_in_one() {
    require_root!();
    let lab = Lab::new().unwrap();
    // As a ConfigMap is mounted.
    let mount = lab.dir().join("mount");
    fs::create_dir(&mount).unwrap();
    let version = |name: &str, role: &str| {
        fs::create_dir(mount.join(name)).unwrap();
        fs::write(mount.join(name).join("web.yaml"), policy(role)).unwrap();
    };
    version("..1", "client");
    version("..2", "nobody");
    version("..3", "client");
    symlink("..1", mount.join("..data")).unwrap();
    symlink("..data/web.yaml", mount.join("web.yaml")).unwrap();
    let swap = |to: &str| {
        symlink(to, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    // The directory itself is named.
    let mut scene = Scene::new(lab, TOPOLOGY, &[&mount]);
    assert!(scene.is_open());
    scene.expect(false, "swapped", |_| {
        swap("..2");
        fs::remove_dir_all(mount.join("..1")).unwrap();
    });
    scene.expect(true, "swapped again", |_| swap("..3"));
    let deny = policy("nobody").replace("name: web", "name: more").replace("app: web", "role: client");
    scene.expect(false, "one more file", |_| {
        fs::write(
            mount.join("more.yaml"),
            deny.replace("ingress: ", "policyTypes: [Egress]\n  egress: ").replace("from", "to"),
        )
        .unwrap();
    });
    scene.expect(true, "a file less", |_| fs::remove_file(mount.join("more.yaml")).unwrap());
    scene.end();
}

#[test]
fn what_is_broken_changes_nothing() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.file("policy.yaml", &policy("nobody")).unwrap();
    let path = lab.dir().join("policy.yaml");
    let mut scene = Scene::new(lab, TOPOLOGY, &[&path]);
    assert!(!scene.is_open());
    let broken = policy("client").replacen("podSelector: {match", "podSelector: {mutch", 1);
    fs::write(&path, &broken).unwrap();
    scene.up.wait_for("1 error in 1 file: what was in force stays", SOON).unwrap();
    let told = scene.up.stderr();
    assert!(
        told.contains("policy.yaml:5:") && told.contains("mutchLabels") && told.contains("    ^"),
        "{told}"
    );
    assert!(!scene.is_open());
    // Once for each content, however often it is written.
    for _ in 0..3 {
        fs::write(&path, &broken).unwrap();
        thread::sleep(SHORT);
    }
    assert_eq!(scene.up.stderr(), told);
    fs::remove_file(&path).unwrap();
    scene.up.wait_for("policy.yaml: cannot read: No such file or directory", SOON).unwrap();
    assert!(!scene.is_open());
    scene.expect(true, "repaired", |_| fs::write(&path, policy("client")).unwrap());
    fs::write(&path, "").unwrap();
    scene.up.wait_for("there is no policy in this file", SOON).unwrap();
    assert!(scene.is_open());
    fs::write(&path, policy("client")).unwrap();
    scene.up.wait_for("the files are as they were", SOON).unwrap();
    // What the kernel or the definitions refuse.
    scene.lab.netfast_ok(&["endpoint", "add", "late"]).unwrap();
    scene.lab.file("netfast.yaml", &format!("{TOPOLOGY}  late: {{}}\n")).unwrap();
    scene.up.wait_for("endpoint late was added by command", SOON).unwrap();
    assert!(scene.is_open());
    scene.lab.netfast_ok(&["endpoint", "rm", "late"]).unwrap();
    scene.lab.file("netfast.yaml", &format!("{TOPOLOGY}  later: {{}}\n")).unwrap();
    scene.applied("an endpoint");
    scene.lab.endpoint_ns("later").unwrap().ping("10.77.0.1", S).unwrap();
    scene.end();
}

#[test]
fn other_commands_are_respected() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.file("policy.yaml", &policy("client")).unwrap();
    let path = lab.dir().join("policy.yaml");
    let mut scene = Scene::new(lab, TOPOLOGY, &[&path]);
    let applied = scene.lab.file("applied.yaml", &policy("nobody")).unwrap();
    // What is applied stays until the files say something else.
    scene.lab.netfast_ok(&["policy", "apply", &applied]).unwrap();
    fs::write(&path, policy("client")).unwrap();
    scene.lab.host.ip("link add other type veth peer name another").unwrap();
    thread::sleep(S);
    assert!(!scene.is_open());
    scene.lab.host.ip("link del other").unwrap();
    scene.expect(true, "changed", |_| fs::write(&path, format!("# again\n{}", policy("client"))).unwrap());
    // Another file's network is left alone.
    let other = scene.lab.file("other.yaml", &TOPOLOGY.replace("client:", "guest:")).unwrap();
    scene.lab.netfast_ok(&["up", "-d", "-f", &other]).unwrap();
    fs::write(&path, policy("nobody")).unwrap();
    scene.up.wait_for("other.yaml is up, no longer ", SOON).unwrap();
    scene.lab.inspect("guest").unwrap();
    scene.lab.netfast_ok(&["down"]).unwrap();
    fs::write(&path, policy("client")).unwrap();
    let Scene { mut up, lab, .. } = scene;
    up.wait_for("taken down by another command", 20 * S).unwrap();
    assert!(up.finish(20 * S).unwrap().success());
    assert_eq!(lab.leftovers().unwrap(), [""; 0]);
}
