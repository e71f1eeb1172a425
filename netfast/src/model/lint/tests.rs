use super::*;
use crate::manifest;

/// `netfast.yaml` of a world with two namespaces.
const WORLD: &str = "
networks: {lab: {subnet: 10.0.0.0/24, subnet6: 'fd00::/64'}, old: {subnet: 10.1.0.0/24}}
namespaces: {shop: {labels: {team: sales}}, ops: {labels: {team: infra}}}
endpoints:
  shop/web: {network: lab, labels: {app: web, tier: front}, ports: ['http=80/tcp', 'dns=53/udp']}
  shop/db: {network: old, labels: {app: db, tier: back}, ports: ['sql=5432/tcp']}
  ops/probe: {network: lab, labels: {app: probe}}
policies: [p.yaml]
";

/// A policy of `shop` for `web` with this `spec`, whose rules begin in line 5.
fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: \
         shop}}\nspec:\n{spec}\n"
    )
}

/// Everything that is said of policies, with the name and the line.
fn found(known: Known, policies: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (topology, file) = (dir.path().join("netfast.yaml"), dir.path().join("p.yaml"));
    std::fs::write(&topology, WORLD).unwrap();
    std::fs::write(&file, policies).unwrap();
    let world = match known {
        Known::World => manifest::load(&topology, &[]).unwrap().world,
        Known::Policies => {
            let loaded = manifest::load_policies(&[file]).unwrap();
            World { policies: loaded.policies, namespaces: loaded.namespaces, ..World::default() }
        }
    };
    let line = |finding: Finding| {
        let help = finding.help.map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{} {}: {}{help}", finding.lint, finding.at.line, finding.message)
    };
    lint(&world, known).into_iter().map(line).collect()
}

/// Each is the rest of a spec, and what is said of it.
fn assert_found(known: Known, rows: &[(&str, &[&str])]) {
    for (spec, wanted) in rows {
        assert_eq!(found(known, &policy("p", spec)), *wanted, "\n{spec}");
    }
}

#[test]
fn rules_that_add_nothing() {
    assert_found(
        Known::Policies,
        &[
            (
                "  ingress:\n  - ports: [{port: 80}]\n  - ports: [{port: 80}]",
                &["repeated-rule 8: this rule is the same as the rule at line 7 (drop one of them)"],
            ),
            (
                "  ingress:\n  - from: [{podSelector: {matchLabels: {app: web}}}]\n    ports: [{port: 80}]\n  - \
                 from: [{podSelector: {}}]",
                &[
                    "shadowed-rule 7: this rule adds nothing to the rule at line 9, which allows more (drop one of them)",
                ],
            ),
            (
                "  ingress:\n  - {}\n  - from: [{ipBlock: {cidr: 10.0.0.0/8}}]",
                &[
                    "shadowed-rule 8: this rule adds nothing to the rule at line 7, which allows more (drop one of them)",
                ],
            ),
            (
                "  ingress:\n  - from: [{namespaceSelector: {}}, {podSelector: {matchLabels: {app: web}}}]",
                &["shadowed-rule 7: from[1] adds nothing to from[0] (drop it)"],
            ),
            (
                "  ingress:\n  - ports: [{port: 80, endPort: 90}, {port: 85}, {port: 85}, {port: 80, protocol: UDP}]",
                &[
                    "shadowed-rule 7: ports[1] adds nothing to ports[0] (drop it)",
                    "shadowed-rule 7: ports[2] adds nothing to ports[0] (drop it)",
                ],
            ),
            // None of these is certain, or covered.
            ("  ingress:\n  - ports: [{port: 80}]\n  - ports: [{port: http}]", &[]),
            (
                "  ingress:\n  - from: [{podSelector: {matchLabels: {app: web}}}]\n  - from: [{podSelector: \
                 {matchLabels: {app: db}}}]",
                &[],
            ),
            (
                "  ingress:\n  - from: [{podSelector: {}}]\n  - from: [{namespaceSelector: {matchLabels: {a: b}}}]",
                &[],
            ),
            (
                "  ingress:\n  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]\n  - from: [{ipBlock: \
                 {cidr: 10.1.2.0/24}}]",
                &[],
            ),
        ],
    );
}

#[test]
fn rules_of_several_policies_are_compared_where_they_select_the_same() {
    let broad = policy(
        "broad",
        "  podSelector: {matchLabels: {app: web}}\n  ingress:\n  - from: [{podSelector: {}}]",
    );
    let narrow = |app: &str| {
        let from = "[{podSelector: {matchLabels: {app: db}}}]";
        policy(
            "narrow",
            &format!("  podSelector: {{matchLabels: {{app: {app}}}}}\n  ingress:\n  - from: {from}"),
        )
    };
    assert_eq!(
        found(Known::Policies, &format!("{broad}{}", narrow("web"))),
        [
            "shadowed-rule 16: this rule adds nothing to the rule of shop/broad at line 8, which allows more (drop one of \
             them)"
        ]
    );
    assert!(found(Known::Policies, &format!("{broad}{}", narrow("db"))).is_empty());
    assert!(found(Known::Policies, &format!("{broad}{}", narrow("web").replace("shop", "ops"))).is_empty());
}

