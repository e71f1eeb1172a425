//! Things where they do not belong, and of another shape.

use super::{assert_shown, block, text};

#[test]
fn fields_of_other_places() {
    assert_shown(&[
        (
            block("  podSelector: {}\n  from: []\n  to: []\n  ports: []\n  matchLabels: {}\n"),
            &[
                "p:7:3: spec.from: unknown field (it belongs in a rule: ingress: [{from: ...}])",
                "p:8:3: spec.to: unknown field (it belongs in a rule: egress: [{to: ...}])",
                "p:9:3: spec.ports: unknown field (it belongs in a rule, beside from or to)",
                "p:10:3: spec.matchLabels: unknown field (it belongs in podSelector)",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  policyTypes: [Ingress]\n  ingress:\n  - from:\n    - podSelector: {}\n      ports:\n      - port: 80\n",
            ),
            &[
                "p:11:7: spec.ingress[0].from[0].ports: unknown field (it belongs in the rule, beside the list of peers)",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  policyTypes: [Ingress]\n  ingress:\n  - from:\n    - podSelector:\n        app: web\n",
            ),
            &[
                "p:11:9: spec.ingress[0].from[0].podSelector.app: unknown field (labels belong in matchLabels)",
            ],
        ),
        (
            block(
                "  podSelector:\n    matchLabels:\n      app: web\n    policyTypes: [Ingress]\n    ingress: []\n",
            ),
            &[
                "p:9:5: spec.podSelector.policyTypes: unknown field (it belongs beside the selector; check the indentation)",
                "p:10:5: spec.podSelector.ingress: unknown field (it belongs beside the selector; check the indentation)",
            ],
        ),
        (
            block("  podSelector: {}\n  ingress:\n  - from:\n    - podSelector: {}\n    podSelector: {}\n"),
            &["p:10:5: spec.ingress[0].podSelector: unknown field (it belongs in the list: from: [{...}])"],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\n  spec:\n    podSelector: {}\n",
            ),
            &["p:5:3: metadata.spec: unknown field (it belongs beside metadata; check the indentation)"],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\npodSelector: {}\ningress: []\n",
            ),
            &[
                "p:5:1: podSelector: unknown field (it belongs in spec)",
                "p:6:1: ingress: unknown field (it belongs in spec)",
            ],
        ),
    ]);
}

