//! Policies of the cluster, before and after those of namespaces, judged by packets that arrive or do not.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use netfast_tests::{Lab, Ns, Reply, require_root};
use serde_json::json;

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

const TOPOLOGY: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  web: {labels: {app: web}, ports: ['http=80/tcp']}
  client: {labels: {role: client}}
  stranger: {}
policies: [policies.yaml]
";

/// Nobody but clients and the monitoring may use port 80; port 81 is not for clients whatever the namespace says; and
/// port 82 is for whom the namespace says. Where it says nothing, endpoints do not reach the outside's port 81.
const TIERS: &str = "
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: guard}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {podSelector: {matchLabels: {app: web}}}}
  ingress:
  - name: clients
    action: Accept
    from: [{pods: {podSelector: {matchLabels: {role: client}}}}]
    protocols: [{destinationNamedPort: http}]
  - action: Pass
    from: [{namespaces: {}}]
    protocols: [{tcp: {destinationPort: {number: 82}}}]
  - name: nobody-else
    action: Deny
    from: [{namespaces: {}}]
    protocols: [{tcp: {destinationPort: {range: {start: 80, end: 82}}}}]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: floor}
spec:
  tier: Baseline
  priority: 0
  subject: {namespaces: {}}
  egress:
  - action: Accept
    to: [{networks: [192.0.2.2/32, '2001:db8:99::2/128']}]
    protocols: [{tcp: {destinationPort: {number: 80}}}]
  - action: Deny
    to: [{networks: [192.0.2.0/24, '2001:db8:99::/64']}]
";

/// The namespace closes `web`, but for the stranger.
const NAMESPACE: &str = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchExpressions: [{key: role, operator: DoesNotExist}]}}]
";

struct World {
    lab: Lab,
    client: Ns,
    stranger: Ns,
    _servers: Vec<Box<dyn Send>>,
}

fn world(policies: &str) -> World {
    let lab = Lab::new().unwrap();
    lab.file("policies.yaml", policies).unwrap();
    lab.up(TOPOLOGY).unwrap();
    let [web, client, stranger] =
        ["web", "client", "stranger"].map(|endpoint| lab.endpoint_ns(endpoint).unwrap());
    let mut servers: Vec<Box<dyn Send>> = Vec::new();
    for port in 80..=83 {
        servers.push(Box::new(web.tcp_serve(&format!("[::]:{port}")).unwrap()));
        servers.push(Box::new(lab.outside.tcp_serve(&format!("[::]:{port}")).unwrap()));
    }
    World { lab, client, stranger, _servers: servers }
}

/// Asks the ports of `web` over both families: these answer and no others.
#[track_caller]
fn assert_open(world: &World, from: &Ns, wanted: &[u16]) {
    for port in 80..=83 {
        for address in world.lab.addresses("web").unwrap() {
            let server = SocketAddr::new(address, port).to_string();
            let is_open = wanted.contains(&port);
            assert_eq!(answered(from.tcp_ask(&server, patience(is_open))), is_open, "{server}");
        }
    }
}

/// How long to wait for an answer: what comes comes late where much is going on.
const fn patience(is_wanted: bool) -> Duration {
    if is_wanted { LONG } else { SHORT }
}

#[track_caller]
fn answered(answer: io::Result<Reply>) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            false
        }
    }
}

#[test]
fn the_tiers_decide_in_their_order() {
    require_root!();
    let world = world(TIERS);
    assert_open(&world, &world.client, &[80, 82, 83]);
    assert_open(&world, &world.stranger, &[82, 83]);
    // The own host is always let in.
    for address in world.lab.addresses("web").unwrap() {
        let server = SocketAddr::new(address, 81).to_string();
        assert_eq!(world.lab.host.tcp_ask(&server, LONG).unwrap().by, "web");
    }
    assert!(world.lab.dropped("web", "policy_ingress").unwrap() > 0);
    assert_eq!(world.lab.inspect("web").unwrap()["isolation"]["ingress"]["isolated"], json!(false));

    // The baseline, where nothing isolates.
    for (host, port, wanted) in [
        ("192.0.2.2", 80, true),
        ("192.0.2.2", 81, false),
        ("[2001:db8:99::2]", 80, true),
        ("[2001:db8:99::2]", 81, false),
    ] {
        let answer = world.client.tcp_ask(&format!("{host}:{port}"), patience(wanted));
        assert_eq!(answered(answer), wanted, "{host}:{port}");
    }
    assert!(world.lab.dropped("client", "policy_egress").unwrap() > 0);

    // A policy of the namespace has the last word where the first tier has none.
    world.lab.file("policies.yaml", &format!("{TIERS}{NAMESPACE}")).unwrap();
    let path = world.lab.dir().join("policies.yaml");
    world.lab.netfast_ok(&["policy", "apply", path.to_str().unwrap()]).unwrap();
    assert_open(&world, &world.client, &[80]);
    assert_open(&world, &world.stranger, &[82, 83]);
    assert_eq!(world.lab.inspect("web").unwrap()["isolation"]["ingress"]["policies"], json!(["default/web"]));
    let status = world.lab.netfast_json(&["status"]).unwrap();
    assert_eq!(status["policies"], json!(["default/web", "cluster/guard", "cluster/floor"]));

    // Without the others, it alone.
    world.lab.file("policies.yaml", NAMESPACE).unwrap();
    world.lab.netfast_ok(&["policy", "apply", path.to_str().unwrap()]).unwrap();
    assert_open(&world, &world.client, &[]);
    assert_open(&world, &world.stranger, &[80, 81, 82, 83]);
    assert!(answered(world.client.tcp_ask("192.0.2.2:81", LONG)));
}

#[test]
fn a_drop_names_the_rule_that_denies() {
    require_root!();
    let world = world(TIERS);
    let mut monitor = world
        .lab
        .start(&["monitor", "--reason", "policy_ingress", "--count", "1", "--for", "20", "-o", "json"])
        .unwrap();
    monitor.wait_for("Ctrl-C ends", LONG).unwrap();
    let [web, _] = world.lab.addresses("web").unwrap();
    assert!(!answered(world.stranger.tcp_ask(&SocketAddr::new(web, 81).to_string(), SHORT)));
    let told = monitor.finish(2 * LONG).unwrap().stdout;
    let event: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(event["reason"], json!("policy_ingress"));
    assert_eq!(event["explanation"], json!("a rule of a policy of the cluster denies it"));
    assert_eq!(
        event["policy"],
        json!({
            "direction": "ingress",
            "endpoint": "web",
            "policies": ["cluster/guard"],
            "sources": [world.lab.dir().join("policies.yaml:17").display().to_string()],
        })
    );
    let answer = &event["answers"][0];
    assert_eq!((&answer["verdict"], &answer["policy"]), (&json!("denied"), &json!("cluster/guard")));
    assert!(answer["source"].as_str().unwrap().ends_with("policies.yaml:17"), "{answer}");
}
