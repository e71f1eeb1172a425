//! Whatever a file holds, reading it ends in a world or in complaints.

use std::path::Path;

use proptest::prelude::*;

use super::cases::read_file;
use super::policy::Objects;
use super::topology;
use super::yaml::Report;
use crate::model::lint::{Known, lint};
use crate::model::{World, check};

/// Pieces of files, right and wrong ones, that are strung together.
const PIECES: [&str; 76] = [
    "\n",
    "\n  ",
    "\n    ",
    "\n- ",
    "\n  - ",
    "\n---\n",
    "\t",
    " ",
    ", ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "#",
    "&a ",
    "*a",
    "!!str ",
    "<<: ",
    "? ",
    "|\n  ",
    "{{",
    "null",
    "~",
    "true",
    "-1",
    "0",
    "80",
    "70000",
    "1e9",
    "ä",
    "web",
    "shop/web",
    "networks: ",
    "namespaces: ",
    "endpoints: ",
    "policies: ",
    "uplinks: ",
    "name: ",
    "subnet: ",
    "subnet6: ",
    "labels: ",
    "ports: ",
    "publish: ",
    "ip: ",
    "mac: ",
    "mtu: ",
    "netns: ",
    "pid: ",
    "command: ",
    "10.0.0.0/24",
    "255.255.255.255/32",
    "fd00::/64",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
    "10.0.0.9",
    "8000-8010:80",
    "\"[::1]:80:80\"",
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:",
    "kind: List\napiVersion: v1\nitems:",
    "podSelector: ",
    "matchLabels: ",
    "matchExpressions: ",
    "key: ",
    "operator: In",
    "values: ",
    "ingress: ",
    "egress: ",
    "from: ",
    "to: ",
    "ipBlock: ",
    "cidr: ",
    "except: ",
    "endPort: ",
    "policyTypes: ",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn reading_never_panics(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60), noise in ".{0,20}") {
        let text = format!("{}{noise}", pieces.concat());
        let mut objects = Objects::default();
        objects.read("p", &text);
        lint(&World { policies: objects.policies, ..World::default() }, Known::World);
        for text in [text.clone(), format!("id: x\nprobes: [{{from: node, to: node, port: 1, expect: deny}}]\n{text}")] {
            read_file("c", &text, Path::new("/nowhere"), &mut Vec::new());
        }
        for text in [text.clone(), format!("networks: {{a: {{subnet: 255.255.255.255/32}}}}\nendpoints: {{b: {{ip: 10.0.0.1}}}}\n{text}")] {
            let mut report = Report::new("n", &text);
            let topology = topology::read(&text, &mut report);
            check(&topology.world);
            report.finish();
        }
    }
}
