//! Fields by other names.

use super::{assert_shown, block, text};

#[test]
fn fields_of_every_level() {
    assert_shown(&[
        (
            block("  podselector: {}\n"),
            &["p:6:3: spec.podselector: unknown field (did you mean podSelector?)"],
        ),
        (
            block("  podSelector:\n    matchlabels:\n      app: web\n"),
            &["p:7:5: spec.podSelector.matchlabels: unknown field (did you mean matchLabels?)"],
        ),
        (
            block("  podSelector:\n    labels:\n      app: web\n"),
            &["p:7:5: spec.podSelector.labels: unknown field (labels belong in matchLabels)"],
        ),
        (
            block("  podSelector: {}\n  policyType: [Ingress]\n"),
            &["p:7:3: spec.policyType: unknown field (did you mean policyTypes?)"],
        ),
        (
            block("  podSelector: {}\n  policy-types: [Ingress]\n"),
            &["p:7:3: spec.policy-types: unknown field (did you mean policyTypes?)"],
        ),
        (
            block("  selector:\n    app: web\n  ingress: []\n"),
            &[
                "p:6:3: spec.selector: unknown field (did you mean podSelector?)",
                "p:7:5: spec.selector.app: unknown field (labels belong in matchLabels)",
            ],
        ),
        (
            block("  endpointSelector:\n    matchLabels: {app: web}\n  ingress: []\n"),
            &["p:6:3: spec.endpointSelector: unknown field (did you mean podSelector?)"],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - from:\n    - namespaceselector: {}\n    - namespace: foo\n    - ipblock: {cidr: 10.0.0.0/8}\n    - ipBlocks: {cidr: 10.0.0.0/8}\n    - cidr: 10.0.0.0/8\n",
            ),
            &[
                "p:9:7: spec.ingress[0].from[0].namespaceselector: unknown field (did you mean namespaceSelector?)",
                "p:10:7: spec.ingress[0].from[1].namespace: unknown field (write namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ...}})",
                "p:11:7: spec.ingress[0].from[2].ipblock: unknown field (did you mean ipBlock?)",
                "p:12:7: spec.ingress[0].from[3].ipBlocks: unknown field (did you mean ipBlock?)",
                "p:13:7: spec.ingress[0].from[4].cidr: unknown field (it belongs in ipBlock)",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock:\n        CIDR: 10.0.0.0/8\n        exept: [10.0.0.0/24]\n",
            ),
            &[
                "p:10:9: spec.ingress[0].from[0].ipBlock.CIDR: unknown field (did you mean cidr?)",
                "p:11:9: spec.ingress[0].from[0].ipBlock.exept: unknown field (did you mean except?)",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - ports:\n    - Port: 80\n      proto: TCP\n    - port: 80\n      endport: 90\n    - number: 80\n    - ports: 80\n    - targetPort: 80\n",
            ),
            &[
                "p:9:7: spec.ingress[0].ports[0].Port: unknown field (did you mean port?)",
                "p:10:7: spec.ingress[0].ports[0].proto: unknown field (did you mean protocol?)",
                "p:12:7: spec.ingress[0].ports[1].endport: unknown field (did you mean endPort?)",
                "p:13:7: spec.ingress[0].ports[2].number: unknown field (did you mean port?)",
                "p:14:7: spec.ingress[0].ports[3].ports: unknown field (did you mean port?)",
                "p:15:7: spec.ingress[0].ports[4].targetPort: unknown field (did you mean port?)",
            ],
        ),
        (
            block("  podSelector:\n    matchExpressions:\n    - key: app\n      op: In\n      value: [a]\n"),
            &[
                "p:9:7: spec.podSelector.matchExpressions[0].op: unknown field (did you mean operator?)",
                "p:10:7: spec.podSelector.matchExpressions[0].value: unknown field (did you mean values?)",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - From: []\n  - form: []\n  - fromEndpoints: [{}]\n  - port: 80\n",
            ),
            &[
                "p:8:5: spec.ingress[0].From: unknown field (did you mean from?)",
                "p:9:5: spec.ingress[1].form: unknown field (did you mean from?)",
                "p:10:5: spec.ingress[2].fromEndpoints: unknown field (did you mean from?)",
                "p:10:21: spec.ingress[2].fromEndpoints[0]: an empty peer (podSelector: {} is every endpoint of this namespace, namespaceSelector: {} every endpoint; for everyone, leave the list out)",
                "p:11:5: spec.ingress[3].port: unknown field (it belongs in the list: ports: [{...}])",
            ],
        ),
    ]);
}

#[test]
fn fields_of_the_object_itself() {
    assert_shown(&[
        (
            text("apiversion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\nspec: {}\n"),
            &["p:1:1: apiversion: unknown field (did you mean apiVersion?)"],
        ),
        (
            text("apiVersion: networking.k8s.io/v1\nKind: NetworkPolicy\nmetadata:\n  name: web\nspec: {}\n"),
            &["p:2:1: Kind: unknown field (did you mean kind?)"],
        ),
        (
            text("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmeta:\n  name: web\nspec: {}\n"),
            &["p:3:1: meta: unknown field (did you mean metadata?)"],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  nam: web\n  namspace: x\n  label: {a: b}\nspec: {}\n",
            ),
            &[
                "p:4:3: metadata.nam: unknown field (did you mean name?)",
                "p:5:3: metadata.namspace: unknown field (did you mean namespace?)",
                "p:6:3: metadata.label: unknown field (did you mean labels?)",
            ],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\nspecs: {}\n",
            ),
            &["p:5:1: specs: unknown field (did you mean spec?)"],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nname: web\nnamespace: shop\nspec: {}\n",
            ),
            &[
                "p:3:1: name: unknown field (it belongs in metadata)",
                "p:4:1: namespace: unknown field (it belongs in metadata)",
            ],
        ),
    ]);
}
