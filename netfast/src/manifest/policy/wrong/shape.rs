//! Fields and objects where they do not belong.

use super::{assert_complaints, peers, ports, spec, text};

#[test]
fn fields_in_wrong_places() {
    assert_complaints(&[
        (spec("  ingres: []\n"), &["p:5:3: spec.ingres: unknown field (did you mean ingress?)"]),
        (
            spec("  podSelector: {matchLabel: {a: b}}\n"),
            &["p:5:17: spec.podSelector.matchLabel: unknown field (did you mean matchLabels?)"],
        ),
        (
            spec("  podSelector: {app: web}\n"),
            &["p:5:17: spec.podSelector.app: unknown field (labels belong in matchLabels)"],
        ),
        (
            spec("  podSelector:\n  matchLabels: {app: web}\n"),
            &["p:6:3: spec.matchLabels: unknown field (it belongs in podSelector)"],
        ),
        (
            peers("    - podSelector: {}\n      ports: [{port: 80}]\n"),
            &[
                "p:8:7: spec.ingress[0].from[0].ports: unknown field (it belongs in the rule, beside the list of peers)",
            ],
        ),
        (
            spec("  ingress:\n  - to: []\n"),
            &["p:6:5: spec.ingress[0].to: unknown field (rules of ingress have from)"],
        ),
        (
            spec("  ingress:\n  - podSelector: {}\n"),
            &["p:6:5: spec.ingress[0].podSelector: unknown field (it belongs in the list: from: [{...}])"],
        ),
        (
            spec("  egress:\n  - from: []\n"),
            &[
                "warning[default-closes-ingress]: p:5:3: spec.egress: without policyTypes this closes ingress too (to leave ingress alone, add policyTypes: [Egress])",
                "p:6:5: spec.egress[0].from: unknown field (rules of egress have to)",
            ],
        ),
    ]);
}

#[test]
fn annotations_of_netfast() {
    let annotated = |annotation: &str| {
        text(&format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, annotations: {{{annotation}}}}}\n"
        ))
    };
    assert_complaints(&[
        (
            annotated("netfast.io/audit: \"yes\""),
            &[
                "p:3:53: metadata.annotations[netfast.io/audit]: \"yes\" is neither \"true\" nor \"false\" (\"true\": it is not enforced, only what it would drop is told)",
            ],
        ),
        (
            annotated("netfast.io/audit: true"),
            &[
                "p:3:53: metadata.annotations[netfast.io/audit]: true is a truth value, not a text (quote it: \"true\")",
            ],
        ),
        (
            annotated("netfast.io/audti: \"true\""),
            &[
                "p:3:35: metadata.annotations[netfast.io/audti]: unknown annotation (the only one of netfast is netfast.io/audit)",
            ],
        ),
    ]);
}

#[test]
fn objects_of_wrong_kinds() {
    assert_complaints(&[
        (
            text("apiVersion: networking/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n"),
            &[
                "p:1:13: apiVersion: NetworkPolicy has no version \"networking/v1\" (write networking.k8s.io/v1)",
            ],
        ),
        (
            text("apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: p}\n"),
            &[
                "p:1:13: apiVersion: NetworkPolicy has no version \"extensions/v1beta1\" (only this line changes: write networking.k8s.io/v1)",
            ],
        ),
        (
            text("apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: p}\n"),
            &[
                "p:1:13: apiVersion: NetworkPolicy of projectcalico.org is not supported (only that of networking.k8s.io/v1 is)",
            ],
        ),
        (
            text("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\n"),
            &[
                "p:2:7: kind: CiliumNetworkPolicy is not supported (only NetworkPolicy of networking.k8s.io/v1 and ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2 are)",
            ],
        ),
        (
            text("apiVersion: networking.k8s.io/v1\nkind: networkpolicy\nmetadata: {name: p}\n"),
            &["p:2:7: kind: unknown kind \"networkpolicy\" (did you mean NetworkPolicy?)"],
        ),
        (
            text("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: p}\n"),
            &[
                "p:2:7: kind: objects of kind \"Deployment\" are not read (only NetworkPolicy, ClusterNetworkPolicy, Namespace, List are; move it to another file)",
            ],
        ),
        (
            text("# comment\n\napiVersion: networking.k8s.io/v1\nmetadata: {name: p}\n"),
            &["p:3:1: `kind` is missing (write kind: NetworkPolicy)"],
        ),
        (
            text("kind: NetworkPolicy\nmetadata: {name: p}\n"),
            &["p:1:1: `apiVersion` is missing (write apiVersion: networking.k8s.io/v1)"],
        ),
        (
            text("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {}\n"),
            &["p:3:11: metadata: `name` is missing"],
        ),
        (text("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"), &["p:1:1: `metadata` is missing"]),
        (
            text("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: My_Policy\n"),
            &[
                "p:4:9: metadata.name: \"My_Policy\" is not a name: use lower-case letters, digits, '-' and '.', starting and ending with a letter or digit (write my-policy)",
            ],
        ),
        (
            text("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: 12\n"),
            &["p:4:9: metadata.name: 12 is a number, not a text (quote it: \"12\")"],
        ),
    ]);
}

#[test]
fn lists_and_mappings_mixed_up() {
    assert_complaints(&[
        (
            peers("    - ipBlock: {cidr: 10.0.0.0/24, except: 10.0.0.0/25}\n"),
            &["p:7:44: spec.ingress[0].from[0].ipBlock.except: `except` is a list (write [10.0.0.0/25])"],
        ),
        (
            ports("    - 80\n"),
            &[
                "p:7:7: spec.ingress[0].ports[0]: an item of `ports` is a mapping, not a number (write {port: 80})",
            ],
        ),
        (
            peers("      podSelector: {}\n"),
            &["p:7:7: spec.ingress[0].from: `from` is a list (put a `-` before podSelector)"],
        ),
        (
            spec("  ingress: true\n"),
            &["p:5:12: spec.ingress: `ingress` is a list (for everything write [{}], for nothing [])"],
        ),
        (
            spec("  policyTypes: Ingress\n"),
            &["p:5:16: spec.policyTypes: `policyTypes` is a list (write [Ingress])"],
        ),
        (
            text(""),
            &[
                "p:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            ],
        ),
        (
            text("# nothing\n"),
            &[
                "p:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            ],
        ),
        (
            text("---\n---\n"),
            &[
                "p:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            ],
        ),
        (
            text("- apiVersion: v1\n"),
            &["p:1:1: an object is a mapping, not a list (use kind: List, or `---` between objects)"],
        ),
        (
            text("hello\n"),
            &["p:1:1: an object is a mapping, not a text (use kind: List, or `---` between objects)"],
        ),
        (
            text("networks: {}\nendpoints: {a: {}}\n"),
            &["p:1:1: this is a netfast.yaml, not a policy (pass it with -f)"],
        ),
        (
            text("apiVersion: v1\nkind: List\nitems: []\n"),
            &[
                "p:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            ],
        ),
        (
            text(
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata: {name: a}\n  spec: {x: 1}\n",
            ),
            &[
                "p:7:10: items[0].spec.x: unknown field (known here: podSelector, policyTypes, ingress, egress)",
            ],
        ),
    ]);
}
