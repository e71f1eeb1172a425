//! Policies under audit: everything passes, and what they would have dropped is counted and told.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::net::SocketAddr;
use std::time::Duration;

use netfast_tests::{Lab, Ns, require_root};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

const TOPOLOGY: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  web: {labels: {app: web}, publish: ['8080:80']}
  client: {labels: {role: client}}
  stranger: {}
policies: [policies.yaml]
";

/// Clients alone may use `web`.
const CLIENTS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: clients, annotations: {netfast.io/audit: \"true\"}}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchLabels: {role: client}}}]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: no-81, annotations: {netfast.io/audit: \"true\"}}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {}}
  egress:
  - action: Deny
    to: [{namespaces: {}}]
    protocols: [{tcp: {destinationPort: {number: 81}}}]
";

struct World {
    lab: Lab,
    client: Ns,
    stranger: Ns,
    _servers: Vec<Box<dyn Send>>,
}

fn world(extra: &str, policies: &str) -> World {
    let lab = Lab::new().unwrap();
    lab.file("policies.yaml", policies).unwrap();
    lab.up(&format!("{TOPOLOGY}{extra}")).unwrap();
    let [web, client, stranger] =
        ["web", "client", "stranger"].map(|endpoint| lab.endpoint_ns(endpoint).unwrap());
    let mut servers: Vec<Box<dyn Send>> = Vec::new();
    for port in [80, 81] {
        servers.push(Box::new(web.tcp_serve(&format!("[::]:{port}")).unwrap()));
    }
    World { lab, client, stranger, _servers: servers }
}

/// The two addresses of `web`, with a port.
fn web(world: &World, port: u16) -> [String; 2] {
    world.lab.addresses("web").unwrap().map(|address| SocketAddr::new(address, port).to_string())
}

fn audited(world: &World, endpoint: &str) -> Value {
    world.lab.inspect(endpoint).unwrap()["audited"].clone()
}

#[test]
fn what_would_be_dropped_passes_and_is_counted_and_told() {
    require_root!();
    let world = world("", CLIENTS);
    // Not what the kernels say by multicast as they come up.
    let reasons = ["--reason", "policy_ingress", "--reason", "policy_egress"];
    let monitor = ["monitor", "--count", "3", "--for", "20", "-o", "json"];
    let mut monitor = world.lab.start(&[&monitor[..], &reasons].concat()).unwrap();
    monitor.wait_for("Ctrl-C ends", LONG).unwrap();
    for server in web(&world, 80) {
        assert_eq!(world.client.tcp_ask(&server, LONG).unwrap().by, "web");
        // One connection of many packets is one.
        world.stranger.tcp_stream(&server, 1_000_001, LONG).unwrap();
    }
    assert_eq!(audited(&world, "web"), json!({"policy_ingress": 2}));
    assert_eq!(world.client.tcp_ask(&web(&world, 81)[0], LONG).unwrap().by, "web");
    assert_eq!(audited(&world, "client"), json!({"policy_egress": 1}));
    // From outside too, and not from the host itself.
    let published = format!("{}:8080", netfast_tests::HOST_V4);
    assert_eq!(world.lab.outside.tcp_ask(&published, LONG).unwrap().by, "web");
    assert_eq!(world.lab.host.tcp_ask(&web(&world, 80)[0], LONG).unwrap().by, "web");
    assert_eq!(audited(&world, "web"), json!({"policy_ingress": 3}));

    for endpoint in ["web", "client", "stranger"] {
        assert_eq!(world.lab.dropped(endpoint, "policy_ingress").unwrap(), 0);
        assert_eq!(world.lab.dropped(endpoint, "policy_egress").unwrap(), 0);
    }
    let status = world.lab.netfast_json(&["status"]).unwrap();
    let counted = |reason: &str| status["counters"]["audited"][reason]["packets"].clone();
    assert_eq!((counted("policy_ingress"), counted("policy_egress")), (json!(3), json!(1)));
    let isolation = world.lab.inspect("web").unwrap()["isolation"]["ingress"].clone();
    assert_eq!(isolation["isolated"], json!(false), "it is not enforced");

    let told = monitor.finish(2 * LONG).unwrap().stdout;
    let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ingress = json!({"direction": "ingress", "endpoint": "web", "policies": ["default/clients"]});
    let egress = json!({"direction": "egress", "endpoint": "client", "policies": ["cluster/no-81"]});
    for (event, policy) in events.iter().zip([&ingress, &ingress, &egress]) {
        let mut told = event["policy"].clone();
        let sources = told.as_object_mut().unwrap().remove("sources").unwrap();
        assert_eq!(sources.as_array().unwrap().len(), 1, "{event}");
        assert_eq!((&event["event"], &told), (&json!("audit"), policy));
        let verdicts: Vec<_> = event["answers"].as_array().unwrap().iter().map(|a| &a["verdict"]).collect();
        assert_eq!(verdicts, [&json!("audit")]);
    }
    assert_eq!(events[0]["reason"], json!("policy_ingress"));
    assert_eq!(events[0]["src_endpoint"], json!("stranger"));
}

#[test]
fn a_whole_instance_is_audited_until_its_policies_are_put_in_force() {
    require_root!();
    let enforced = CLIENTS.replace("\"true\"", "\"false\"");
    let world = world("audit: true\n", &enforced);
    for server in web(&world, 80) {
        assert_eq!(world.stranger.tcp_ask(&server, LONG).unwrap().by, "web");
    }
    assert_eq!(audited(&world, "web"), json!({"policy_ingress": 2}));

    world.lab.up(TOPOLOGY).unwrap();
    for server in web(&world, 80) {
        assert!(world.stranger.tcp_ask(&server, SHORT).is_err());
        assert_eq!(world.client.tcp_ask(&server, LONG).unwrap().by, "web");
    }
    assert_eq!(audited(&world, "web"), json!({"policy_ingress": 2}), "what is dropped is not audited");
    assert!(world.lab.dropped("web", "policy_ingress").unwrap() > 0);
}
