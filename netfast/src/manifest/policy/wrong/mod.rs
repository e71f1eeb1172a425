//! Wrong files, and what is said about them: every row of the reference, word for word and place for place.

mod broken;
mod cluster;
mod misplaced;
mod misspelt;
mod shape;
mod spelling;
mod syntax;
mod values;

use super::Objects;
use crate::manifest::diagnostic::{Diagnostic, Severity};

/// A policy whose `spec` is in line 4.
fn spec(rest: &str) -> String {
    format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec:\n{rest}")
}

/// A policy with one ingress rule, whose peers begin in line 7.
fn peers(rest: &str) -> String {
    spec(&format!("  ingress:\n  - from:\n{rest}"))
}

/// A policy with one ingress rule, whose ports begin in line 7.
fn ports(rest: &str) -> String {
    spec(&format!("  ingress:\n  - ports:\n{rest}"))
}

/// A policy whose `spec` begins in line 6.
fn block(rest: &str) -> String {
    format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\nspec:\n{rest}")
}

/// A whole file.
fn text(file: &str) -> String {
    file.to_owned()
}

/// Reads each text as file `p` and compares all complaints.
fn assert_complaints(rows: &[(String, &[&str])]) {
    for (text, wanted) in rows {
        let found = Objects::default().read("p", text);
        assert_eq!(found.iter().map(line).collect::<Vec<_>>(), *wanted, "\n{text}");
    }
}

/// The same with what a user is shown: warnings only where there is no error.
fn assert_shown(rows: &[(String, &[&str])]) {
    for (text, wanted) in rows {
        let mut found = Objects::default().read("p", text);
        if found.iter().any(|d| d.severity == Severity::Error) {
            found.retain(|d| d.severity == Severity::Error);
        }
        assert_eq!(found.iter().map(line).collect::<Vec<_>>(), *wanted, "\n{text}");
    }
}

/// A complaint; errors stand without their label.
fn line(diagnostic: &Diagnostic) -> String {
    match diagnostic.severity {
        Severity::Warning => format!("{}: {diagnostic}", diagnostic.label()),
        Severity::Error => diagnostic.to_string(),
    }
}

#[test]
fn all_complaints_come_at_once_and_in_order() {
    let two = format!("{}---\n{}", spec("  ingres: []\n"), spec("  policyTypes: [x]\n").replace("p}", "q}"));
    let file = format!("{two}---\nkind: Service\n---\n{}", spec("  podSelector: {}\n"));
    assert_complaints(&[
        (
            peers(
                "    - ipBlock: {cidr: 10.0.0.1}\n    - podSelecter: {}\n    ports:\n    - {port: 0, protocol: tcp}\n",
            ),
            &[
                "p:7:23: spec.ingress[0].from[0].ipBlock.cidr: \"10.0.0.1\" has no prefix length (write 10.0.0.1/32 \
                 for this address alone)",
                "p:8:7: spec.ingress[0].from[1].podSelecter: unknown field (did you mean podSelector?)",
                "p:10:14: spec.ingress[0].ports[0].port: there is no port 0 (for every port, leave port out)",
                "p:10:27: spec.ingress[0].ports[0].protocol: unknown protocol \"tcp\" (write TCP)",
            ],
        ),
        (
            file,
            &[
                "p:5:3: document 1 (default/p): spec.ingres: unknown field (did you mean ingress?)",
                "p:11:17: document 2 (default/q): spec.policyTypes[0]: unknown policy type \"x\" (use Ingress or Egress)",
                "p:13:7: document 3: kind: objects of kind \"Service\" are not read (only NetworkPolicy, \
                 ClusterNetworkPolicy, Namespace, List are; move it to another file)",
                "p:17:18: document 4 (default/p): policy default/p is there twice: here and on line 3 (give one of \
                 them another name)",
            ],
        ),
    ]);
}
