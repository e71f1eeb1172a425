//! Texts that are no YAML, or almost.

use super::{assert_shown, block, text};

#[test]
fn tabs_and_indentation() {
    assert_shown(&[
        (block("\tpodSelector: {}\n"), &["p:6:1: a tab; YAML indents with spaces"]),
        (
            block("  podSelector: {}\n  ingress:\n  - from:\n\t- podSelector: {}\n"),
            &["p:9:1: a tab; YAML indents with spaces"],
        ),
        (block("  podSelector:\t{}\n  ingress:\t[]\n"), &[]),
        (
            block("  podSelector: {}\n ingress: []\n"),
            &[
                "p:7:2: the indentation fits nothing above: 1 space, where 0 or 2 would (what belongs together stands below each other)",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - from:\n    - podSelector: {}\n     - podSelector: {}\n",
            ),
            &[
                "p:10:6: the indentation fits nothing above: 5 spaces, where 0, 2, 4 or 6 would (what belongs together stands below each other)",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - from:\n    - podSelector: {}\n   ports:\n    - port: 80\n",
            ),
            &[
                "p:10:4: the indentation fits nothing above: 3 spaces, where 0, 2, 4 or 6 would (what belongs together stands below each other)",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n    - from:\n      - podSelector: {}\n       ports:\n      - port: 80\n",
            ),
            &[
                "p:10:8: the indentation fits nothing above: 7 spaces, where 0, 2, 4, 6 or 8 would (what belongs together stands below each other)",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - from:\n    - podSelector:\n        matchLabels:\n          app: web\n          - tier: x\n",
            ),
            &["p:12:13: a `-` between the fields of a mapping (drop it, or check the indentation)"],
        ),
        (
            block("  podSelector: {}\n"),
            &[
                "p:6:1: a space that is none to YAML, like those of web pages and word processors (indent with plain spaces)",
            ],
        ),
        (
            block("  podSelector: {}\n  ingress: []\n"),
            &[
                "p:7:1: a space that is none to YAML, like those of web pages and word processors (indent with plain spaces)",
            ],
        ),
    ]);
}

#[test]
fn colons() {
    assert_shown(&[
        (
            block("  podSelector\n    matchLabels:\n      app: web\n"),
            &["p:6:3: a key without a colon and a space (write podSelector:)"],
        ),
        (
            block("  podSelector:{}\n  ingress: []\n"),
            &["p:6:3: a key without a colon and a space (write podSelector: {})"],
        ),
        (
            block("  podSelector: {}\n  ingress\n  - from: []\n"),
            &["p:7:3: a key without a colon and a space (write ingress:)"],
        ),
        (
            block("  podSelector:\n    matchLabels:\n      app:web\n"),
            &[
                "p:8:7: spec.podSelector.matchLabels: `matchLabels` is a mapping, not a text (put a space after the colon: app: web)",
            ],
        ),
        (
            block("  podSelector:\n    matchLabels:\n      app:web\n      role: db\n"),
            &["p:8:7: a key without a colon and a space (write app: web)"],
        ),
        (
            block("  podSelector: {}\n  ingress:\n  -from:\n    - podSelector: {}\n"),
            &["p:8:3: spec.-from: unknown field (put a space after the `-`)"],
        ),
        (
            text("apiVersion networking.k8s.io/v1\nkind: NetworkPolicy\n"),
            &["p:1:1: a key without a colon and a space (write apiVersion: networking.k8s.io/v1)"],
        ),
        (
            text("apiVersion: networking.k8s.io/v1\nkind NetworkPolicy\nmetadata:\n  name: x\n"),
            &["p:2:1: a key without a colon and a space (write kind: NetworkPolicy)"],
        ),
    ]);
}

