//! What an instance was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AttachmentRecord, LockedStore, Result, Store, StoreError, atomic};
use crate::model::{ClusterPolicy, EndpointId, Labels, Name, Policy, Source, World};

/// Version of the file's form.
pub const SCHEMA: u32 = 1;

const ADVICE: &str = "nothing was changed; restore it, or move it away and run `netfast up` again";

/// What an instance was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions {
    /// The world.
    pub world: World,
    /// Where each endpoint comes from, which decides what may remove it.
    #[serde(with = "as_list")]
    pub origins: BTreeMap<EndpointId, Origin>,
    /// What container runtimes have attached: endpoints of [`Origin::Cni`].
    #[serde(default)]
    pub attachments: Vec<AttachmentRecord>,
    /// Sources whose packets are dropped at the uplinks.
    #[serde(default)]
    pub deny: BTreeSet<IpNet>,
    /// The manifest the instance was set up with.
    #[serde(default)]
    pub manifest: Option<PathBuf>,
    /// The directory of policies that container runtimes were last told of.
    #[serde(default)]
    pub policy_directory: Option<PolicyDirectory>,
    /// The policy files given beside the manifest, in their order.
    #[serde(default)]
    pub policy_files: Vec<PathBuf>,
}

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

/// Where an endpoint comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The manifest.
    File,
    /// A command, such as `netfast endpoint add`.
    Command,
    /// A container runtime, through the CNI plugin.
    Cni,
}

/// The file: the schema stands first and is looked at before anything else.
#[derive(Serialize)]
struct Written<'a> {
    schema: u32,
    #[serde(flatten)]
    definitions: &'a Definitions,
}

#[derive(Deserialize)]
struct SchemaOnly {
    schema: u64,
}

impl Store {
    pub(super) fn definitions_file(&self) -> PathBuf {
        self.paths().state_dir.join("definitions.json")
    }

    /// What the instance was asked for; nothing where it was asked for nothing yet.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged or of another schema. It is never changed by that.
    pub fn definitions(&self) -> Result<Definitions> {
        let path = self.definitions_file();
        let Some(bytes) = atomic::read_bytes(&path)? else { return Ok(Definitions::default()) };
        let corrupt = |source| StoreError::Corrupt { path: path.clone(), advice: ADVICE, source };
        let SchemaOnly { schema } = serde_json::from_slice(&bytes).map_err(corrupt)?;
        if schema != u64::from(SCHEMA) {
            return Err(StoreError::Schema { path, found: schema, known: SCHEMA });
        }
        serde_json::from_slice(&bytes).map_err(corrupt)
    }
}

impl LockedStore {
    /// Replaces what the instance is asked for.
    ///
    /// # Errors
    /// When the file cannot be written. The old one is there then.
    pub fn save_definitions(&self, definitions: &Definitions) -> Result<()> {
        atomic::write(&self.definitions_file(), &Written { schema: SCHEMA, definitions })
    }

    /// Forgets what the instance was asked for. Says whether there was anything.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove_definitions(&self) -> Result<bool> {
        atomic::remove(&self.definitions_file())
    }
}

/// JSON has no map with structured keys.
mod as_list {
    use super::{BTreeMap, Deserialize, EndpointId, Origin, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Entry {
        endpoint: EndpointId,
        origin: Origin,
    }

    pub(super) fn serialize<S: serde::Serializer>(
        origins: &BTreeMap<EndpointId, Origin>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(origins.iter().map(|(id, origin)| Entry { endpoint: id.clone(), origin: *origin }))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<EndpointId, Origin>, D::Error> {
        let list = Vec::<Entry>::deserialize(deserializer)?;
        Ok(list.into_iter().map(|entry| (entry.endpoint, entry.origin)).collect())
    }
}
