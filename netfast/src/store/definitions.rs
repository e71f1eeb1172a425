//! What an instance was asked for: a file of all of it, and what has become of single endpoints since it was written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::atomic::{self, Prepared};
use super::stamp::Stamp;
use super::{AttachmentRecord, LockedStore, PolicyDirectory, Result, Store, StoreError, amendments};
use crate::model::{EndpointId, Name, Network, World};

/// Version of the file's form.
pub const SCHEMA: u32 = 2;

/// The oldest one that is understood: it is the same, but for amendments, of which there were none.
const OLDEST_SCHEMA: u64 = 1;

const ADVICE: &str = "nothing was changed; restore it with the directory `amendments` beside it, or move both away and run `netfast up` again";

/// What an instance was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions {
    /// Tells this writing of the file from every other one: amendments are of one. Empty: it was never written.
    #[serde(default)]
    pub writing: String,
    /// The world.
    pub world: World,
    /// Where each endpoint comes from, which decides what may remove it.
    #[serde(with = "as_list")]
    pub origins: BTreeMap<EndpointId, Origin>,
    /// What container runtimes have attached: endpoints of [`Origin::Cni`]. They are kept in files of their own, and a
    /// reboot voids them.
    #[serde(skip)]
    pub attachments: Vec<AttachmentRecord>,
    /// The networks that only container runtimes have asked for, kept like that.
    #[serde(skip)]
    pub attached_networks: BTreeSet<Name>,
    /// Those of them that other endpoints are in, as they were when the file was written: these endpoints are there after a
    /// reboot, and need their networks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub joined_networks: BTreeMap<Name, Network>,
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

impl Definitions {
    /// Has the attachments follow their endpoints, which a command may have removed or labelled.
    pub fn follow_attachments(&mut self) {
        let (endpoints, origins) = (&self.world.endpoints, &self.origins);
        self.attachments.retain_mut(|record| {
            let id = &record.endpoint.id;
            let endpoint = endpoints.get(id).filter(|_| origins.get(id) == Some(&Origin::Cni));
            if let Some(endpoint) = endpoint.filter(|endpoint| **endpoint != record.endpoint) {
                record.endpoint = endpoint.clone();
            }
            endpoint.is_some()
        });
        self.attached_networks.retain(|name| self.world.networks.contains_key(name));
    }

    /// Brings back networks that endpoints are in, and of which no container runtime has told since the boot.
    fn rejoin(&mut self) {
        let World { endpoints, networks, .. } = &mut self.world;
        for name in endpoints.values().map(|endpoint| &endpoint.network) {
            if !networks.contains_key(name)
                && let Some(network) = self.joined_networks.get(name)
            {
                networks.insert(name.clone(), network.clone());
                self.attached_networks.insert(name.clone());
            }
        }
    }

    /// The networks that only container runtimes have asked for, and that other endpoints are in.
    fn joined(&self) -> BTreeMap<Name, Network> {
        let own = self.world.endpoints.values().filter(|e| self.origins.get(&e.id) != Some(&Origin::Cni));
        let joined = own.filter(|endpoint| self.attached_networks.contains(&endpoint.network));
        let networks = joined.filter_map(|endpoint| self.world.networks.get_key_value(&endpoint.network));
        networks.map(|(name, network)| (name.clone(), network.clone())).collect()
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

    /// What tells the definitions with their amendments from others; `None`: there are none.
    pub(super) fn stamp_of_definitions(&self) -> Result<Option<Stamp>> {
        Stamp::of_file_and_directory(&self.definitions_file(), &self.amendments_dir())
    }

    /// What the instance was asked for, with what container runtimes have attached; nothing where it was asked for nothing yet.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged or of another schema. It is never changed by that.
    pub fn definitions(&self) -> Result<Definitions> {
        let path = self.definitions_file();
        loop {
            let stamp = self.stamp_of_definitions()?;
            let Some(mut definitions) = read(&path)? else {
                return Ok(Definitions::default());
            };
            self.amend(&mut definitions)?;
            // Without the lock, some may be of another moment than the others.
            if self.stamp_of_definitions()? == stamp {
                self.add_attachments(&mut definitions)?;
                definitions.rejoin();
                return Ok(definitions);
            }
        }
    }
}

/// What stands in the file; `None`: there is none.
fn read(path: &Path) -> Result<Option<Definitions>> {
    let Some(bytes) = atomic::read_bytes(path)? else { return Ok(None) };
    let corrupt = |source| StoreError::Corrupt { path: path.to_owned(), advice: ADVICE, source };
    let SchemaOnly { schema } = serde_json::from_slice(&bytes).map_err(corrupt)?;
    if !(OLDEST_SCHEMA..=u64::from(SCHEMA)).contains(&schema) {
        return Err(StoreError::Schema { path: path.to_owned(), found: schema, known: SCHEMA });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(corrupt)
}

/// What goes into the file.
fn kept(definitions: &Definitions) -> Definitions {
    let mut kept = Definitions { joined_networks: definitions.joined(), ..definitions.clone() };
    kept.world.networks.retain(|name, _| !definitions.attached_networks.contains(name));
    kept.world.endpoints.retain(|id, _| definitions.origins.get(id) != Some(&Origin::Cni));
    kept.origins.retain(|_, origin| *origin != Origin::Cni);
    kept.attachments.clear();
    kept.attached_networks.clear();
    kept
}

impl LockedStore {
    /// Writes down what the instance is to be asked for, without asking for it yet: where there is no room for that, nothing
    /// need be tried. `before` is what it was asked for until now; where no more than attachments differ, nothing is written,
    /// else this is another writing of the file, and `definitions` say so.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prepare_definitions(
        &self,
        definitions: &mut Definitions,
        before: &Definitions,
    ) -> Result<Prepared> {
        let mut kept = kept(definitions);
        if !definitions.writing.is_empty() && kept == self::kept(before) {
            return Ok(Prepared::nothing());
        }
        definitions.writing = amendments::new_writing()?;
        kept.writing.clone_from(&definitions.writing);
        Prepared::json(&self.definitions_file(), &Written { schema: SCHEMA, definitions: &kept })
    }

    /// Replaces what the instance is asked for by what was prepared. `before` is what it was asked for until now.
    ///
    /// # Errors
    /// When a file cannot be written. The old one is there then.
    pub fn save_definitions(
        &self,
        prepared: Prepared,
        definitions: &Definitions,
        before: &Definitions,
    ) -> Result<()> {
        self.save_attachments(definitions, before)?;
        if prepared.is_nothing() {
            return Ok(());
        }
        prepared.put()?;
        // They are in there, and void beside it. Those that stay are void too, and the next one to write removes them.
        if let Err(error) = self.remove_amendments() {
            tracing::warn!(%error, "what was amended before stays behind");
        }
        Ok(())
    }

    /// Forgets what the instance was asked for. Says whether there was anything.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove_definitions(&self) -> Result<bool> {
        let removed = atomic::remove(&self.definitions_file())?;
        self.remove_amendments()?;
        Ok(removed)
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
