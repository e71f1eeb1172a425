//! Policies for containers of a runtime: from a directory, by pods and labels.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::time::Duration;

use netfast_tests::{Container, Lab, Ns, Plugin, address, require_root};
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

fn asks(from: &Ns, to: &Value) -> bool {
    let to = format!("{}:80", address(to, 4).unwrap());
    // What is to be let through is; what is not may only be waited for.
    from.tcp_ask(&to, SHORT).is_ok()
}

#[track_caller]
fn reaches(from: &Ns, to: &Value) {
    from.tcp_ask(&format!("{}:80", address(to, 4).unwrap()), SECOND).unwrap();
}

#[test]
fn a_directory_says_who_reaches_whom() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab);
    lab.file("policies.d/web.yaml", POLICY).unwrap();
    let web = pod(&plugin, "shop", "web", "app:web");
    let added = web.add().unwrap();
    let _server = web.ns.tcp_serve("[::]:80").unwrap();
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
        reaches(&container.ns, &added);
    }
    assert!(!asks(&stranger.ns, &added), "a pod of another namespace");

    // The directory changes: with the next container the change is in force for all.
    fs::remove_file(lab.dir().join("policies.d/web.yaml")).unwrap();
    assert!(!asks(&stranger.ns, &added), "nothing has been added since");
    let next = plugin.container("next").unwrap();
    next.add().unwrap();
    reaches(&stranger.ns, &added);
    reaches(&next.ns, &added);
}

#[test]
fn a_mistake_leaves_what_is_in_force_and_keeps_others_out() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab);
    lab.file("policies.d/web.yaml", POLICY).unwrap();
    let web = pod(&plugin, "shop", "web", "app:web");
    let added = web.add().unwrap();
    let _server = web.ns.tcp_serve("[::]:80").unwrap();
    let stranger = pod(&plugin, "default", "stranger", "");
    stranger.add().unwrap();
    assert!(!asks(&stranger.ns, &added));

    lab.file("policies.d/web.yaml", &POLICY.replace("podSelector", "podSelectr")).unwrap();
    let next = pod(&plugin, "front", "next", "");
    for _ in 0..2 {
        let (code, message) = next.call("ADD").unwrap().failure().unwrap();
        assert_eq!(code, 7);
        assert!(message.starts_with("policies: ") && message.contains("web.yaml:6"), "{message}");
        assert_eq!(next.ns.links().unwrap(), ["lo"]);
    }
    assert!(!asks(&stranger.ns, &added));
    web.check(&added).unwrap().ok().unwrap();
    let gone = plugin.with(&json!({"policyDir": lab.dir().join("nowhere")})).container("gone").unwrap();
    assert_eq!(gone.call("ADD").unwrap().failure().unwrap().0, 7);

    lab.file("policies.d/web.yaml", POLICY).unwrap();
    next.add().unwrap();
    reaches(&next.ns, &added);
    stranger.del().unwrap();
}

#[test]
fn what_a_file_says_and_what_a_directory_says_add_up() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab);
    lab.file("policies.d/web.yaml", POLICY).unwrap();
    let web = pod(&plugin, "shop", "web", "app:web");
    let added = web.add().unwrap();
    let _server = web.ns.tcp_serve("[::]:80").unwrap();
    let stranger = pod(&plugin, "default", "stranger", "");
    let front = pod(&plugin, "front", "client", "");
    stranger.add().unwrap();
    front.add().unwrap();
    // A file is brought up beside: containers, policies and labels of namespaces stay.
    lab.up("{networks: {own: {subnet: 10.90.0.0/24}}, endpoints: {db: {network: own}}}").unwrap();
    reaches(&front.ns, &added);
    assert!(!asks(&stranger.ns, &added));
    // Its own policies reach the containers.
    lab.file(
        "deny.yaml",
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: none, namespace: front}, \
         spec: {podSelector: {}, policyTypes: [Egress]}}",
    )
    .unwrap();
    lab.up("{networks: {own: {subnet: 10.90.0.0/24}}, policies: [deny.yaml]}").unwrap();
    assert!(!asks(&front.ns, &added));
    lab.up("{networks: {own: {subnet: 10.90.0.0/24}}}").unwrap();
    reaches(&front.ns, &added);
    assert!(!asks(&stranger.ns, &added));
}