#[test]
fn holes_that_are_filled() {
    assert_found(
        Known::Policies,
        &[
            (
                "  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}\n    - ipBlock: {cidr: \
                 10.1.0.0/16}",
                &[
                    "filled-except 7: 10.1.0.0/16, left out of 10.0.0.0/8, is allowed by another peer of this rule (an \
                     except denies nothing, it only makes its own block smaller)",
                ],
            ),
            (
                "  ingress:\n  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]\n    ports: [{port: 80}]\n  \
                 - from: [{ipBlock: {cidr: 10.0.0.0/12}}]",
                &[
                    "filled-except 7: 10.1.0.0/16, left out of 10.0.0.0/8, is allowed by the rule at line 9 (an except \
                     denies nothing, it only makes its own block smaller)",
                ],
            ),
            // One address of the hole, or on other ports.
            (
                "  ingress:\n  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {ipBlock: {cidr: \
                 10.1.0.7/32}}]",
                &[],
            ),
            (
                "  ingress:\n  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]\n    ports: [{port: 80}]\n  \
                 - from: [{ipBlock: {cidr: 10.0.0.0/12}}]\n    ports: [{port: 81}]",
                &[],
            ),
        ],
    );
}

#[test]
fn selectors_that_nothing_meets() {
    assert_found(
        Known::Policies,
        &[
            (
                "  podSelector: {matchLabels: {app: web}, matchExpressions: [{key: app, operator: DoesNotExist}]}",
                &["impossible-selector 2: the podSelector of shop/p asks for what no labels can be"],
            ),
            (
                "  ingress:\n  - from: [{podSelector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: NotIn, \
                 values: [b, c]}]}}]",
                &["impossible-selector 7: from[0] asks for what no labels can be"],
            ),
            (
                "  podSelector: {matchExpressions: [{key: app, operator: Exists}, {key: app, operator: NotIn, values: \
                 [web]}]}",
                &[],
            ),
        ],
    );
}

#[test]
fn egress_without_names() {
    let blocked = "blocked-dns 8: shop/p leaves no way to ask for names: no rule for egress allows port 53 of UDP (add a \
                   rule with ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}])";
    assert_found(
        Known::Policies,
        &[
            ("  policyTypes: [Egress]\n  egress:\n  - ports: [{port: 443}]", &[blocked]),
            (
                "  policyTypes: [Egress]\n  egress:\n  - ports: [{port: 53}, {port: 80, protocol: UDP}]",
                &[blocked],
            ),
            ("  policyTypes: [Egress]\n  egress:\n  - ports: [{port: 50, endPort: 60, protocol: UDP}]", &[]),
            ("  policyTypes: [Egress]\n  egress:\n  - ports: [{port: dns, protocol: UDP}]", &[]),
            ("  policyTypes: [Egress]\n  egress:\n  - to: [{podSelector: {}}]", &[]),
            ("  policyTypes: [Egress]\n  egress: []", &[]),
        ],
    );
    let web = "  podSelector: {matchLabels: {app: web}}\n  policyTypes: [Egress]\n  egress:\n  - ports: [{port: 443}]";
    let dns = |selector: &str| {
        let spec = format!(
            "  podSelector: {selector}\n  policyTypes: [Egress]\n  egress:\n  - ports: [{{port: 53, protocol: UDP}}]"
        );
        format!("{}{}", policy("web", web), policy("dns", &spec))
    };
    assert!(found(Known::Policies, &dns("{}")).is_empty());
    assert!(found(Known::Policies, &dns("{matchLabels: {tier: x}}")).is_empty(), "some may be of both");
    assert_eq!(found(Known::Policies, &dns("{matchLabels: {app: db}}")).len(), 1);
}

