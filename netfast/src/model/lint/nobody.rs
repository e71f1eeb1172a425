//! Selectors that select nobody.

use super::resemblance::{Population, resembling, slip};
use super::{Chapter, Finding, Lint, chapters, cover};
use crate::model::{Endpoint, Labels, NAMESPACE_NAME_LABEL, Name, Operator, Peer, Policy, Selector, World};

/// Where all endpoints are known.
pub(super) fn look(world: &World, found: &mut Vec<Finding>) {
    let namespaces = namespaces(world);
    for policy in &world.policies {
        look_at_subject(world, policy, &namespaces, found);
        for Chapter { rules, peers: field, .. } in chapters(policy) {
            for rule in rules {
                for (index, peer) in rule.peers.iter().flatten().enumerate() {
                    if let Some((lint, message, help)) = look_at_peer(world, policy, peer, &namespaces) {
                        let mut finding =
                            Finding::new(lint, &rule.source, format!("{field}[{index}] {message}"));
                        finding.help = help;
                        found.push(finding);
                    }
                }
            }
        }
    }
}

/// Where only the namespaces of files are known. There may be others, so only what looks like a slip of the pen counts: a
/// key that is almost one that is there.
pub(super) fn look_at_namespaces(world: &World, found: &mut Vec<Finding>) {
    if world.namespaces.is_empty() {
        return;
    }
    let namespaces = namespaces(world);
    for policy in &world.policies {
        for Chapter { rules, peers: field, .. } in chapters(policy) {
            for rule in rules {
                for (index, peer) in rule.peers.iter().flatten().enumerate() {
                    let Peer::Endpoints { namespaces: Some(selector), .. } = peer else { continue };
                    if cover::is_impossible(selector)
                        || namespaces.iter().any(|(_, labels)| selector.matches(labels))
                    {
                        continue;
                    }
                    let population = Population::new(namespaces.iter().map(|(_, labels)| labels));
                    let Some(help) = slip(selector, &population) else { continue };
                    let message = format!(
                        "{field}[{index}]: the namespaceSelector matches no namespace of these files"
                    );
                    found.push(Finding::new(Lint::NamespaceUnknown, &rule.source, message).help(help));
                }
            }
        }
    }
}

/// The namespaces that anything names, with their labels.
fn namespaces(world: &World) -> Vec<(Name, Labels)> {
    let mut names: Vec<&Name> = world
        .namespaces
        .keys()
        .chain(world.endpoints.keys().map(|id| &id.namespace))
        .chain(world.policies.iter().map(|policy| &policy.namespace))
        .collect();
    names.sort();
    names.dedup();
    names.into_iter().map(|name| (name.clone(), world.namespace_labels(name))).collect()
}

fn look_at_subject(world: &World, policy: &Policy, namespaces: &[(Name, Labels)], found: &mut Vec<Finding>) {
    if cover::is_impossible(&policy.selector) {
        return;
    }
    let here: Vec<&Endpoint> =
        world.endpoints.values().filter(|endpoint| endpoint.id.namespace == policy.namespace).collect();
    if here.iter().any(|endpoint| policy.selector.matches(&endpoint.labels)) {
        return;
    }
    let Policy { namespace, name, .. } = policy;
    let finding = if here.is_empty() {
        let populated = |name: &Name| world.endpoints.keys().any(|id| id.namespace == *name);
        // A namespace that is declared may be filled later.
        if world.namespaces.contains_key(namespace) {
            return;
        }
        let message =
            format!("policy {namespace}/{name} concerns nobody: no endpoint is in namespace {namespace}");
        let finding = Finding::new(Lint::SelectsNobody, &policy.source, message);
        let known: Vec<&str> = namespaces
            .iter()
            .map(|(name, _)| name)
            .filter(|name| populated(name))
            .map(Name::as_str)
            .collect();
        match known.as_slice() {
            [] => finding,
            known => finding.help(format!("endpoints are in {}", known.join(", "))),
        }
    } else {
        let message = format!("policy {namespace}/{name} selects no endpoint");
        let finding = Finding::new(Lint::SelectsNobody, &policy.source, message);
        let population = Population::new(here.iter().map(|endpoint| &endpoint.labels));
        match resembling(&policy.selector, &population) {
            Some(help) => finding.help(help),
            None => finding,
        }
    };
    found.push(finding);
}

/// What is wrong with a peer, and what to try.
fn look_at_peer(
    world: &World,
    policy: &Policy,
    peer: &Peer,
    namespaces: &[(Name, Labels)],
) -> Option<(Lint, String, Option<String>)> {
    let Peer::Endpoints { namespaces: selector, endpoints } = peer else { return None };
    if cover::is_impossible(endpoints) || selector.as_ref().is_some_and(cover::is_impossible) {
        return None;
    }
    let chosen: Vec<&Name> = match selector {
        None => vec![&policy.namespace],
        Some(selector) => {
            namespaces.iter().filter(|(_, labels)| selector.matches(labels)).map(|(name, _)| name).collect()
        }
    };
    if let (Some(selector), true) = (selector, chosen.is_empty()) {
        let population = Population::new(namespaces.iter().map(|(_, labels)| labels));
        let help = resembling(selector, &population).or_else(|| by_name(selector, namespaces));
        let message = "matches nobody: there is no such namespace".to_owned();
        return Some((Lint::NamespaceUnknown, message, help));
    }
    let there: Vec<&Endpoint> =
        world.endpoints.values().filter(|endpoint| chosen.contains(&&endpoint.id.namespace)).collect();
    if there.is_empty() || there.iter().any(|endpoint| endpoints.matches(&endpoint.labels)) {
        return None;
    }
    let help = resembling(endpoints, &Population::new(there.iter().map(|endpoint| &endpoint.labels)));
    // The classic: a namespace was forgotten.
    let elsewhere = || {
        let other = world.endpoints.values().find(|endpoint| endpoints.matches(&endpoint.labels))?;
        (!endpoints.requirements.is_empty() && selector.is_none())
            .then(|| format!("{} matches, in another namespace: add a namespaceSelector", other.id))
    };
    Some((Lint::PeerMatchesNobody, "matches no endpoint".to_owned(), elsewhere().or(help)))
}

/// The names of namespaces, where one was asked for by name.
fn by_name(selector: &Selector, namespaces: &[(Name, Labels)]) -> Option<String> {
    let asked = selector
        .requirements
        .iter()
        .any(|r| r.key == NAMESPACE_NAME_LABEL && matches!(r.operator, Operator::In(_)));
    let names: Vec<&str> = namespaces.iter().map(|(name, _)| name.as_str()).collect();
    (asked && names.len() <= 8).then(|| format!("known: {}", names.join(", ")))
}
