//! Values that are not allowed.

use super::{assert_complaints, peers, ports, spec};

#[test]
fn blocks() {
    assert_complaints(&[
        (
            peers("    - ipBlock: {cidr: 10.0.0.1}\n"),
            &[
                "p:7:23: spec.ingress[0].from[0].ipBlock.cidr: \"10.0.0.1\" has no prefix length (write 10.0.0.1/32 for this address alone)",
            ],
        ),
        (
            peers("    - ipBlock: {cidr: 10.0.0.0/33}\n"),
            &[
                "p:7:23: spec.ingress[0].from[0].ipBlock.cidr: /33 is not a prefix length (IPv4 takes /0 to /32)",
            ],
        ),
        (
            peers("    - ipBlock: {cidr: 300.0.0.0/8}\n"),
            &["p:7:23: spec.ingress[0].from[0].ipBlock.cidr: \"300.0.0.0\" is not an address"],
        ),
        (
            peers("    - ipBlock: {cidr: example.com}\n"),
            &[
                "p:7:23: spec.ingress[0].from[0].ipBlock.cidr: \"example.com\" is not a block of addresses (write it like 10.0.0.0/8 or fd00::/8; names are not looked up)",
            ],
        ),
        (peers("    - ipBlock: {}\n"), &["p:7:16: spec.ingress[0].from[0].ipBlock: `cidr` is missing"]),
        (
            peers("    - ipBlock: {cidr: 10.0.0.5/24}\n"),
            &[
                "warning[host-bits]: p:7:23: spec.ingress[0].from[0].ipBlock.cidr: 10.0.0.5/24 has bits set beyond its prefix and is read as 10.0.0.0/24 (was 10.0.0.5/32 meant?)",
            ],
        ),
        (
            peers("    - ipBlock: {cidr: 10.0.0.0/24, except: [10.0.1.0/25]}\n"),
            &[
                "p:7:45: spec.ingress[0].from[0].ipBlock.except[0]: 10.0.1.0/25 lies outside of its block 10.0.0.0/24 (it has nothing to be taken from: drop it)",
            ],
        ),
        (
            peers("    - ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.0/24]}\n"),
            &[
                "p:7:45: spec.ingress[0].from[0].ipBlock.except[0]: 10.0.0.0/24 is all of the block (nothing is left: drop the peer)",
            ],
        ),
        (
            peers("    - ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.0/8]}\n"),
            &[
                "p:7:45: spec.ingress[0].from[0].ipBlock.except[0]: 10.0.0.0/8 is wider than its block 10.0.0.0/24 (nothing is left: drop the peer)",
            ],
        ),
        (
            peers("    - ipBlock: {cidr: 10.0.0.0/24, except: [fd00::/8]}\n"),
            &[
                "p:7:45: spec.ingress[0].from[0].ipBlock.except[0]: fd00::/8 is of another family than 10.0.0.0/24 (it has nothing to be taken from: drop it)",
            ],
        ),
    ]);
}

#[test]
fn ports_of_a_rule() {
    assert_complaints(&[
        (
            ports("    - port: 0\n"),
            &["p:7:13: spec.ingress[0].ports[0].port: there is no port 0 (for every port, leave port out)"],
        ),
        (
            ports("    - port: 70000\n"),
            &["p:7:13: spec.ingress[0].ports[0].port: port 70000 is not between 1 and 65535"],
        ),
        (
            ports("    - port: -1\n"),
            &["p:7:13: spec.ingress[0].ports[0].port: port -1 is not between 1 and 65535"],
        ),
        (
            ports("    - port: \"80\"\n"),
            &[
                "p:7:13: spec.ingress[0].ports[0].port: a quoted number is a port's name, and \"80\" has no letter (drop the quotes)",
            ],
        ),
        (
            ports("    - port: 8000-9000\n"),
            &[
                "p:7:13: spec.ingress[0].ports[0].port: \"8000-9000\" is not a port (write port: 8000 and endPort: 9000)",
            ],
        ),
        (
            ports("    - port: HTTP\n"),
            &["p:7:13: spec.ingress[0].ports[0].port: \"HTTP\" is not a port's name (write http)"],
        ),
        (
            ports("    - port: 80.5\n"),
            &["p:7:13: spec.ingress[0].ports[0].port: \"80.5\" is not a whole number"],
        ),
        (
            ports("    - port: 080\n"),
            &["p:7:13: spec.ingress[0].ports[0].port: \"080\" is not a whole number"],
        ),
        (
            ports("    - port: 9000\n      endPort: 8000\n"),
            &["p:8:16: spec.ingress[0].ports[0].endPort: endPort 8000 is below port 9000"],
        ),
        (
            ports("    - port: http\n      endPort: 8000\n"),
            &["p:8:7: spec.ingress[0].ports[0].endPort: endPort with a port's name (ranges are of numbers)"],
        ),
        (
            ports("    - endPort: 8000\n"),
            &[
                "p:7:7: spec.ingress[0].ports[0].endPort: endPort without port (add port: the first of the range)",
            ],
        ),
        (
            ports("    - protocol: tcp\n"),
            &["p:7:17: spec.ingress[0].ports[0].protocol: unknown protocol \"tcp\" (write TCP)"],
        ),
        (
            ports("    - protocol: ICMP\n"),
            &[
                "p:7:17: spec.ingress[0].ports[0].protocol: unknown protocol \"ICMP\" (rules cannot name it; a rule without ports lets echo requests pass, and errors always do)",
            ],
        ),
        (
            ports("    - protocol: ANY\n"),
            &[
                "p:7:17: spec.ingress[0].ports[0].protocol: unknown protocol \"ANY\" (for every port of every protocol, leave ports out of the rule)",
            ],
        ),
        (
            ports("    - port: 80/tcp\n"),
            &[
                "p:7:13: spec.ingress[0].ports[0].port: \"80/tcp\" is not a port (write port: 80 and protocol: TCP)",
            ],
        ),
    ]);
}

