//! Policies of the cluster.

use super::{assert_complaints, text};

/// A policy of the cluster with an egress rule whose fields begin in line 9.
fn egress(rest: &str) -> String {
    spec(&format!("  egress:\n  - action: Deny\n{rest}"))
}

/// A policy of the cluster with an ingress rule whose fields begin in line 9.
fn ingress(rest: &str) -> String {
    spec(&format!("  ingress:\n  - action: Deny\n{rest}"))
}

/// A policy of the cluster with more of its `spec` from line 7 on.
fn spec(rest: &str) -> String {
    cluster(&format!("  tier: Admin\n  priority: 1\n  subject: {{namespaces: {{}}}}\n{rest}"))
}

/// A policy of the cluster whose `spec` begins in line 4.
fn cluster(rest: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: p}}\nspec:\n{rest}"
    )
}

const NO_RULES: &str = "warning[no-rules]: p:4:1: spec: a policy of the cluster without rules does nothing (it isolates nobody; \
                        a rule denies: ingress: [{action: Deny, from: [...]}])";

#[test]
fn its_place_and_subject() {
    assert_complaints(&[
        (
            cluster("  ingress: []\n"),
            &[
                NO_RULES,
                "p:5:3: spec: `tier` is missing",
                "p:5:3: spec: `priority` is missing",
                "p:5:3: spec: `subject` is missing",
            ],
        ),
        (
            cluster("  tier: admin\n  priority: 1001\n  subject: {}\n"),
            &[
                NO_RULES,
                "p:5:9: spec.tier: unknown tier \"admin\" (write Admin)",
                "p:6:13: spec.priority: priority 1001 is not between 0 and 1000 (the lowest is asked first)",
                "p:7:12: spec.subject: an empty subject (write namespaces: {} for every endpoint)",
            ],
        ),
        (
            cluster("  tier: Admin\n  priority: \"1\"\n  subject: {podSelector: {}}\n"),
            &[
                NO_RULES,
                "p:6:13: spec.priority: \"1\" is a text, not a number (drop the quotes)",
                "p:7:13: spec.subject.podSelector: unknown field (it belongs in pods: {...})",
            ],
        ),
        (
            cluster(
                "  tier: Top\n  priority: -1\n  podSelector: {}\n  subject: {namespaces: {}, pods: {}}\n",
            ),
            &[
                NO_RULES,
                "p:5:9: spec.tier: unknown tier \"Top\" (use Admin or Baseline)",
                "p:6:13: spec.priority: priority -1 is not between 0 and 1000 (the lowest is asked first)",
                "p:7:3: spec.podSelector: unknown field (it belongs in subject: {pods: {...}})",
                "p:8:29: spec.subject.pods: beside namespaces, where only one of them can be (put a `-` before pods; \
                 for some pods of some namespaces use pods alone)",
            ],
        ),
        (
            cluster("  tier: Admin\n  priority: 1\n  subject: {pods: {namespaceSelector: {}}}\n"),
            &[
                NO_RULES,
                "p:7:19: spec.subject.pods: `podSelector` is missing (write podSelector: {} for every endpoint of \
                 these namespaces)",
            ],
        ),
    ]);
}

#[test]
fn its_rules() {
    assert_complaints(&[
        (
            spec(
                "  ingress:\n  - {action: Allow, from: []}\n  - {from: [{namespaces: {}}]}\n  - {action: Deny}\n",
            ),
            &[
                "p:9:14: spec.ingress[0].action: unknown action \"Allow\" (write Accept)",
                "p:9:27: spec.ingress[0].from: a rule needs a peer at least (for every endpoint write [{namespaces: {}}])",
                "p:10:5: spec.ingress[1]: `action` is missing",
                "p:11:5: spec.ingress[2]: `from` is missing",
            ],
        ),
        (
            ingress(
                "    to: []\n    ports: [{port: 80}]\n    from:\n    - networks: [10.0.0.0/8]\n    - {}\n",
            ),
            &[
                "p:10:5: spec.ingress[0].to: unknown field (rules of ingress have from)",
                "p:11:14: spec.ingress[0].ports[0].port: unknown field (this kind has protocols: [{tcp: \
                 {destinationPort: {number: 80}}}])",
                "p:13:7: spec.ingress[0].from[0].networks: unknown field (only peers of egress have it)",
                "p:14:7: spec.ingress[0].from[1]: an empty peer (write namespaces: {} for every endpoint)",
            ],
        ),
        (
            egress(
                "    to:\n    - nodes: {}\n    - domainNames: [example.org]\n    - networks: []\n    - networks: \
                 [10.0.0.1]\n    - {namespaces: {}, networks: [10.0.0.0/8]}\n    - ipBlock: {cidr: 10.0.0.0/8}\n",
            ),
            &[
                "p:11:7: spec.egress[0].to[0].nodes: nodes are not supported as peers (write their addresses: \
                 networks: [192.0.2.1/32])",
                "p:12:7: spec.egress[0].to[1].domainNames: domain names are not supported as peers (write addresses: \
                 networks: [192.0.2.0/24])",
                "p:13:17: spec.egress[0].to[2].networks: no network (write [0.0.0.0/0, \"::/0\"] for every address)",
                "p:14:18: spec.egress[0].to[3].networks[0]: \"10.0.0.1\" has no prefix length (write 10.0.0.1/32 for \
                 this address alone)",
                "p:15:8: spec.egress[0].to[4].namespaces: beside networks, where only one of them can be (put a `-` \
                 before namespaces; for some pods of some namespaces use pods alone)",
                "p:16:7: spec.egress[0].to[5].ipBlock: unknown field (this kind has networks: [...], in peers of egress)",
            ],
        ),
        (
            ingress(&format!("    name: {}\n    from: [{{namespaces: {{}}}}]\n", "x".repeat(101))),
            &["p:10:11: spec.ingress[0].name: a rule's name of 101 characters, where 100 are the most"],
        ),
    ]);
}

