//! What right files mean.

use std::path::Path;

use super::Objects;
use crate::manifest::diagnostic::Severity;
use crate::model::{
    Action, ClusterPolicy, Operator, Peer, Policy, PortRange, Ports, Protocol, Tier, TierRule,
};

fn read(text: &str) -> (Objects, Vec<String>) {
    let mut objects = Objects::default();
    let found = objects.read("p", text);
    let errors: Vec<_> = found.iter().filter(|d| d.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{text}\n{errors:?}");
    (objects, found.iter().map(ToString::to_string).collect())
}

/// A policy with this `spec`, in flow style.
fn policy(spec: &str) -> Policy {
    let text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
    );
    read(&text).0.policies.remove(0)
}

/// How many rules there are for each direction, `-` where it is not isolated.
fn directions(policy: &Policy) -> String {
    let count = |rules: &Option<Vec<_>>| rules.as_ref().map_or("-".to_owned(), |r| r.len().to_string());
    format!("{} {}", count(&policy.ingress), count(&policy.egress))
}

#[test]
fn policy_types_have_the_defaults_of_kubernetes() {
    for (spec, wanted) in [
        ("", "0 -"),
        ("{}", "0 -"),
        ("null", "0 -"),
        ("{podSelector: {}}", "0 -"),
        ("{policyTypes: [], ingress: [{}]}", "1 -"),
        ("{policyTypes: null, egress: []}", "0 -"),
        ("{egress: [{}]}", "0 1"),
        ("{egress: [null]}", "0 1"),
        ("{ingress: [{}], egress: [{}]}", "1 1"),
        ("{policyTypes: [Egress]}", "- 0"),
        ("{policyTypes: [Egress], egress: [{}]}", "- 1"),
        ("{policyTypes: [Egress], ingress: [{}]}", "- 0"),
        ("{policyTypes: [Ingress], egress: [{}]}", "0 -"),
        ("{policyTypes: [Ingress, Ingress]}", "0 -"),
        ("{policyTypes: [Ingress, Egress], ingress: null}", "0 0"),
    ] {
        assert_eq!(directions(&policy(spec)), wanted, "{spec}");
    }
}

#[test]
fn empty_lists_of_a_rule_mean_everyone_and_every_port() {
    for rule in ["{}", "null", "{from: null, ports: null}", "{from: [], ports: []}"] {
        let policy = policy(&format!("{{ingress: [{rule}]}}"));
        let rule = &policy.ingress.as_ref().unwrap()[0];
        assert_eq!((&rule.peers, &rule.ports), (&None, &None), "{rule:?}");
        assert_eq!(rule.source.to_string(), "p:4");
    }
}

#[test]
fn peers_are_told_apart() {
    let peers =
        |list: &str| policy(&format!("{{ingress: [{{from: {list}}}]}}")).ingress.unwrap()[0].peers.clone();
    let shape = |list: &str| -> Vec<String> {
        let name = |peer: &Peer| match peer {
            Peer::Endpoints { namespaces, endpoints } => format!(
                "{} {}",
                namespaces.as_ref().map_or("own".to_owned(), |s| s.requirements.len().to_string()),
                endpoints.requirements.len()
            ),
            Peer::Block { cidr, except } => format!("{cidr} {except:?}"),
        };
        peers(list).unwrap().iter().map(name).collect()
    };
    assert_eq!(shape("[{podSelector: {}}]"), ["own 0"]);
    assert_eq!(shape("[{namespaceSelector: {}}]"), ["0 0"]);
    assert_eq!(shape("[{namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}]"), ["0 1"]);
    assert_eq!(shape("[{namespaceSelector: {}}, {podSelector: {matchLabels: {a: b}}}]"), ["0 0", "own 1"]);
    assert_eq!(shape("[{namespaceSelector: null, podSelector: {}, ipBlock: null}]"), ["own 0"]);
    assert_eq!(
        shape("[{ipBlock: {cidr: 10.0.0.9/8, except: [10.1.0.0/16, 10.2.0.1/32]}}]"),
        ["10.0.0.0/8 [10.1.0.0/16, 10.2.0.1/32]"]
    );
    assert_eq!(shape("[{ipBlock: {cidr: \"::/0\", except: null}}]"), ["::/0 []"]);
}

