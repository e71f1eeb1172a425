//! Policies for containers of a runtime: from a directory, by pods and labels.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::time::{Duration, Instant};

use netfast_tests::{Container, Lab, Ns, Plugin, TcpServer, address, require_root};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

/// Into `shop/web` come those of the namespace with the label `tier`, and those with the label `role: admin`.
const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {tier: front}}
    - podSelector: {matchLabels: {role: admin}}
---
apiVersion: v1
kind: Namespace
metadata: {name: front, labels: {tier: front}}
";

fn plugin(lab: &Lab) -> Plugin<'_> {
    let directory = lab.dir().join("policies.d");
    fs::create_dir_all(&directory).unwrap();
    lab.plugin(&json!({"ipam": {"subnet": "10.77.0.0/24"}, "policyDir": directory}))
}

fn pod<'a>(plugin: &Plugin<'a>, namespace: &str, name: &str, labels: &str) -> Container<'a> {
    let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};LABELS={labels}");
    plugin.container(name).unwrap().with_args(&args)
}

/// The pod `shop/web`, which [`POLICY`] is about: it serves.
struct Web<'a> {
    pod: Container<'a>,
    added: Value,
    to: String,
    _server: TcpServer,
}

impl<'a> Web<'a> {
    fn new(lab: &Lab, plugin: &Plugin<'a>) -> Self {
        lab.file("policies.d/web.yaml", POLICY).unwrap();
        Self::without_policy(plugin)
    }

    fn without_policy(plugin: &Plugin<'a>) -> Self {
        let pod = pod(plugin, "shop", "web", "app:web");
        let added = pod.add().unwrap();
        let to = format!("{}:80", address(&added, 4).unwrap());
        let server = pod.ns.tcp_serve("[::]:80").unwrap();
        Self { pod, added, to, _server: server }
    }

    fn lets_in(&self, from: &Ns) -> bool {
        // What is to be let through is; what is not may only be waited for.
        from.tcp_ask(&self.to, SHORT).is_ok()
    }

    #[track_caller]
    fn answers(&self, from: &Ns) {
        from.tcp_ask(&self.to, SECOND).unwrap();
    }
}

#[test]
fn a_directory_says_who_reaches_whom() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab);
    let web = Web::new(&lab, &plugin);
    let front = pod(&plugin, "front", "client", "");
    let admin = pod(&plugin, "shop", "admin", "role:admin");
    let by_config = plugin.with(&json!({"labels": {"role": "admin"}}));
    let configured = by_config.container("configured").unwrap().with_args("K8S_POD_NAMESPACE=shop");
    let by_args = plugin.with(&json!({"args": {"cni": {"labels": [{"key": "role", "value": "admin"}]}}}));
    let argued = by_args.container("argued").unwrap().with_args("K8S_POD_NAMESPACE=shop");
    let stranger = pod(&plugin, "default", "stranger", "role:admin");
    for container in [&front, &admin, &configured, &argued, &stranger] {
        container.add().unwrap();
    }
    for container in [&front, &admin, &configured, &argued] {
        web.answers(&container.ns);
    }
    assert!(!web.lets_in(&stranger.ns), "a pod of another namespace");

    // The directory changes: with the next container the change is in force for all.
    fs::remove_file(lab.dir().join("policies.d/web.yaml")).unwrap();
    assert!(!web.lets_in(&stranger.ns), "nothing has been added since");
    let next = plugin.container("next").unwrap();
    next.add().unwrap();
    web.answers(&stranger.ns);
    web.answers(&next.ns);
}

#[test]
fn a_mistake_leaves_what_is_in_force_and_keeps_others_out() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab);
    let web = Web::new(&lab, &plugin);
    let stranger = pod(&plugin, "default", "stranger", "");
    stranger.add().unwrap();
    assert!(!web.lets_in(&stranger.ns));

    lab.file("policies.d/web.yaml", &POLICY.replace("podSelector", "podSelectr")).unwrap();
    let next = pod(&plugin, "front", "next", "");
    for _ in 0..2 {
        let (code, message) = next.call("ADD").unwrap().failure().unwrap();
        assert_eq!(code, 7);
        assert!(message.starts_with("policies: ") && message.contains("web.yaml:6"), "{message}");
        assert_eq!(next.ns.links().unwrap(), ["lo"]);
    }
    assert!(!web.lets_in(&stranger.ns));
    web.pod.check(&web.added).unwrap().ok().unwrap();
    let gone = plugin.with(&json!({"policyDir": lab.dir().join("nowhere")})).container("gone").unwrap();
    assert_eq!(gone.call("ADD").unwrap().failure().unwrap().0, 7);

    lab.file("policies.d/web.yaml", POLICY).unwrap();
    next.add().unwrap();
    web.answers(&next.ns);
    stranger.del().unwrap();
}