#[test]
fn shapes_of_rules_and_peers() {
    assert_shown(&[
        (
            block("  podSelector: {}\n  ingress:\n    from:\n    - podSelector: {}\n"),
            &["p:8:5: spec.ingress: `ingress` is a list (put a `-` before from)"],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - from:\n      podSelector:\n        matchLabels:\n          app: web\n",
            ),
            &["p:9:7: spec.ingress[0].from: `from` is a list (put a `-` before podSelector)"],
        ),
        (
            block("  podSelector: {}\n  ingress:\n  - ports:\n      port: 80\n"),
            &["p:9:7: spec.ingress[0].ports: `ports` is a list (put a `-` before port)"],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - ports: 80\n  - ports: [80, 443]\n  - from: 10.0.0.0/8\n  - from: [10.0.0.0/8]\n  - from: [web]\n  - any\n",
            ),
            &[
                "p:8:12: spec.ingress[0].ports: `ports` is a list (write [{port: 80}])",
                "p:9:13: spec.ingress[1].ports[0]: an item of `ports` is a mapping, not a number (write {port: 80})",
                "p:9:17: spec.ingress[1].ports[1]: an item of `ports` is a mapping, not a number (write {port: 443})",
                "p:10:11: spec.ingress[2].from: `from` is a list (write [{ipBlock: {cidr: 10.0.0.0/8}}])",
                "p:11:12: spec.ingress[3].from[0]: an item of `from` is a mapping, not a text (write {ipBlock: {cidr: 10.0.0.0/8}})",
                "p:12:12: spec.ingress[4].from[0]: an item of `from` is a mapping, not a text (write {podSelector: {matchLabels: {...}}})",
                "p:13:5: spec.ingress[5]: an item of `ingress` is a mapping, not a text (for everything write [{}], for nothing [])",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock:\n        cidr: 10.0.0.0/24\n        except: 10.0.0.0/25\n    - ipBlock:\n        cidr: 10.0.0.0/24\n        except: [10.0.0.0/24, 10.0.0.0/8, 11.0.0.0/8, fd00::/8, 10.0.0.5/25, 10.0.0.1, foo, 10.0.0.0/25, 10.0.0.0/25]\n    - ipBlock:\n        except: [10.0.0.0/25]\n    - ipBlock: 10.0.0.0/8\n    - ipBlock: [10.0.0.0/8]\n    - ipBlock:\n      - cidr: 10.0.0.0/8\n",
            ),
            &[
                "p:11:17: spec.ingress[0].from[0].ipBlock.except: `except` is a list (write [10.0.0.0/25])",
                "p:14:18: spec.ingress[0].from[1].ipBlock.except[0]: 10.0.0.0/24 is all of the block (nothing is left: drop the peer)",
                "p:14:31: spec.ingress[0].from[1].ipBlock.except[1]: 10.0.0.0/8 is wider than its block 10.0.0.0/24 (nothing is left: drop the peer)",
                "p:14:43: spec.ingress[0].from[1].ipBlock.except[2]: 11.0.0.0/8 lies outside of its block 10.0.0.0/24 (it has nothing to be taken from: drop it)",
                "p:14:55: spec.ingress[0].from[1].ipBlock.except[3]: fd00::/8 is of another family than 10.0.0.0/24 (it has nothing to be taken from: drop it)",
                "p:14:78: spec.ingress[0].from[1].ipBlock.except[5]: \"10.0.0.1\" has no prefix length (write 10.0.0.1/32 for this address alone)",
                "p:14:88: spec.ingress[0].from[1].ipBlock.except[6]: \"foo\" is not a block of addresses (write it like 10.0.0.0/8 or fd00::/8; names are not looked up)",
                "p:16:9: spec.ingress[0].from[2].ipBlock: `cidr` is missing",
                "p:17:16: spec.ingress[0].from[3].ipBlock: `ipBlock` is a mapping, not a text (write {cidr: 10.0.0.0/8})",
                "p:18:16: spec.ingress[0].from[4].ipBlock: `ipBlock` is a mapping, not a list",
                "p:20:9: spec.ingress[0].from[5].ipBlock: `ipBlock` is a mapping, not a list (drop the `-`)",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8}\n      namespaceSelector: {}\n    - {}\n    -\n    - podSelector:\n    - podSelector: null\n    - namespaceSelector: ~\n      podSelector: ~\n    - ipBlock:\n    - podSelector: {}\n      ipBlock: {cidr: 10.0.0.0/8}\n",
            ),
            &[
                "p:10:7: spec.ingress[0].from[0]: ipBlock and a selector in one peer (put a `-` before namespaceSelector)",
                "p:11:7: spec.ingress[0].from[1]: an empty peer (podSelector: {} is every endpoint of this namespace, namespaceSelector: {} every endpoint; for everyone, leave the list out)",
                "p:12:6: spec.ingress[0].from[2]: an empty peer (podSelector: {} is every endpoint of this namespace, namespaceSelector: {} every endpoint; for everyone, leave the list out)",
                "p:13:7: spec.ingress[0].from[3]: an empty peer: a field without a value counts as absent (podSelector: {} is every endpoint of this namespace, namespaceSelector: {} every endpoint; for everyone, leave the list out)",
                "p:14:7: spec.ingress[0].from[4]: an empty peer: a field without a value counts as absent (podSelector: {} is every endpoint of this namespace, namespaceSelector: {} every endpoint; for everyone, leave the list out)",
                "p:15:7: spec.ingress[0].from[5]: an empty peer: a field without a value counts as absent (podSelector: {} is every endpoint of this namespace, namespaceSelector: {} every endpoint; for everyone, leave the list out)",
                "p:17:7: spec.ingress[0].from[6]: an empty peer: a field without a value counts as absent (podSelector: {} is every endpoint of this namespace, namespaceSelector: {} every endpoint; for everyone, leave the list out)",
                "p:19:7: spec.ingress[0].from[7]: ipBlock and a selector in one peer (put a `-` before ipBlock)",
            ],
        ),
    ]);
}