#[test]
fn ports_have_the_defaults_of_kubernetes() {
    let port = |entry: &str| {
        let policy = policy(&format!("{{egress: [{{ports: [{entry}]}}]}}"));
        policy.egress.unwrap()[0].ports.as_ref().unwrap()[0].clone()
    };
    for (entry, protocol, ports) in [
        ("{}", Protocol::Tcp, Ports::Any),
        ("null", Protocol::Tcp, Ports::Any),
        ("{protocol: SCTP}", Protocol::Sctp, Ports::Any),
        ("{port: 80}", Protocol::Tcp, Ports::Range(PortRange::single(80))),
        ("{port: 80, protocol: null, endPort: null}", Protocol::Tcp, Ports::Range(PortRange::single(80))),
        ("{port: 80, endPort: 80}", Protocol::Tcp, Ports::Range(PortRange::single(80))),
        (
            "{port: 1, endPort: 65535, protocol: UDP}",
            Protocol::Udp,
            Ports::Range(PortRange { first: 1, last: 65535 }),
        ),
        ("{port: dns, protocol: UDP}", Protocol::Udp, Ports::Named("dns".to_owned())),
    ] {
        let found = port(entry);
        assert_eq!((found.protocol, found.ports), (protocol, ports), "{entry}");
    }
}

#[test]
fn selectors_keep_every_requirement() {
    let policy = policy(
        "{podSelector: {matchLabels: {app: web, tier: \"\"}, matchExpressions: [{key: a, operator: NotIn, values: [x, \
         y, x]}, {key: b, operator: Exists, values: []}, {key: c, operator: DoesNotExist}]}}",
    );
    let found: Vec<_> = policy.selector.requirements.iter().map(|r| (r.key.as_str(), &r.operator)).collect();
    let values = |list: &[&str]| list.iter().map(|v| (*v).to_owned()).collect();
    assert_eq!(
        found,
        [
            ("app", &Operator::In(values(&["web"]))),
            ("tier", &Operator::In(values(&[""]))),
            ("a", &Operator::NotIn(values(&["x", "y"]))),
            ("b", &Operator::Exists),
            ("c", &Operator::DoesNotExist),
        ]
    );
}

#[test]
fn files_hold_several_objects() {
    let item = |name: &str| {
        format!("{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}}}}}")
    };
    let text = format!(
        "# policies\n---\n{}\n---\n---\napiVersion: v1\nkind: List\nmetadata: {{resourceVersion: \"\"}}\nitems:\n- {}\n- \
         apiVersion: v1\n  kind: Namespace\n  metadata: {{name: shop, labels: {{team: a}}}}\n---\n{{apiVersion: \
         networking.k8s.io/v1, kind: NetworkPolicyList, items: [{{metadata: {{name: c, namespace: shop}}}}, {}]}}\n",
        item("a"),
        item("b"),
        item("d"),
    );
    let (objects, warnings) = read(&text);
    let names: Vec<_> =
        objects.policies.iter().map(|p| format!("{}/{}@{}", p.namespace, p.name, p.source)).collect();
    assert_eq!(names, ["default/a@p:3", "default/b@p:10", "shop/c@p:15", "default/d@p:15"]);
    assert_eq!(objects.namespaces[&"shop".parse().unwrap()].0["team"], "a");
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn traps_are_warned_of() {
    let warnings = |spec: &str| {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
        );
        read(&text).1
    };
    assert_eq!(
        warnings("{egress: []}"),
        ["p:4:8: spec.egress: without policyTypes this does not close egress (add policyTypes: [Egress])"]
    );
    assert_eq!(
        warnings("{egress: [{}]}"),
        [
            "p:4:8: spec.egress: without policyTypes this closes ingress too (to leave ingress alone, add policyTypes: \
             [Egress])"
        ]
    );
    assert_eq!(
        warnings("{policyTypes: [Ingress], egress: [{}]}"),
        ["p:4:32: spec.egress: these rules do nothing (add Egress to policyTypes)"]
    );
    assert!(warnings("{policyTypes: [Egress], egress: [{}]}").is_empty());
}

#[test]
fn what_comes_out_of_a_cluster_is_read() {
    let (objects, warnings) = read(
        "apiVersion: networking.k8s.io/v1\r\nkind: NetworkPolicy\r\nmetadata:\r\n  annotations:\r\n    \
         kubectl.kubernetes.io/last-applied-configuration: |\r\n      {\"a\": \"{{ b }}\"}\r\n  creationTimestamp: \
         \"2024-01-01T00:00:00Z\"\r\n  generation: 1\r\n  name: web\r\n  namespace: shop\r\n  resourceVersion: \
         \"17\"\r\n  uid: 0d3c\r\nspec:\r\n  podSelector: {}\r\n  policyTypes:\r\n  - Ingress\r\nstatus: {}\r\n",
    );
    assert_eq!(objects.policies[0].namespace.as_str(), "shop");
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn an_annotation_puts_a_policy_under_audit() {
    for (annotations, wanted) in [
        ("{}", false),
        ("{netfast.io/audit: \"true\"}", true),
        ("{netfast.io/audit: \"false\", other: \"true\"}", false),
    ] {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, annotations: {annotations}}}\n"
        );
        assert_eq!(read(&text).0.policies[0].audit, wanted, "{annotations}");
    }
}