#[test]
fn peers_and_labels() {
    assert_complaints(&[
        (
            peers("    - podSelector: {}\n      ipBlock:\n        cidr: 10.0.0.0/8\n"),
            &[
                "p:8:7: spec.ingress[0].from[0]: ipBlock and a selector in one peer (put a `-` before ipBlock)",
            ],
        ),
        (
            peers("    - {}\n"),
            &[
                "p:7:7: spec.ingress[0].from[0]: an empty peer (podSelector: {} is every endpoint of this namespace, namespaceSelector: {} every endpoint; for everyone, leave the list out)",
            ],
        ),
        (
            peers("    -\n"),
            &[
                "p:7:6: spec.ingress[0].from[0]: an empty peer (podSelector: {} is every endpoint of this namespace, namespaceSelector: {} every endpoint; for everyone, leave the list out)",
            ],
        ),
        (
            spec("  podSelector: {matchLabels: {app: true}}\n"),
            &[
                "p:5:36: spec.podSelector.matchLabels.app: true is a truth value, not a text (quote it: \"true\")",
            ],
        ),
        (
            spec("  podSelector: {matchLabels: {app: 2}}\n"),
            &["p:5:36: spec.podSelector.matchLabels.app: 2 is a number, not a text (quote it: \"2\")"],
        ),
        (
            spec("  podSelector: {matchLabels: {app: yes}}\n"),
            &[
                "warning[yaml-boolean]: p:5:36: spec.podSelector.matchLabels.app: yes is a truth value to Kubernetes (quote it: \"yes\")",
            ],
        ),
        (
            spec("  podSelector: {matchLabels: {app: }}\n"),
            &[
                "warning[empty-value]: p:5:31: spec.podSelector.matchLabels.app: no value is read as the empty text (write \"\")",
            ],
        ),
        (
            spec("  podSelector: {matchLabels: {app: a b}}\n"),
            &[
                "p:5:36: spec.podSelector.matchLabels.app: \"a b\" is not a label value (use letters, digits, '-', '_' and '.', starting and ending with a letter or digit)",
            ],
        ),
    ]);
}

#[test]
fn expressions_and_types() {
    assert_complaints(&[
        (
            spec("  podSelector:\n    matchExpressions:\n    - {key: a, operator: in, values: [b]}\n"),
            &[
                "p:7:26: spec.podSelector.matchExpressions[0].operator: unknown operator \"in\" (did you mean In?)",
            ],
        ),
        (
            spec("  podSelector:\n    matchExpressions:\n    - {key: a, operator: Gt, values: [b]}\n"),
            &[
                "p:7:26: spec.podSelector.matchExpressions[0].operator: unknown operator \"Gt\" (use In, NotIn, Exists, DoesNotExist)",
            ],
        ),
        (
            spec("  podSelector:\n    matchExpressions:\n    - {key: a, operator: In}\n"),
            &["p:7:7: spec.podSelector.matchExpressions[0]: In without values (add values: [...])"],
        ),
        (
            spec("  podSelector:\n    matchExpressions:\n    - {key: a, operator: Exists, values: [b]}\n"),
            &[
                "p:7:34: spec.podSelector.matchExpressions[0]: Exists takes no values (drop values, or use In or NotIn)",
            ],
        ),
        (
            spec("  podSelector:\n    matchExpressions:\n    - {operator: Exists}\n"),
            &["p:7:7: spec.podSelector.matchExpressions[0]: `key` is missing"],
        ),
        (
            spec("  policyTypes: [ingress]\n"),
            &["p:5:17: spec.policyTypes[0]: unknown policy type \"ingress\" (write Ingress)"],
        ),
        (
            spec("  policyTypes: [Ingress, Egress, Ingress]\n"),
            &[
                "p:5:16: spec.policyTypes: 3 entries, where two are all there can be",
                "warning[repeated]: p:5:34: spec.policyTypes[2]: Ingress is named twice (drop one of them)",
            ],
        ),
        (
            spec("  podSelector: {}\n  policyTypes: [Ingress]\n  podSelector: {}\n"),
            &["p:7:3: \"podSelector\" stands here and on line 5 (a mapping takes each key once)"],
        ),
    ]);
}
