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
use super::lint;
use super::yaml::{Document, Pos, Report, parse_each};
use crate::model::lint::{Finding, Lint};
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
    /// Where policies have their names that say no namespace.
    implied: Vec<(String, Pos)>,
    /// The first namespace but `default` that a policy says.
    said: Option<Name>,
}

impl Objects {
    /// Reads one file and returns what there is to say about it.
    pub(super) fn read(&mut self, file: &str, text: &str) -> Vec<Diagnostic> {
        let mut report = Report::new(file, text);
        report.set_shapes(hints::shape);
        let documents = parse_each(text, &mut report);
        let has_content = |document: &&Document| !matches!(document, Document::Whole(node) if node.is_null());
        let several = documents.iter().filter(has_content).count() > 1;
        let mut is_empty = true;
        for (index, document) in documents.iter().enumerate() {
            match document {
                Document::Broken => is_empty = false,
                Document::Whole(node) if node.is_null() => {}
                Document::Whole(node) => {
                    if several {
                        report.set_scope(document::scope(index + 1, node));
                    }
                    is_empty &= !document::read(node, self, &mut report);
                }
            }
        }
        report.set_scope(String::new());
        if is_empty && report.errors() == 0 {
            let help = "no policy allows everything; for that, leave the file out";
            report.empty("there is no policy in this file", help);
        }
        report.finish()
    }

    /// Remembers whether a policy says its namespace.
    fn note_namespace(&mut self, is_explicit: bool, namespace: &Name, at: Pos, report: &Report) {
        if !is_explicit {
            self.implied.push((report.file().to_owned(), at));
        } else if self.said.is_none() && namespace.as_str() != "default" {
            self.said = Some(namespace.clone());
        }
    }

    /// Policies that say no namespace, where others do.
    pub(super) fn without_namespace(&self) -> Vec<Diagnostic> {
        let Some(other) = &self.said else { return Vec::new() };
        let warn = |(file, at): &(String, Pos)| {
            let at = Source { file: file.clone(), line: at.line };
            Diagnostic::from(Finding {
                lint: Lint::MissingNamespace,
                at,
                message: "metadata: no namespace, so this is a policy of default".to_owned(),
                help: Some(format!(
                    "others here say theirs, like {other}: write namespace: default if that is meant"
                )),
            })
        };
        self.implied.iter().map(warn).map(lint::with_excerpt).collect()
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
            report.warning(Lint::SamePriority, at, message, "give one of them another priority".to_owned());
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