#[test]
fn brackets_and_quotes() {
    assert_shown(&[
        (
            block("  podSelector: {matchLabels: {app: web}\n  ingress: []\n"),
            &["p:6:16: a `{` that is never closed"],
        ),
        (
            block("  podSelector: {matchLabels: {app: web}}}\n  ingress: []\n"),
            &["p:6:41: a bracket that closes nothing (drop it)"],
        ),
        (
            block("  podSelector: {}\n  policyTypes: [Ingress\n  ingress: []\n"),
            &["p:7:16: a `[` that is never closed"],
        ),
        (
            block("  podSelector: {matchLabels: {app: \"web}}\n  ingress: []\n"),
            &["p:6:36: a quote that is never closed"],
        ),
        (block("  podSelector: {matchLabels: {app: 'web}}\n"), &["p:6:36: a quote that is never closed"]),
        (
            block("  podSelector: {matchLabels: {app: it's}}\n"),
            &[
                "p:6:36: spec.podSelector.matchLabels.app: \"it's\" is not a label value (use letters, digits, '-', '_' and '.', starting and ending with a letter or digit)",
            ],
        ),
        (
            block("  podSelector: *\n"),
            &["p:6:16: a `*` or `&` without a name (quote a text that begins with it)"],
        ),
    ]);
}

#[test]
fn keys_and_anchors() {
    assert_shown(&[
        (
            block("  podSelector: {}\n  podSelector: {}\n"),
            &["p:7:3: \"podSelector\" stands here and on line 6 (a mapping takes each key once)"],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\nspec: {}\nspec: {}\n",
            ),
            &["p:6:1: \"spec\" stands here and on line 5 (a mapping takes each key once)"],
        ),
        (
            block(
                "  podSelector: &s {matchLabels: {app: web}}\n  ingress:\n  - from:\n    - podSelector: *s\n",
            ),
            &[],
        ),
        (
            block(
                "  podSelector: &s {matchLabels: {app: web}}\n  ingress:\n  - from:\n    - podSelector: *t\n",
            ),
            &["p:9:20: an alias to nothing (quote a text that begins with `*`)"],
        ),
        (
            block("  podSelector: {}\n  ingress:\n  - &r {ports: [{port: 80}]}\n  - <<: *r\n"),
            &["p:9:5: merge keys are not read (write the fields out)"],
        ),
        (block("  podSelector: !!map {}\n  ingress: !foo []\n"), &["p:7:17: the tag \"!foo\" is not read"]),
    ]);
}

#[test]
fn templates() {
    assert_shown(&[
        (
            text(
                "{{- if .Values.x }}\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\nspec:\n  podSelector: {}\n{{- end }}\n",
            ),
            &["p:1:1: a template: render it first"],
        ),
        (
            block(
                "  podSelector:\n    matchLabels:\n      {{- include \"x\" . | nindent 6 }}\n  ingress: []\n",
            ),
            &["p:8:7: a template: render it first"],
        ),
        (
            block("  podSelector:\n    matchLabels:\n      app: {{ .Values.app }}\n  ingress: []\n"),
            &["p:8:12: a template: render it first"],
        ),
        (
            block("  podSelector:\n    matchLabels:\n      app: ${APP}\n  ingress: []\n"),
            &["p:8:12: a template: render it first"],
        ),
        (
            block(
                "  podSelector:\n    matchLabels:\n      app: $(APP)\n      b: <app>\n      c: __APP__\n  ingress: []\n",
            ),
            &[
                "p:8:12: a template: render it first",
                "p:9:10: spec.podSelector.matchLabels.b: \"<app>\" is not a label value (use letters, digits, '-', '_' and '.', starting and ending with a letter or digit)",
                "p:10:10: spec.podSelector.matchLabels.c: \"__APP__\" is not a label value (use letters, digits, '-', '_' and '.', starting and ending with a letter or digit)",
            ],
        ),
        (
            block("  podSelector: {}\n  # {{ a comment }}\n  ingress: [{ports: [{port: 70000}]}]\n"),
            &["p:8:29: spec.ingress[0].ports[0].port: port 70000 is not between 1 and 65535"],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\n  namespace: {{ .Release.Namespace }}\nspec:\n  podSelector: {}\n",
            ),
            &["p:5:14: a template: render it first"],
        ),
    ]);
}

