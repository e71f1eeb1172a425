//! Cases of the policy recipes, where a collection of them lies beside the checkout (`../shared/policy-cases`, or
//! below `NETFAST_SHARED`). Without one there is nothing to test here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::{Assigned, Family, Numbers, Side, compile};
use crate::manifest;
use crate::model::{Endpoint, EndpointId, NamedPort, Protocol, World};

fn collection() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let root = std::env::var_os("NETFAST_SHARED").map_or(beside, PathBuf::from);
    let file = root.join("policy-cases/recipes.json");
    file.exists().then_some(file)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn protocol(value: &Value) -> Protocol {
    match text(value) {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        other => panic!("protocol {other}"),
    }
}

fn id(namespace: &str, name: &str) -> EndpointId {
    EndpointId { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() }
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), text(v).to_owned())).collect()
}

/// The world of a case and the addresses of its endpoints.
fn world(case: &Value, directory: &Path) -> (World, BTreeMap<EndpointId, Assigned>) {
    let mut world = World::default();
    let mut addresses = BTreeMap::new();
    for namespace in case["namespaces"].as_array().unwrap() {
        world.namespaces.insert(text(&namespace["name"]).parse().unwrap(), labels(&namespace["labels"]));
    }
    for endpoint in case["endpoints"].as_array().unwrap() {
        let id = id(text(&endpoint["namespace"]), text(&endpoint["name"]));
        let ports = endpoint["ports"].as_array().into_iter().flatten().map(|port| NamedPort {
            name: port["name"].as_str().map(str::to_owned),
            port: u16::try_from(port["port"].as_u64().unwrap()).unwrap(),
            protocol: protocol(&port["protocol"]),
        });
        let address = |field: &str| endpoint[field].as_str().map(|address| address.parse().unwrap());
        addresses.insert(
            id.clone(),
            Assigned {
                ip: address("ip")
                    .and_then(|ip| if let std::net::IpAddr::V4(ip) = ip { Some(ip) } else { None }),
                ip6: address("ip6")
                    .and_then(|ip| if let std::net::IpAddr::V6(ip) = ip { Some(ip) } else { None }),
            },
        );
        world.endpoints.insert(
            id.clone(),
            Endpoint {
                labels: labels(&endpoint["labels"]),
                ports: ports.collect(),
                ..Endpoint::new(id, "lab".parse().unwrap())
            },
        );
    }
    let policies = case["policies"].as_array().unwrap().iter().enumerate();
    let files: Vec<_> = policies
        .map(|(number, policy)| {
            let file = directory.join(format!("{number}.yaml"));
            std::fs::write(&file, text(policy)).unwrap();
            file
        })
        .collect();
    if !files.is_empty() {
        let loaded = manifest::load_policies(&files).unwrap_or_else(|e| panic!("{}: {e}", case["id"]));
        world.policies = loaded.policies;
        world.cluster_policies = loaded.cluster_policies;
        for (name, labels) in loaded.namespaces {
            world.namespaces.entry(name).or_default().extend(labels);
        }
    }
    (world, addresses)
}

fn side(name: &str, family: Family) -> Side {
    if let Some(address) = name.strip_prefix("ip:") {
        return Side::Outside(address.parse().unwrap());
    }
    let (namespace, name) = name.split_once('/').unwrap();
    Side::Endpoint(id(namespace, name), family)
}

#[test]
fn every_probe_of_the_collection_is_judged_as_expected() {
    let Some(file) = collection() else {
        println!("skipped: there is no collection of policy cases");
        return;
    };
    let document: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (mut judged, mut wrong) = (0, Vec::new());
    for case in document["cases"].as_array().unwrap() {
        let (world, addresses) = world(case, directory.path());
        let tables = compile(&world, &addresses, &Numbers::default(), usize::MAX).unwrap();
        for probe in case["probes"].as_array().unwrap() {
            let (from, to) = (text(&probe["from"]), text(&probe["to"]));
            // The node and an endpoint's traffic to itself are not for policies.
            if from == "node" || to == "node" || from == to {
                continue;
            }
            let family = if probe["family"].as_u64() == Some(6) { Family::V6 } else { Family::V4 };
            let port = u16::try_from(probe["port"].as_u64().unwrap()).unwrap();
            let explained = tables
                .verdict(&side(from, family), &side(to, family), protocol(&probe["protocol"]).number(), port)
                .unwrap();
            judged += 1;
            if explained.allowed != (text(&probe["expect"]) == "allow") {
                wrong.push(format!("{}: {probe} {explained:?}", case["id"]));
            }
        }
    }
    assert!(judged > 0, "the collection holds no probe");
    assert!(wrong.is_empty(), "{} of {judged} probes are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
