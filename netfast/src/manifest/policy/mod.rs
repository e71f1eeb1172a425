//! Kubernetes manifests: `NetworkPolicy`, `ClusterNetworkPolicy`, and `Namespace` for its labels.

mod cluster;
mod cluster_peer;
mod cluster_port;
mod document;
mod hints;
mod meta;
mod peer;
mod port;
mod rule;
mod selector;
mod spec;

use std::collections::BTreeMap;

use super::diagnostic::Diagnostic;
use super::yaml::{Pos, Report, parse};
use crate::model::{ClusterPolicy, Labels, Name, Policy, Source, Tier};

/// What was read from all files so far.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) policies: Vec<Policy>,
    pub(super) cluster_policies: Vec<ClusterPolicy>,
    pub(super) namespaces: BTreeMap<Name, (Labels, Source)>,
    /// Kinds of objects that nobody here reads, once for each object.
    pub(super) unknown: Vec<String>,
    /// Where policies have their names, those with mistakes too.
    seen: BTreeMap<(Name, Name), Source>,
    /// The same of those of the cluster.
    seen_of_cluster: BTreeMap<Name, Source>,
    /// Which policy of the cluster was the first of its tier with a priority.
    priorities: BTreeMap<(Tier, u16), (Name, Source)>,
}

impl Objects {
    /// Reads one file and returns what there is to say about it.
    pub(super) fn read(&mut self, file: &str, text: &str) -> Vec<Diagnostic> {
        let mut report = Report::new(file, text);
        let Some(documents) = parse(text, &mut report) else { return report.finish() };
        let several = documents.iter().filter(|document| !document.is_null()).count() > 1;
        let mut empty = true;
        for (index, node) in documents.iter().enumerate().filter(|(_, node)| !node.is_null()) {
            empty = false;
            if several {
                report.set_scope(document::scope(index + 1, node));
            }
            document::read(node, self, &mut report);
        }
        report.set_scope(String::new());
        if empty {
            let help = "no policy allows everything; for that, leave the file out";
            report.error_help(Pos::START, "there is no policy in this file", help);
        }
        report.finish()
    }

    /// Keeps a policy, unless there is one of its name.
    fn add_policy(&mut self, policy: Policy, at: Pos, report: &mut Report) {
        let key = (policy.namespace.clone(), policy.name.clone());
        let place = Source { file: report.file().to_owned(), line: at.line };
        if let Some(first) = self.seen.get(&key) {
            let first = near(first, report);
            let message = format!("policy {}/{} is there twice: here and {first}", key.0, key.1);
            report.error_help(at, message, "give one of them another name");
        } else {
            self.seen.insert(key, place);
            self.policies.push(policy);
        }
    }

    /// Keeps a policy of the cluster, unless there is one of its name.
    fn add_cluster_policy(&mut self, policy: ClusterPolicy, at: Pos, report: &mut Report) {
        let place = Source { file: report.file().to_owned(), line: at.line };
        if let Some(first) = self.seen_of_cluster.get(&policy.name) {
            let first = near(first, report);
            let message = format!("cluster policy {} is there twice: here and {first}", policy.name);
            report.error_help(at, message, "give one of them another name");
            return;
        }
        let ClusterPolicy { tier, priority, name, .. } = &policy;
        if let Some((other, other_place)) = self.priorities.get(&(*tier, *priority)) {
            let message = format!(
                "cluster policies {other} ({}) and {name} both have priority {priority} in tier {tier}; where both \
                 speak of a connection the one whose name is first in the alphabet is asked first",
                near(other_place, report)
            );
            report.warning(at, message, "give one of them another priority".to_owned());
        } else {
            self.priorities.insert((*tier, *priority), (name.clone(), place.clone()));
        }
        self.seen_of_cluster.insert(name.clone(), place);
        self.cluster_policies.push(policy);
    }

    /// Keeps the labels of a namespace, unless it has some.
    fn add_namespace(&mut self, name: Name, labels: Labels, at: Pos, report: &mut Report) {
        if let Some((_, first)) = self.namespaces.get(&name) {
            let message = format!("namespace {name} is there twice: here and {}", near(first, report));
            report.error_help(at, message, "put all its labels in one place");
        } else {
            let place = Source { file: report.file().to_owned(), line: at.line };
            self.namespaces.insert(name, (labels, place));
        }
    }
}

/// A place, without the name of the file if that is the one being read.
fn near(place: &Source, report: &Report) -> String {
    if place.file == report.file() { format!("on line {}", place.line) } else { format!("at {place}") }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wrong;