#[test]
fn a_command_reads_the_directory_again() {
    require_root!();
    let lab = Lab::new().unwrap();
    let reload = || lab.netfast(&["policy", "reload"]).unwrap();
    let early = reload();
    assert_eq!(early.status.code(), Some(1));
    assert!(early.stderr.contains("no container runtime has told of a directory"), "{}", early.stderr);

    let plugin = plugin(&lab);
    let web = Web::new(&lab, &plugin);
    let stranger = pod(&plugin, "default", "stranger", "");
    stranger.add().unwrap();
    assert!(!web.lets_in(&stranger.ns));
    let directory = lab.dir().join("policies.d").display().to_string();
    assert_eq!(reload().stdout, format!("{directory}: nothing has changed\n"));

    lab.file("policies.d/web.yaml", &POLICY.replace("role: admin", "app: nobody")).unwrap();
    let more = POLICY.split("---").next().unwrap().replace("name: web,", "name: more,");
    lab.file("policies.d/more.yaml", &more).unwrap();
    assert_eq!(reload().stdout, format!("{directory}: 2 policies in force\n"));
    lab.file("policies.d/more.yaml", &more.replace("podSelector", "podSelectr")).unwrap();
    let refused = reload();
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("more.yaml:6") && refused.stderr.ends_with("nothing was changed\n"));
    assert!(!web.lets_in(&stranger.ns));

    for name in ["web.yaml", "more.yaml"] {
        fs::remove_file(lab.dir().join("policies.d").join(name)).unwrap();
    }
    assert_eq!(reload().stdout, format!("{directory}: 0 policies in force\n"));
    web.answers(&stranger.ns);
    web.pod.check(&web.added).unwrap().ok().unwrap();

    lab.netfast_ok(&["down"]).unwrap();
    lab.file("policies.d/web.yaml", POLICY).unwrap();
    assert!(!reload().status.success());
}

#[test]
fn what_a_file_says_and_what_a_directory_says_add_up() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab);
    let web = Web::new(&lab, &plugin);
    let stranger = pod(&plugin, "default", "stranger", "");
    let front = pod(&plugin, "front", "client", "");
    stranger.add().unwrap();
    front.add().unwrap();
    // A file is brought up beside: containers, policies and labels of namespaces stay.
    lab.up("{networks: {own: {subnet: 10.90.0.0/24}}, endpoints: {db: {network: own}}}").unwrap();
    web.answers(&front.ns);
    assert!(!web.lets_in(&stranger.ns));
    // Its own policies reach the containers.
    lab.file(
        "deny.yaml",
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: none, namespace: front}, \
         spec: {podSelector: {}, policyTypes: [Egress]}}",
    )
    .unwrap();
    lab.up("{networks: {own: {subnet: 10.90.0.0/24}}, policies: [deny.yaml]}").unwrap();
    assert!(!web.lets_in(&front.ns));
    lab.up("{networks: {own: {subnet: 10.90.0.0/24}}}").unwrap();
    web.answers(&front.ns);
    assert!(!web.lets_in(&stranger.ns));
}

#[test]
fn a_process_in_the_foreground_follows_the_directory() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab).with(&json!({"cniVersion": "1.1.0"}));
    let web = Web::without_policy(&plugin);
    let stranger = pod(&plugin, "default", "stranger", "");
    stranger.add().unwrap();
    web.answers(&stranger.ns);
    let file = lab.file("netfast.yaml", "{}").unwrap();
    let mut up = lab.start(&["up", "-f", &file]).unwrap();
    up.wait_for("Ctrl-C takes it down", 2 * SECOND).unwrap();
    let told = |up: &netfast_tests::Running, times: usize| {
        let deadline = Instant::now() + 6 * SECOND;
        while up.stderr().matches("put in force: ").count() < times {
            assert!(Instant::now() < deadline, "not put in force {times} times: {}", up.stderr());
            std::thread::sleep(SHORT / 10);
        }
    };
    // Beside, and moved there: a file that is written in place may be read half.
    let put = |text: &str| {
        let beside = lab.file("web.yaml", text).unwrap();
        fs::rename(beside, lab.dir().join("policies.d/web.yaml")).unwrap();
    };
    put(POLICY);
    told(&up, 1);
    assert!(!web.lets_in(&stranger.ns));

    // A mistake is told by the log and by STATUS, and what is in force stays.
    put(&POLICY.replace("podSelector", "podSelectr"));
    up.wait_for("what was in force stays", 6 * SECOND).unwrap();
    assert!(up.stderr().contains("web.yaml:6"), "{}", up.stderr());
    let (code, message) = plugin.call("STATUS").unwrap().failure().unwrap();
    assert_eq!(code, 50, "{message}");
    assert!(message.starts_with("policies: ") && message.contains("web.yaml:6"), "{message}");
    assert!(!web.lets_in(&stranger.ns));

    fs::remove_file(lab.dir().join("policies.d/web.yaml")).unwrap();
    told(&up, 2);
    web.answers(&stranger.ns);
    assert_eq!(plugin.call("STATUS").unwrap().ok().unwrap(), "");
}