#[test]
fn line_ends_and_json() {
    assert_shown(&[
        (
            text(
                "apiVersion: networking.k8s.io/v1\r\nkind: NetworkPolicy\r\nmetadata:\r\n  name: web\r\nspec:\r\n  podSelector: {}\r\n",
            ),
            &[],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\r\nkind: NetworkPolicy\r\nmetadata:\r\n  name: web\r\nspec:\r\n  podSelector: {}\r\n  ingress: [{ports: [{port: 70000}]}]\r\n",
            ),
            &["p:7:29: spec.ingress[0].ports[0].port: port 70000 is not between 1 and 65535"],
        ),
        (
            text(
                "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"j\"},\"spec\":{\"podSelector\":{},}}",
            ),
            &[],
        ),
        (
            text(
                "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"j\"},\"spec\":{\"podSelector\":{\"matchLabels\":{\"app\":1}},\"ingres\":[]}}",
            ),
            &[
                "p:1:129: spec.podSelector.matchLabels.app: 1 is a number, not a text (quote it: \"1\")",
                "p:1:133: spec.ingres: unknown field (did you mean ingress?)",
            ],
        ),
        (
            text(
                "{\n\t\"apiVersion\": \"networking.k8s.io/v1\",\n\t\"kind\": \"NetworkPolicy\",\n\t\"metadata\": {\"name\": \"j\"},\n\t\"spec\": {\n\t\t\"podSelector\": {}\n\t}\n}\n",
            ),
            &[],
        ),
    ]);
}

#[test]
fn documents() {
    assert_shown(&[
        (
            text(
                "a: b: c\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\nspec:\n  ingres: []\n---\n\tx: y\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: b\nspec:\n  egres: []\n",
            ),
            &[
                "p:1:5: a second `: ` where one value is (quote a text that holds `: `, or check the indentation)",
                "p:8:3: document 2 (default/web): spec.ingres: unknown field (did you mean ingress?)",
                "p:10:2: document 3: `kind` is missing (write kind: NetworkPolicy)",
                "p:17:3: document 4 (default/b): spec.egres: unknown field (did you mean egress?)",
            ],
        ),
        (
            block("  podSelector: {}\n...\nfoo\n"),
            &[
                "p:8:1: document 2: an object is a mapping, not a text (use kind: List, or `---` between objects)",
            ],
        ),
        (
            text("metadata: {name: web}\nspec: {}\n"),
            &["p:1:1: `kind` is missing (write kind: NetworkPolicy)"],
        ),
        (text("{}\n"), &["p:1:1: `kind` is missing (write kind: NetworkPolicy)"]),
        (
            text("[]\n"),
            &["p:1:1: an object is a mapping, not a list (use kind: List, or `---` between objects)"],
        ),
        (
            text("hello world\n"),
            &["p:1:1: an object is a mapping, not a text (use kind: List, or `---` between objects)"],
        ),
        (
            text("- a\n- b\n"),
            &["p:1:1: an object is a mapping, not a list (use kind: List, or `---` between objects)"],
        ),
        (
            text("<?xml version=\"1.0\"?>\n<a/>\n"),
            &["p:1:1: an object is a mapping, not a text (use kind: List, or `---` between objects)"],
        ),
    ]);
}

