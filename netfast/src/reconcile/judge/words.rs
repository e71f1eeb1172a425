//! Rules in words.

use crate::model::{Name, Operator, Peer, PortMatch, Ports, Requirement, Rule, Selector};

/// The peers of a rule, in a policy of `namespace` or of the cluster.
pub(super) fn peers(rule: &Rule, namespace: Option<&Name>) -> String {
    let Some(peers) = &rule.peers else { return "everybody".to_owned() };
    let peers: Vec<_> = peers.iter().map(|own| peer(own, namespace)).collect();
    peers.join(", ")
}

fn peer(peer: &Peer, namespace: Option<&Name>) -> String {
    match peer {
        Peer::Block { cidr, except } if except.is_empty() => cidr.to_string(),
        Peer::Block { cidr, except } => {
            let holes: Vec<_> = except.iter().map(ToString::to_string).collect();
            format!("{cidr} except {}", holes.join(" and "))
        }
        Peer::Endpoints { namespaces, endpoints } => {
            let place = match namespaces {
                None => {
                    namespace.map_or_else(|| "no namespace".to_owned(), |name| format!("namespace {name}"))
                }
                Some(selector) if selector.requirements.is_empty() => "all namespaces".to_owned(),
                Some(selector) => format!("namespaces with {}", requirements(selector)),
            };
            if endpoints.requirements.is_empty() {
                format!("endpoints of {place}")
            } else {
                format!("endpoints with {} of {place}", requirements(endpoints))
            }
        }
    }
}

fn requirements(selector: &Selector) -> String {
    selector.requirements.iter().map(requirement).collect::<Vec<_>>().join(" and ")
}

fn requirement(Requirement { key, operator }: &Requirement) -> String {
    let list = |values: &std::collections::BTreeSet<String>, word: &str, sign: &str| {
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        match values.as_slice() {
            [one] => format!("{key}{sign}{one}"),
            several => format!("{key} {word} ({})", several.join(", ")),
        }
    };
    match operator {
        Operator::In(values) => list(values, "in", "="),
        Operator::NotIn(values) => list(values, "not in", "!="),
        Operator::Exists => format!("a label {key}"),
        Operator::DoesNotExist => format!("no label {key}"),
    }
}

/// The ports of a rule.
pub(super) fn ports(rule: &Rule) -> String {
    let Some(ports) = &rule.ports else { return "any".to_owned() };
    let port = |PortMatch { protocol, ports }: &PortMatch| match ports {
        Ports::Any => protocol.to_string(),
        Ports::Range(range) => format!("{range}/{protocol}"),
        Ports::Named(name) => format!("{name}/{protocol}"),
    };
    ports.iter().map(port).collect::<Vec<_>>().join(", ")
}
