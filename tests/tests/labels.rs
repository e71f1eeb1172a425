//! `netfast endpoint label`: policies are asked anew, of established flows too.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::time::Duration;

use netfast_tests::{Lab, Ns, require_root};
use serde_json::json;

const S: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

const TOPOLOGY: &str = "
networks: {lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}}
endpoints:
  web: {ip: 10.77.0.2, ip6: 'fd77::2', labels: {app: web}}
  client: {labels: {team: a}}
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

fn label(lab: &Lab, args: &[&str]) -> String {
    lab.netfast_ok(&[&["endpoint", "label"], args].concat()).unwrap()
}

fn lab() -> (Lab, String) {
    let lab = Lab::new().unwrap();
    lab.file("policy.yaml", POLICY).unwrap();
    let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    (lab, file)
}

#[test]
fn flows_follow_the_labels() {
    require_root!();
    let (lab, _) = lab();
    let (client, web): (Ns, Ns) = (lab.endpoint_ns("client").unwrap(), lab.endpoint_ns("web").unwrap());
    let _server = web.tcp_serve("[::]:80").unwrap();
    for server in ["10.77.0.2:80", "[fd77::2]:80"] {
        // The peer's labels.
        client.tcp_ask(server, SHORT).unwrap_err();
        assert_eq!(label(&lab, &["client", "role=client"]), "endpoint client: role=client,team=a\n");
        client.tcp_ask(server, S).unwrap();
        let mut flow = client.tcp_connect(server, S).unwrap();
        flow.ask().unwrap();
        // The own.
        label(&lab, &["default/web", "app=other", "tier=1"]);
        flow.ask().unwrap();
        assert_eq!(label(&lab, &["web", "app=web", "tier-", "none-"]), "endpoint web: app=web\n");
        flow.ask().unwrap();
        let dropped = lab.dropped("web", "policy_ingress").unwrap();
        assert_eq!(label(&lab, &["client", "role=other"]), "endpoint client: role=other,team=a\n");
        flow.ask().unwrap_err();
        assert!(lab.dropped("web", "policy_ingress").unwrap() > dropped);
        client.tcp_ask(server, SHORT).unwrap_err();
        assert_eq!(label(&lab, &["client", "role-"]), "endpoint client: team=a\n");
    }
    assert_eq!(label(&lab, &["client", "team-"]), "endpoint client: no labels\n");
}

#[test]
fn a_file_gives_its_endpoints_their_labels_again() {
    require_root!();
    let (lab, file) = lab();
    lab.netfast_ok(&["endpoint", "add", "probe", "-l", "role=client"]).unwrap();
    for endpoint in ["client", "probe"] {
        label(&lab, &[endpoint, "role=new"]);
        assert_eq!(lab.inspect(endpoint).unwrap()["labels"]["role"], "new");
    }
    // Nothing that policies ask about: nothing is written.
    let generation = || lab.netfast_json(&["status"]).unwrap()["generation"].clone();
    let before = generation();
    label(&lab, &["probe", "colour=red"]);
    assert_eq!(generation(), before);
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    assert_eq!(lab.inspect("client").unwrap()["labels"], json!({"team": "a"}));
    assert_eq!(lab.inspect("probe").unwrap()["labels"], json!({"colour": "red", "role": "new"}));
    let done = lab.netfast(&["endpoint", "label", "nobody", "a=b"]).unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(done.stderr.contains("no endpoint is called nobody (known: client, probe, web)"), "{done:?}");
}
