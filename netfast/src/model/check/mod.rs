//! What must hold between the parts of a world.

mod endpoint;
mod network;
mod publish;
pub(crate) mod special;

use std::collections::BTreeMap;
use std::fmt;

pub use self::network::MAX_ENDPOINTS;
use super::{ClusterPolicy, EndpointId, Name, Policy, World};

/// What a [`Problem`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A network.
    Network(Name),
    /// An endpoint.
    Endpoint(EndpointId),
    /// A policy, by namespace and name.
    Policy(Name, Name),
    /// A policy of the cluster.
    ClusterPolicy(Name),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(name) => write!(f, "network {name}"),
            Self::Endpoint(id) => write!(f, "endpoint {id}"),
            Self::Policy(namespace, name) => write!(f, "policy {namespace}/{name}"),
            Self::ClusterPolicy(name) => write!(f, "cluster policy {name}"),
        }
    }
}

/// Something that keeps a world from being built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is about.
    pub subject: Subject,
    /// The field of the subject, as files call it; empty: the subject as a whole.
    pub field: &'static str,
    /// Which item of the field, where that is a list.
    pub index: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub help: Option<String>,
}

impl Problem {
    fn new(subject: &Subject, field: &'static str, message: impl Into<String>) -> Self {
        Self { subject: subject.clone(), field, index: None, message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What is wrong, with the subject and the field before it.
    pub fn sentence(&self) -> String {
        let Self { subject, field, index, message, help: _ } = self;
        match (field.is_empty(), index) {
            (true, _) => format!("{subject}: {message}"),
            (false, None) => format!("{subject}: {field}: {message}"),
            (false, Some(index)) => format!("{subject}: {field}[{index}]: {message}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Everything that keeps a world from being built: networks first, then endpoints, published ports and policies.
pub fn check(world: &World) -> Vec<Problem> {
    let mut problems = network::check(world);
    problems.extend(endpoint::check(world));
    problems.extend(publish::check(world));
    problems.extend(policies(world));
    problems
}

/// No two policies of a namespace, and no two of the cluster, have one name.
fn policies(world: &World) -> Vec<Problem> {
    let named = |p: &Policy| (Subject::Policy(p.namespace.clone(), p.name.clone()), p.source.clone());
    let of_cluster = |p: &ClusterPolicy| (Subject::ClusterPolicy(p.name.clone()), p.source.clone());
    let all = world.policies.iter().map(named).chain(world.cluster_policies.iter().map(of_cluster));
    let mut first = BTreeMap::new();
    let mut problems = Vec::new();
    for (subject, source) in all {
        if let Some(earlier) = first.insert(subject.clone(), source.clone()) {
            let message = format!("it is there twice: {earlier} and {source}");
            problems.push(Problem::new(&subject, "", message).help("give one of them another name"));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
