//! Files that are not YAML, or more than YAML.

use super::{assert_complaints, spec, text};

#[test]
fn files_that_are_not_plain_yaml() {
    assert_complaints(&[
        (spec("  - ingress\n"), &["p:5:3: spec: `spec` is a mapping, not a list"]),
        (spec("\tpodSelector: {}\n"), &["p:5:1: a tab; YAML indents with spaces"]),
        (spec("  podSelector: {}\n\tingress: []\n"), &["p:6:1: a tab; YAML indents with spaces"]),
        (
            spec("  podSelector:\n    matchLabels:\n    app: web\n   tier: x\n  ingress: []\n"),
            &[
                "p:8:4: the indentation fits nothing above: 3 spaces, where 0, 2 or 4 would (what belongs together stands below each other)",
            ],
        ),
        (
            spec("  podSelector: {}\n   ingress: []\n"),
            &[
                "p:6:4: the indentation fits nothing above: 3 spaces, where 0 or 2 would (what belongs together stands below each other)",
            ],
        ),
        (
            spec("  podSelector {}\n  ingress: []\n"),
            &["p:5:3: a key without a colon and a space (write podSelector: {})"],
        ),
        (
            spec("  podSelector\n  ingress: []\n"),
            &["p:5:3: a key without a colon and a space (write podSelector:)"],
        ),
        (
            spec("  podSelector: a: b\n"),
            &[
                "p:5:17: a second `: ` where one value is (quote a text that holds `: `, or check the indentation)",
            ],
        ),
        (spec("  podSelector: {a: b\n  ingress: []\n"), &["p:5:16: a `{` that is never closed"]),
        (spec("  podSelector: {matchLabels: {a: \"b}}\n"), &["p:5:34: a quote that is never closed"]),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {{ .Values.name }}\n",
            ),
            &["p:4:9: a template: render it first"],
        ),
        (
            text(
                "{{- if .Values.enabled }}\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n{{- end }}\n",
            ),
            &["p:1:1: a template: render it first"],
        ),
        (
            text(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: \"{{ .Values.name }}\"\n",
            ),
            &["p:4:10: a template: render it first"],
        ),
        (text("a: &a [x, x]\nb: &b [*a, *a]\n"), &["p:1:1: `kind` is missing (write kind: NetworkPolicy)"]),
        (text("a: *b\n"), &["p:1:4: an alias to nothing (quote a text that begins with `*`)"]),
        (
            text("a: !foo b\n"),
            &["p:1:1: `kind` is missing (write kind: NetworkPolicy)", "p:1:9: the tag \"!foo\" is not read"],
        ),
        (text("a: %b\n"), &["p:1:4: '%' begins no value in YAML (quote a text that begins with it)"]),
        (text("a: @b\n"), &["p:1:4: '@' begins no value in YAML (quote a text that begins with it)"]),
        (
            text("<<: {a: b}\n"),
            &[
                "p:1:1: merge keys are not read (write the fields out)",
                "p:1:1: `kind` is missing (write kind: NetworkPolicy)",
            ],
        ),
        (
            text("? [a]\n: b\n"),
            &[
                "p:1:1: `kind` is missing (write kind: NetworkPolicy)",
                "p:1:3: a key must be a text (quote a text that begins with `[` or `{`)",
            ],
        ),
    ]);
}