#[test]
fn shapes_of_selectors() {
    assert_shown(&[
        (
            block("  podSelector: app=web\n"),
            &[
                "p:6:16: spec.podSelector: `podSelector` is a mapping, not a text (write {matchLabels: {app: web}})",
            ],
        ),
        (
            block("  podSelector: [app]\n"),
            &["p:6:16: spec.podSelector: `podSelector` is a mapping, not a list"],
        ),
        (
            block("  podSelector:\n    - matchLabels:\n        app: web\n"),
            &["p:7:5: spec.podSelector: `podSelector` is a mapping, not a list (drop the `-`)"],
        ),
        (
            block("  podSelector:\n    matchLabels:\n    - app: web\n"),
            &["p:8:7: spec.podSelector.matchLabels: `matchLabels` is a mapping, not a list (drop the `-`)"],
        ),
        (
            block("  podSelector:\n    matchLabels: app=web\n"),
            &[
                "p:7:18: spec.podSelector.matchLabels: `matchLabels` is a mapping, not a text (write {app: web})",
            ],
        ),
        (
            block("  podSelector:\n    matchLabels:\n      app: [web, db]\n"),
            &[
                "p:8:12: spec.podSelector.matchLabels.app: `app` is a text, not a list (for one of several values use matchExpressions with operator: In)",
            ],
        ),
        (
            block("  podSelector:\n    matchLabels:\n      app: {x: y}\n"),
            &["p:8:12: spec.podSelector.matchLabels.app: `app` is a text, not a mapping"],
        ),
        (
            block(
                "  podSelector:\n    matchExpressions:\n      key: a\n      operator: In\n      values: [b]\n",
            ),
            &[
                "p:8:7: spec.podSelector.matchExpressions: `matchExpressions` is a list (put a `-` before key)",
            ],
        ),
        (
            block(
                "  podSelector:\n    matchExpressions:\n    - {key: a, operator: In, values: b}\n    - {key: a, operator: In, values: [1, true, yes, ~]}\n    - {key: a, operator: In, values: {a: b}}\n    - {key: [a], operator: Exists}\n    - {key: a, operator: [In], values: [b]}\n    - {key: a, operator: Exist}\n    - {key: a, operator: notin, values: [b]}\n    - {key: a, operator: Equals, values: [b]}\n    - {key: a, operator: '=', values: [b]}\n    - {key: a, values: [b]}\n    - {key: '', operator: Exists}\n    - {key: 'a b', operator: Exists}\n    - {}\n    - In\n",
            ),
            &[
                "p:8:38: spec.podSelector.matchExpressions[0].values: `values` is a list (write [b])",
                "p:9:39: spec.podSelector.matchExpressions[1].values[0]: 1 is a number, not a text (quote it: \"1\")",
                "p:9:42: spec.podSelector.matchExpressions[1].values[1]: true is a truth value, not a text (quote it: \"true\")",
                "p:10:38: spec.podSelector.matchExpressions[2].values: `values` is a list (write [...])",
                "p:11:13: spec.podSelector.matchExpressions[3].key: `key` is a text, not a list",
                "p:12:26: spec.podSelector.matchExpressions[4].operator: `operator` is a text, not a list",
                "p:13:26: spec.podSelector.matchExpressions[5].operator: unknown operator \"Exist\" (did you mean Exists?)",
                "p:14:26: spec.podSelector.matchExpressions[6].operator: unknown operator \"notin\" (did you mean NotIn?)",
                "p:15:26: spec.podSelector.matchExpressions[7].operator: unknown operator \"Equals\" (use In, with values: [...])",
                "p:16:26: spec.podSelector.matchExpressions[8].operator: unknown operator \"=\" (use In, with values: [...])",
                "p:17:7: spec.podSelector.matchExpressions[9]: `operator` is missing",
                "p:18:13: spec.podSelector.matchExpressions[10].key: a label key may not be empty",
                "p:19:13: spec.podSelector.matchExpressions[11].key: \"a b\" is not a label key (use letters, digits, '-', '_' and '.', starting and ending with a letter or digit)",
                "p:20:7: spec.podSelector.matchExpressions[12]: `key` is missing",
                "p:20:7: spec.podSelector.matchExpressions[12]: `operator` is missing",
                "p:21:7: spec.podSelector.matchExpressions[13]: an item of `matchExpressions` is a mapping, not a text",
            ],
        ),
    ]);
}

#[test]
fn shapes_of_metadata() {
    assert_shown(&[
        (
            text("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: web\nspec: {}\n"),
            &["p:3:11: metadata: `metadata` is a mapping, not a text"],
        ),
        (
            text("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n- name: web\nspec: {}\n"),
            &["p:4:3: metadata: `metadata` is a mapping, not a list (drop the `-`)"],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: [web]\n  namespace: {}\n  labels: [a]\n  annotations: x\nspec: 3\n",
            ),
            &[
                "p:4:9: metadata.name: `name` is a text, not a list",
                "p:5:14: metadata.namespace: `namespace` is a text, not a mapping",
                "p:6:11: metadata.labels: `labels` is a mapping, not a list",
                "p:7:16: metadata.annotations: `annotations` is a mapping, not a text",
                "p:8:7: spec: `spec` is a mapping, not a number",
            ],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\n  namespace: My.Space\n  labels: {a: 1, b c: d}\n  annotations: {x: 1, y: true}\nspec: \n",
            ),
            &[
                "p:5:14: metadata.namespace: \"My.Space\" has dots, which are not for this kind of name (write my-space)",
                "p:6:15: metadata.labels.a: 1 is a number, not a text (quote it: \"1\")",
                "p:6:18: metadata.labels: \"b c\" is not a label key (use letters, digits, '-', '_' and '.', starting and ending with a letter or digit)",
                "p:7:20: metadata.annotations.x: 1 is a number, not a text (quote it: \"1\")",
                "p:7:26: metadata.annotations.y: true is a truth value, not a text (quote it: \"true\")",
            ],
        ),
        (
            text("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name:\nspec: {}\n"),
            &["p:4:3: metadata: `name` is missing"],
        ),
        (
            text("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: ''\nspec: {}\n"),
            &["p:4:9: metadata.name: a name may not be empty"],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: Web Policy\n  namespace: ''\nspec: {}\n",
            ),
            &[
                "p:4:9: metadata.name: \"Web Policy\" is not a name: use lower-case letters, digits, '-' and '.', starting and ending with a letter or digit (write web-policy)",
            ],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  generateName: web-\nspec: {}\n",
            ),
            &["p:4:3: metadata: `name` is missing (only a cluster makes a name of generateName)"],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  namespace: shop\nspec: {}\n",
            ),
            &["p:4:3: metadata: `name` is missing"],
        ),
    ]);
}