#[test]
fn who_is_nobody() {
    assert_found(
        Known::World,
        &[
            (
                "  podSelector: {matchLabels: {app: wep}}",
                &["selects-nobody 2: policy shop/p selects no endpoint (no app is wep, did you mean web?)"],
            ),
            (
                "  podSelector: {matchLabels: {ap: web}}",
                &[
                    "selects-nobody 2: policy shop/p selects no endpoint (no label is called ap, did you mean app?)",
                ],
            ),
            (
                "  podSelector: {matchLabels: {app: cache}}",
                &["selects-nobody 2: policy shop/p selects no endpoint (app is db, web there)"],
            ),
            (
                "  podSelector: {matchLabels: {app: web, tier: back}}",
                &["selects-nobody 2: policy shop/p selects no endpoint"],
            ),
            (
                "  ingress:\n  - from: [{podSelector: {matchLabels: {app: probe}}}]",
                &[
                    "peer-matches-nobody 7: from[0] matches no endpoint (ops/probe matches, in another namespace: add a \
                     namespaceSelector)",
                ],
            ),
            (
                "  ingress:\n  - from: [{podSelector: {matchLabels: {tier: front}, matchExpressions: [{key: app, operator: \
                 In, values: [db]}]}}]",
                &["peer-matches-nobody 7: from[0] matches no endpoint"],
            ),
            (
                "  ingress:\n  - from: [{namespaceSelector: {matchLabels: {team: sale}}}]",
                &[
                    "namespace-unknown 7: from[0] matches nobody: there is no such namespace (no team is sale, did you mean \
                     sales?)",
                ],
            ),
            (
                "  ingress:\n  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: opps}}}]",
                &["namespace-unknown 7: from[0] matches nobody: there is no such namespace (no \
                     kubernetes.io/metadata.name is opps, did you mean ops?)"],
            ),
            (
                "  ingress:\n  - from: [{namespaceSelector: {matchLabels: {team: infra}}, podSelector: {matchLabels: {app: \
                 web}}}]",
                &["peer-matches-nobody 7: from[0] matches no endpoint (app is probe there)"],
            ),
            (
                "  ingress:\n  - from: [{namespaceSelector: {}}, {podSelector: {matchLabels: {app: db}}}]",
                &["shadowed-rule 7: from[1] adds nothing to from[0] (drop it)"],
            ),
        ],
    );
    assert_eq!(
        found(Known::World, &policy("p", "  podSelector: {}").replace("shop", "shpo")),
        [
            "selects-nobody 2: policy shpo/p concerns nobody: no endpoint is in namespace shpo (endpoints are in ops, shop)"
        ]
    );
}

#[test]
fn names_of_ports() {
    assert_found(
        Known::World,
        &[
            (
                "  podSelector: {matchLabels: {app: web}}\n  ingress:\n  - ports: [{port: htpp}]",
                &[
                    "port-name-unknown 8: no endpoint that the policy selects has a port called htpp of TCP (did you mean \
                     http?)",
                ],
            ),
            (
                "  podSelector: {matchLabels: {app: web}}\n  ingress:\n  - ports: [{port: dns}]",
                &[
                    "port-name-unknown 8: no endpoint that the policy selects has a port called dns of TCP (it is one of \
                     UDP)",
                ],
            ),
            (
                "  policyTypes: [Egress]\n  egress:\n  - to: [{podSelector: {matchLabels: {app: db}}}]\n    ports: [{port: \
                 http}, {port: dns, protocol: UDP}]",
                &[
                    "port-name-unknown 8: no endpoint among the peers has a port called http of TCP",
                    "port-name-unknown 8: no endpoint among the peers has a port called dns of UDP",
                ],
            ),
            ("  ingress:\n  - ports: [{port: http}, {port: sql}]", &[]),
        ],
    );
}

#[test]
fn one_family_of_two() {
    assert_found(
        Known::World,
        &[
            (
                "  podSelector: {matchLabels: {app: web}}\n  ingress:\n  - from: [{ipBlock: {cidr: 0.0.0.0/0}}]",
                &[
                    "one-family 8: 0.0.0.0/0 holds no IPv6 address, and endpoints have some here (add ipBlock: {cidr: \
                     \"::/0\"})",
                ],
            ),
            (
                "  podSelector: {matchLabels: {app: web}}\n  ingress:\n  - from: [{ipBlock: {cidr: 0.0.0.0/0}}]\n  - from: \
                 [{ipBlock: {cidr: '2001:db8::/32'}}]",
                &[],
            ),
            // These have IPv4 addresses only.
            (
                "  podSelector: {matchLabels: {app: db}}\n  ingress:\n  - from: [{ipBlock: {cidr: 0.0.0.0/0}}]",
                &[],
            ),
        ],
    );
}

#[test]
fn namespaces_of_the_files_themselves() {
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: sales}}\n";
    let from = |labels: &str| {
        let spec = format!("  ingress:\n  - from: [{{namespaceSelector: {{matchLabels: {{{labels}}}}}}}]");
        found(Known::Policies, &format!("{}{namespace}", policy("p", &spec)))
    };
    assert_eq!(
        from("taem: sales"),
        [
            "namespace-unknown 7: from[0]: the namespaceSelector matches no namespace of these files (no label is called \
             taem, did you mean team?)"
        ]
    );
    // Others may be elsewhere.
    for labels in
        ["team: infra", "kubernetes.io/metadata.name: kube-system", "purpose: production", "team: sales"]
    {
        assert!(from(labels).is_empty(), "{labels}");
    }
}

#[test]
fn names_are_unique_and_described() {
    let text = include_str!("../../../../docs/policy.md");
    for (index, lint) in Lint::ALL.into_iter().enumerate() {
        assert!(Lint::ALL[..index].iter().all(|other| other.name() != lint.name()), "{lint}");
        assert!(text.contains(&format!("| `{lint}` |")), "docs/policy.md does not describe {lint}");
    }
}