/// A policy of the cluster with one egress rule.
fn cluster_policy(rule: &str) -> ClusterPolicy {
    let text = format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: p}}\nspec:\n  tier: \
         Baseline\n  priority: 1000\n  subject: {{pods: {{podSelector: {{matchLabels: {{a: b}}}}}}}}\n  egress:\n  - {rule}\n"
    );
    read(&text).0.cluster_policies.remove(0)
}

#[test]
fn a_policy_of_the_cluster_is_read() {
    let policy = cluster_policy(
        "{name: no-lab, action: Pass, to: [{namespaces: {matchLabels: {c: d}}}, {networks: [10.0.0.0/8, \"::/0\"]}]}",
    );
    assert_eq!((policy.tier, policy.priority, policy.ingress.len()), (Tier::Baseline, 1000, 0));
    assert_eq!((policy.namespaces.requirements.len(), policy.endpoints.requirements.len()), (0, 1));
    let TierRule { name, action, rule } = &policy.egress[0];
    assert_eq!(
        (name.as_deref(), *action, rule.source.to_string().as_str()),
        (Some("no-lab"), Action::Pass, "p:9")
    );
    let peers = rule.peers.as_ref().unwrap().iter().map(|peer| match peer {
        Peer::Endpoints { namespaces, endpoints } => {
            format!("{} {}", namespaces.as_ref().unwrap().requirements.len(), endpoints.requirements.len())
        }
        Peer::Block { cidr, except } => format!("{cidr} {}", except.len()),
    });
    assert_eq!(peers.collect::<Vec<_>>(), ["1 0", "10.0.0.0/8 0", "::/0 0"]);
    assert_eq!(rule.ports, None);
}

#[test]
fn protocols_of_a_policy_of_the_cluster_are_read() {
    let policy = cluster_policy(
        "{action: Accept, to: [{pods: {podSelector: {}}}], protocols: [{tcp: {}}, {udp: {destinationPort: {number: \
         53}}}, {sctp: {destinationPort: {range: {start: 1, end: 9}}}}, {destinationNamedPort: http}]}",
    );
    let ports = policy.egress[0].rule.ports.clone().unwrap();
    let ports: Vec<_> = ports.into_iter().map(|port| (port.protocol, port.ports)).collect();
    let named = || Ports::Named("http".to_owned());
    assert_eq!(
        ports,
        [
            (Protocol::Tcp, Ports::Any),
            (Protocol::Udp, Ports::Range(PortRange::single(53))),
            (Protocol::Sctp, Ports::Range(PortRange { first: 1, last: 9 })),
            (Protocol::Tcp, named()),
            (Protocol::Udp, named()),
            (Protocol::Sctp, named()),
        ]
    );
}

/// The shared cases are not part of the repository; where they are, all their policies must be read.
#[test]
fn the_policies_of_the_shared_cases_are_read() {
    let shared = std::env::var_os("NETFAST_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), Into::into);
    let Ok(text) = std::fs::read_to_string(shared.join("policy-cases/recipes.json")) else { return };
    let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut count = 0;
    for case in cases["cases"].as_array().unwrap() {
        let mut objects = Objects::default();
        for (index, policy) in case["policies"].as_array().unwrap().iter().enumerate() {
            let found = objects.read(&format!("{}-{index}", case["id"]), policy.as_str().unwrap());
            let errors: Vec<_> = found.iter().filter(|d| d.severity == Severity::Error).collect();
            assert!(errors.is_empty(), "{policy}\n{errors:?}");
            count += 1;
        }
    }
    assert!(count > 0);
}

#[test]
fn the_older_form_of_ports_is_read() {
    let policy = cluster_policy(
        "{action: Deny, to: [{namespaces: {}}], ports: [{portNumber: {port: 80}}, {portNumber: {protocol: UDP, port: 53}}, \
         {portRange: {protocol: SCTP, start: 1, end: 9}}, {namedPort: http}]}",
    );
    let ports = policy.egress[0].rule.ports.clone().unwrap();
    let ports: Vec<_> = ports.into_iter().map(|port| (port.protocol, port.ports)).collect();
    let named = || Ports::Named("http".to_owned());
    assert_eq!(
        ports,
        [
            (Protocol::Tcp, Ports::Range(PortRange::single(80))),
            (Protocol::Udp, Ports::Range(PortRange::single(53))),
            (Protocol::Sctp, Ports::Range(PortRange { first: 1, last: 9 })),
            (Protocol::Tcp, named()),
            (Protocol::Udp, named()),
            (Protocol::Sctp, named()),
        ]
    );
}