#[test]
fn kinds_and_versions() {
    assert_shown(&[
        (
            text("apiVersion: [networking.k8s.io/v1]\nkind: {a: b}\nmetadata:\n  name: web\nspec: \n"),
            &[
                "p:1:13: apiVersion: `apiVersion` is a text, not a list",
                "p:2:7: kind: `kind` is a text, not a mapping",
            ],
        ),
        (
            text("apiVersion: 1\nkind: 2\nmetadata:\n  name: web\nspec: \n"),
            &[
                "p:1:13: apiVersion: 1 is a number, not a text (quote it: \"1\")",
                "p:2:7: kind: 2 is a number, not a text (quote it: \"2\")",
            ],
        ),
        (
            text("apiVersion: v1\nkind: NetworkPolicy\nmetadata:\n  name: web\n"),
            &["p:1:13: apiVersion: NetworkPolicy has no version \"v1\" (write networking.k8s.io/v1)"],
        ),
        (
            text("apiVersion: networking.k8s.io/v1beta1\nkind: NetworkPolicy\nmetadata:\n  name: web\n"),
            &[
                "p:1:13: apiVersion: NetworkPolicy has no version \"networking.k8s.io/v1beta1\" (write networking.k8s.io/v1)",
            ],
        ),
        (
            text("apiVersion: networking.k8s.io/v1\nkind: Network Policy\nmetadata:\n  name: web\n"),
            &["p:2:7: kind: unknown kind \"Network Policy\" (did you mean NetworkPolicy?)"],
        ),
        (
            text(
                "apiVersion: crd.projectcalico.org/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\nspec:\n  selector: all()\n",
            ),
            &[
                "p:1:13: apiVersion: NetworkPolicy of crd.projectcalico.org is not supported (only that of networking.k8s.io/v1 is)",
            ],
        ),
        (
            text(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n---\napiVersion: v1\nkind: Pod\n---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\n---\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
            ),
            &[
                "p:2:7: document 1 (default/web): kind: objects of kind \"Deployment\" are not read (only NetworkPolicy, ClusterNetworkPolicy, Namespace, List are; move it to another file)",
                "p:7:7: document 2 (default/s): kind: objects of kind \"Service\" are not read (only NetworkPolicy, ClusterNetworkPolicy, Namespace, List are; move it to another file)",
                "p:11:7: document 3: kind: objects of kind \"Pod\" are not read (only NetworkPolicy, ClusterNetworkPolicy, Namespace, List are; move it to another file)",
                "p:14:7: document 4 (default/i): kind: objects of kind \"Ingress\" are not read (only NetworkPolicy, ClusterNetworkPolicy, Namespace, List are; move it to another file)",
                "p:18:7: document 5: kind: objects of kind \"Kustomization\" are not read (only NetworkPolicy, ClusterNetworkPolicy, Namespace, List are; move it to another file)",
            ],
        ),
        (
            text(
                "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata:\n  name: web\n---\napiVersion: crd.antrea.io/v1beta1\nkind: ClusterNetworkPolicy\nmetadata: {name: a}\n---\napiVersion: crd.antrea.io/v1beta1\nkind: NetworkPolicy\nmetadata: {name: a}\n---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: a}\n---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n",
            ),
            &[
                "p:2:7: document 1 (default/web): kind: AdminNetworkPolicy is not supported (write ClusterNetworkPolicy with tier: Admin, which has taken its place)",
                "p:6:13: document 2 (cluster/a): apiVersion: ClusterNetworkPolicy of crd.antrea.io is not supported (only that of policy.networking.k8s.io/v1alpha2 is)",
                "p:10:13: document 3 (default/a): apiVersion: NetworkPolicy of crd.antrea.io is not supported (only that of networking.k8s.io/v1 is)",
                "p:15:7: document 4 (default/a): kind: GlobalNetworkPolicy is not supported (only NetworkPolicy of networking.k8s.io/v1 and ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2 are)",
                "p:19:7: document 5 (default/a): kind: objects of kind \"AuthorizationPolicy\" are not read (only NetworkPolicy, ClusterNetworkPolicy, Namespace, List are; move it to another file)",
            ],
        ),
    ]);
}
