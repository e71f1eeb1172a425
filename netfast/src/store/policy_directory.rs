//! A directory of policies that container runtimes were told of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Definitions;
use crate::model::{ClusterPolicy, Labels, Name, Policy, Source, World};

/// A directory whose policies are in force. They are those whose source lies in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDirectory {
    /// The directory.
    pub path: PathBuf,
    /// What its files were when they were read.
    pub digest: String,
    /// The namespaces whose labels are from there.
    pub namespaces: BTreeSet<Name>,
}

impl Definitions {
    /// Puts what a directory of policies says in the place of what the last one said. Namespaces that others gave labels
    /// keep theirs.
    pub fn replace_directory(
        &mut self,
        path: &Path,
        digest: String,
        policies: Vec<Policy>,
        cluster_policies: Vec<ClusterPolicy>,
        namespaces: BTreeMap<Name, Labels>,
    ) {
        let old = self.policy_directory.take();
        let mut directory = PolicyDirectory { path: path.to_owned(), digest, namespaces: BTreeSet::new() };
        let is_replaced = |source: &Source| {
            directory.holds(source) || old.as_ref().is_some_and(|directory| directory.holds(source))
        };
        let world = &mut self.world;
        world.policies.retain(|policy| !is_replaced(&policy.source));
        world.cluster_policies.retain(|policy| !is_replaced(&policy.source));
        world.policies.extend(policies);
        world.cluster_policies.extend(cluster_policies);
        for namespace in old.iter().flat_map(|directory| &directory.namespaces) {
            world.namespaces.remove(namespace);
        }
        for (name, labels) in namespaces {
            if !world.namespaces.contains_key(&name) {
                directory.namespaces.insert(name.clone());
                world.namespaces.insert(name, labels);
            }
        }
        self.policy_directory = Some(directory);
    }

    /// Takes what the directory of policies says along into `world`, which is to come into the place of what is defined.
    /// What `world` says itself counts more.
    pub fn keep_directory(&mut self, world: &mut World) {
        let Some(directory) = &mut self.policy_directory else { return };
        let old = &self.world;
        if !world.policies.iter().any(|policy| directory.holds(&policy.source)) {
            let kept = old.policies.iter().filter(|policy| directory.holds(&policy.source));
            world.policies.extend(kept.cloned());
        }
        if !world.cluster_policies.iter().any(|policy| directory.holds(&policy.source)) {
            let kept = old.cluster_policies.iter().filter(|policy| directory.holds(&policy.source));
            world.cluster_policies.extend(kept.cloned());
        }
        directory.namespaces.retain(|namespace| !world.namespaces.contains_key(namespace));
        for namespace in &directory.namespaces {
            if let Some(labels) = old.namespaces.get(namespace) {
                world.namespaces.insert(namespace.clone(), labels.clone());
            }
        }
    }
}

impl PolicyDirectory {
    fn holds(&self, source: &Source) -> bool {
        Path::new(&source.file).parent() == Some(&self.path)
    }
}
