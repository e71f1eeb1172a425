//! Worlds of files to ask, for tests.

use std::fs;

use crate::manifest;
use crate::reconcile::judge::Judge;

/// A world as a `netfast.yaml` and a file of policies describe it. The policies' file is called `policy.yaml`.
pub(super) fn judge(yaml: &str, policies: &str) -> Judge {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let yaml = file("netfast.yaml", yaml);
    let named = if policies.is_empty() { Vec::new() } else { vec![file("policy.yaml", policies)] };
    let mut world = manifest::load(&yaml, &named).unwrap().world;
    for policy in &mut world.policies {
        let rules = policy.ingress.iter_mut().chain(&mut policy.egress).flatten();
        for source in rules.map(|rule| &mut rule.source).chain([&mut policy.source]) {
            source.file = "policy.yaml".to_owned();
        }
    }
    Judge::of_files(world).unwrap()
}

/// A shop: `api` alone uses the database, everybody uses the web server's port, and the database sends nothing.
pub(super) fn shop() -> Judge {
    judge(SHOP, POLICIES)
}

const SHOP: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
  apart: {subnet: 10.78.0.0/24, internal: true}
namespaces:
  shop: {labels: {team: blue}}
endpoints:
  web: {network: lab, labels: {app: web}, ports: ['http=80/tcp'], publish: ['8080:80']}
  api: {network: lab, labels: {app: api}}
  db: {network: lab, namespace: shop, labels: {app: db}, ports: [5432]}
";

const POLICIES: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - ports: [{port: http}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - namespaceSelector: {}
      podSelector: {matchLabels: {app: api}}
    ports: [{port: 5432}]
  - from:
    - ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.128/25]}
";