#[test]
fn its_protocols() {
    let protocols =
        |list: &str| egress(&format!("    to: [{{namespaces: {{}}}}]\n    protocols: [{list}]\n"));
    assert_complaints(&[
        (
            protocols(""),
            &[
                "p:11:16: spec.egress[0].protocols: no protocol (for every port of every protocol, leave protocols out)",
            ],
        ),
        (
            protocols("{}, {tcp: {}, udp: {}}, {TCP: {}}, {icmp: {}}"),
            &[
                "p:11:17: spec.egress[0].protocols[0]: an empty protocol (write tcp: {} for every TCP port)",
                "p:11:31: spec.egress[0].protocols[1].udp: beside tcp, where only one of them can be (put a `-` before udp)",
                "p:11:42: spec.egress[0].protocols[2].TCP: unknown field (write tcp)",
                "p:11:53: spec.egress[0].protocols[3].icmp: unknown field (rules cannot name it; one without protocols \
                 speaks of echo requests too)",
            ],
        ),
        (
            protocols(
                "{tcp: {port: 80}}, {tcp: {destinationPort: {}}}, {udp: {destinationPort: {number: 0}}}, {sctp: \
                 {destinationPort: {number: 1, range: {start: 1, end: 2}}}}",
            ),
            &[
                "p:11:24: spec.egress[0].protocols[0].tcp.port: unknown field (it belongs in destinationPort: {...})",
                "p:11:60: spec.egress[0].protocols[1].tcp.destinationPort: no port (write {number: 80} or {range: \
                 {start: 8000, end: 8080}}, or leave destinationPort out for every port)",
                "p:11:99: spec.egress[0].protocols[2].udp.destinationPort.number: there is no port 0 (for every port, \
                 leave destinationPort out)",
                "p:11:142: spec.egress[0].protocols[3].sctp.destinationPort.range: beside number, where only one of \
                 them can be (drop one of the two)",
            ],
        ),
        (
            protocols(
                "{tcp: {destinationPort: {range: {start: 80, end: 80}}}}, {tcp: {destinationPort: {range: {start: 81, \
                 end: 80}}}}, {tcp: {destinationPort: {range: {start: 81}}}}",
            ),
            &[
                "p:11:66: spec.egress[0].protocols[0].tcp.destinationPort.range.end: end 80 is not above start 80 \
                 (write destinationPort: {number: 80})",
                "p:11:123: spec.egress[0].protocols[1].tcp.destinationPort.range.end: end 80 is not above start 81",
                "p:11:163: spec.egress[0].protocols[2].tcp.destinationPort.range: `end` is missing",
            ],
        ),
        (
            egress(
                "    to: [{networks: [10.0.0.0/8]}]\n    protocols: [{destinationNamedPort: http}, \
                 {destinationNamedPort: \"80\"}]\n",
            ),
            &[
                "p:11:18: spec.egress[0].protocols[0].destinationNamedPort: a port's name in a rule about networks, \
                 which have none (write a rule of its own for the networks, with port numbers)",
                "p:11:48: spec.egress[0].protocols[1].destinationNamedPort: a port's name in a rule about networks, \
                 which have none (write a rule of its own for the networks, with port numbers)",
                "p:11:70: spec.egress[0].protocols[1].destinationNamedPort: 80 is a port's number, not its name (write \
                 tcp: {destinationPort: {number: 80}})",
            ],
        ),
    ]);
}

#[test]
fn objects_that_belong_to_the_cluster() {
    let rules = "  ingress: [{action: Deny, from: [{namespaces: {}}]}]\n";
    let named = |name: &str| spec(rules).replace("name: p", &format!("name: {name}"));
    assert_complaints(&[
        (
            spec(rules).replace("name: p", "name: p, namespace: x"),
            &[
                "p:3:21: metadata.namespace: this kind has no namespace (drop it: the subject says whom it concerns)",
            ],
        ),
        (
            text(
                "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\n",
            ),
            &[
                "p:1:1: `spec` is missing",
                "p:1:13: apiVersion: ClusterNetworkPolicy has no version \"policy.networking.k8s.io/v1alpha1\" (write \
                 policy.networking.k8s.io/v1alpha2)",
            ],
        ),
        (
            text(
                "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: p}\n",
            ),
            &[
                "p:2:7: kind: AdminNetworkPolicy is not supported (write ClusterNetworkPolicy with tier: Admin, which \
                 has taken its place)",
            ],
        ),
        (
            text(
                "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\ntier: Admin\n",
            ),
            &["p:1:1: `spec` is missing", "p:4:1: tier: unknown field (it belongs in spec)"],
        ),
        (
            format!("{}---\n{}", named("a"), named("a")),
            &[
                "p:12:18: document 2 (cluster/a): cluster policy a is there twice: here and on line 3 (give one of \
                 them another name)",
            ],
        ),
        (
            format!("{}---\n{}", named("a"), named("b").replace("v1alpha2", "v1beta1")),
            &[
                "warning[same-priority]: p:12:18: document 2 (cluster/b): cluster policies a (on line 3) and b both have priority 1 \
                 in tier Admin; where both speak of a connection the one whose name is first in the alphabet is asked \
                 first (give one of them another priority)",
            ],
        ),
    ]);
}