#[test]
fn nothing() {
    assert_shown(&[
        (
            text(""),
            &[
                "p:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            ],
        ),
        (
            text("# only\n# comments\n"),
            &[
                "p:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            ],
        ),
        (
            text("---\n"),
            &[
                "p:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            ],
        ),
        (
            text("   \n\n"),
            &[
                "p:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            ],
        ),
        (
            text("null\n"),
            &[
                "p:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            ],
        ),
        (
            text("~"),
            &[
                "p:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            ],
        ),
        (
            text("apiVersion: v1\nkind: List\nitems: []\n"),
            &[
                "p:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            ],
        ),
    ]);
}

#[test]
fn lists_of_objects() {
    assert_shown(&[
        (
            text(
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n  - apiVersion: networking.k8s.io/v1\n    kind: NetworkPolicy\n    metadata: {name: x}\n    spec: {ingres: []}\n",
            ),
            &["p:10:12: items[0].items[0].spec.ingres: unknown field (did you mean ingress?)"],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems:\n- metadata: {name: x}\n  spec: {podSelector: {}}\n- kind: Service\n- foo\n-\n",
            ),
            &[
                "p:6:9: items[1].kind: objects of kind \"Service\" are not read (only NetworkPolicy, ClusterNetworkPolicy, Namespace, List are; move it to another file)",
                "p:7:3: items[2]: an object is a mapping, not a text (use kind: List, or `---` between objects)",
                "p:8:2: items[3]: an object is a mapping, not nothing (use kind: List, or `---` between objects)",
            ],
        ),
        (
            text("apiVersion: v1\nkind: List\nitem: []\n"),
            &["p:3:1: item: unknown field (did you mean items?)"],
        ),
        (
            text("apiVersion: v1\nkind: List\nitems: {a: b}\n"),
            &["p:3:8: items: `items` is a list (put a `-` before a)"],
        ),
        (
            block(
                "  podSelector: {}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\nspec:\n  podSelector: {}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: b\nspec:\n  ingress: {}\n",
            ),
            &[
                "p:11:9: document 2 (default/web): policy default/web is there twice: here and on line 4 (give one of them another name)",
                "p:20:12: document 3 (default/b): spec.ingress: `ingress` is a list (for everything write [{}], for nothing [])",
            ],
        ),
        (
            text(
                "apiVersion: v1\nitems:\n- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata:\n    annotations:\n      kubectl.kubernetes.io/last-applied-configuration: |\n        {\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"annotations\":{},\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"podSelector\":{}}}\n    creationTimestamp: \"2024-05-05T10:00:00Z\"\n    generation: 1\n    managedFields:\n    - apiVersion: networking.k8s.io/v1\n      fieldsType: FieldsV1\n      fieldsV1:\n        f:metadata:\n          f:annotations:\n            .: {}\n      manager: kubectl\n      operation: Update\n      time: \"2024-05-05T10:00:00Z\"\n    name: web\n    namespace: default\n    ownerReferences:\n    - apiVersion: v1\n      kind: X\n      name: y\n      uid: z\n    resourceVersion: \"1234\"\n    uid: 5d8c1e42-1111-2222-3333-444455556666\n  spec:\n    podSelector:\n      matchLabels:\n        app: web\n    policyTypes:\n    - Ingress\n  status: {}\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    creationTimestamp: null\n    name: shop\n    labels:\n      team: a\n  spec:\n    finalizers:\n    - kubernetes\n  status:\n    phase: Active\nkind: List\nmetadata:\n  resourceVersion: \"\"\n  selfLink: \"\"\n",
            ),
            &[],
        ),
        (
            text(
                "apiVersion: v1\nitems:\n- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata:\n    annotations:\n      kubectl.kubernetes.io/last-applied-configuration: |\n        {\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"annotations\":{},\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"podSelector\":{}}}\n    creationTimestamp: \"2024-05-05T10:00:00Z\"\n    generation: 1\n    managedFields:\n    - apiVersion: networking.k8s.io/v1\n      fieldsType: FieldsV1\n      fieldsV1:\n        f:metadata:\n          f:annotations:\n            .: {}\n      manager: kubectl\n      operation: Update\n      time: \"2024-05-05T10:00:00Z\"\n    name: web\n    namespace: default\n    ownerReferences:\n    - apiVersion: v1\n      kind: X\n      name: y\n      uid: z\n    resourceVersion: \"1234\"\n    uid: 5d8c1e42-1111-2222-3333-444455556666\n  spec:\n    podSelector:\n      matchLabels:\n        app: web\n    policyTypes:\n    - Ingress\n  status: {}\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    creationTimestamp: 2024-01-01T00:00:00Z\n    name: shop\n    labels:\n      team: a\n  spec:\n    finalizers:\n    - kubernetes\n  status:\n    phase: Active\nkind: List\nmetadata:\n  resourceVersion: \"\"\n  selfLink: \"\"\n",
            ),
            &[],
        ),
    ]);
}

#[test]
fn what_would_harm_a_terminal() {
    assert_shown(&[(
        text(
            "\"a\\e[31mb\": c\nkind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nmetadata: {name: a}\n",
        ),
        &["p:1:1: [a�[31mb]: unknown field (known here: apiVersion, kind, metadata, spec, status)"],
    )]);
}
