//! What container runtimes have attached: one small file each, in the run directory, as a reboot ends all containers.
//!
//! A file is complete once it is called `.json`. Before its endpoint is made, and while it is removed, it is called
//! `.part`: then it is no part of what the instance is asked for, and says what may be left of it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::definitions::{Definitions, Origin};
use super::records::{file_stem, is_record};
use super::{LockedStore, Result, Store, atomic, fault, last_addresses};
use crate::model::{Endpoint, Name, Network};

const ADVICE: &str =
    "have the container runtime remove the container, or `netfast down` everything; both work nevertheless";

/// What a file is called that is not complete.
const UNFINISHED: &str = "part";

/// What the file of a network is called that only attachments define.
const NETWORK: &str = "network";

/// What a container runtime tells attachments apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// The network.
    pub network: Name,
    /// The container's id: a letter or digit, then letters, digits, `_`, `.` and `-`.
    pub container: String,
    /// The name of the device inside the container.
    pub ifname: String,
}

impl AttachmentKey {
    /// Whether it is one, and safe as a file name.
    pub fn is_valid(&self) -> bool {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        self.container.starts_with(|c: char| c.is_ascii_alphanumeric())
            && self.container.chars().all(is_plain)
            && (1..=15).contains(&self.ifname.len())
            && !matches!(self.ifname.as_str(), "." | "..")
            && self.ifname.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
    }

    /// `+` stands in no name of a network and in no id of a container.
    fn stem(&self) -> String {
        file_stem(&format!("{}+{}+{}", self.network, self.container, self.ifname))
    }

    /// That of a file with this name, unless it was too long.
    fn of_file(name: &str) -> Option<Self> {
        let (network, rest) = Path::new(name).file_stem()?.to_str()?.split_once('+')?;
        let (container, ifname) = rest.split_once('+')?;
        let key = Self {
            network: network.parse().ok()?,
            container: container.to_owned(),
            ifname: ifname.to_owned(),
        };
        Some(key).filter(Self::is_valid)
    }
}

/// What a container runtime has asked for: one interface of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentRecord {
    /// What it is told apart by.
    pub key: AttachmentKey,
    /// The endpoint.
    pub endpoint: Endpoint,
}

impl Store {
    pub(super) fn attachments_dir(&self) -> PathBuf {
        self.paths().run_dir.join("attachments")
    }

    fn attachment_file(&self, key: &AttachmentKey, extension: &str) -> PathBuf {
        self.attachments_dir().join(format!("{}.{extension}", key.stem()))
    }

    fn network_file_of_attachments(&self, network: &Name) -> PathBuf {
        self.attachments_dir().join(format!("{}.{NETWORK}", file_stem(network.as_str())))
    }

    /// An attachment.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn attachment(&self, key: &AttachmentKey) -> Result<Option<AttachmentRecord>> {
        atomic::read(&self.attachment_file(key, "json"), ADVICE)
    }

    /// What is left of an attachment that was being made, or removed.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn unfinished_attachment(&self, key: &AttachmentKey) -> Result<Option<AttachmentRecord>> {
        atomic::read(&self.attachment_file(key, UNFINISHED), ADVICE)
    }

    /// All attachments.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged.
    pub fn attachments(&self) -> Result<Vec<AttachmentRecord>> {
        self.attachment_files(is_record)
    }

    /// The keys of all attachments, also of those that are not finished. Those of damaged files are known by their names.
    ///
    /// # Errors
    /// When the files cannot be listed.
    pub fn attachment_keys(&self) -> Result<Vec<AttachmentKey>> {
        let directory = self.attachments_dir();
        let names = atomic::list(&directory)?.into_iter();
        let names = names.filter(|name| is_record(name) || has_extension(name, UNFINISHED));
        let key = |name: String| match atomic::read::<AttachmentRecord>(&directory.join(&name), ADVICE) {
            Ok(record) => record.map(|record| record.key),
            Err(_) => AttachmentKey::of_file(&name),
        };
        let keys: BTreeSet<_> = names.filter_map(key).collect();
        Ok(keys.into_iter().collect())
    }

    fn attachment_files<T: serde::de::DeserializeOwned>(&self, is_asked: fn(&str) -> bool) -> Result<Vec<T>> {
        let directory = self.attachments_dir();
        let names = atomic::list(&directory)?.into_iter().filter(|name| is_asked(name));
        // One that is removed meanwhile is not there.
        names.filter_map(|name| atomic::read(&directory.join(name), ADVICE).transpose()).collect()
    }

    /// Whether any attachment is there, or was being made or removed.
    pub(super) fn has_attachments(&self) -> bool {
        atomic::list(&self.attachments_dir()).is_ok_and(|names| names.iter().any(|name| is_ours(name)))
    }

    /// Puts the attachments of this boot beside what is defined.
    pub(super) fn add_attachments(&self, definitions: &mut Definitions) -> Result<()> {
        if !self.has_attachments() || !self.instance()?.is_some_and(|i| i.is_of_this_boot().unwrap_or(true)) {
            return Ok(());
        }
        for network in self.attachment_files::<Network>(|name| has_extension(name, NETWORK))? {
            if !definitions.world.networks.contains_key(&network.name) {
                definitions.attached_networks.insert(network.name.clone());
                definitions.world.networks.insert(network.name.clone(), network);
            }
        }
        for record in self.attachments()? {
            let id = &record.endpoint.id;
            // A crash may have left one under a name that is another's by now.
            if !definitions.world.endpoints.contains_key(id) {
                definitions.world.endpoints.insert(id.clone(), record.endpoint.clone());
                definitions.origins.insert(id.clone(), Origin::Cni);
                definitions.attachments.push(record);
            }
        }
        Ok(())
    }
}

impl LockedStore {
    /// Notes an attachment that is to be made.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin_attachment(&self, record: &AttachmentRecord) -> Result<()> {
        atomic::write(&self.attachment_file(&record.key, UNFINISHED), record)
    }

    /// Writes down what has become of an attachment that is there.
    ///
    /// # Errors
    /// When the file cannot be written. The old one is there then.
    pub fn save_attachment(&self, record: &AttachmentRecord) -> Result<()> {
        atomic::write(&self.attachment_file(&record.key, "json"), record)
    }

    /// Notes that an attachment is made.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn finish_attachment(&self, key: &AttachmentKey) -> Result<()> {
        atomic::rename(&self.attachment_file(key, UNFINISHED), &self.attachment_file(key, "json"))
    }

    /// Notes that an attachment is to be removed.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn end_attachment(&self, key: &AttachmentKey) -> Result<()> {
        atomic::rename(&self.attachment_file(key, "json"), &self.attachment_file(key, UNFINISHED))
    }

    /// Forgets an attachment of which nothing is left.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn forget_attachment(&self, key: &AttachmentKey) -> Result<()> {
        for extension in ["json", UNFINISHED] {
            atomic::remove(&self.attachment_file(key, extension))?;
        }
        Ok(())
    }

    /// Forgets what was being made or removed, but for what `wanted` has by now.
    ///
    /// # Errors
    /// When a file cannot be read or removed.
    pub fn forget_unfinished(&self, wanted: &Definitions) -> Result<()> {
        let unfinished = self.attachment_files::<AttachmentRecord>(|name| has_extension(name, UNFINISHED))?;
        for record in unfinished {
            if !wanted.attachments.iter().any(|other| other.key == record.key) {
                atomic::remove(&self.attachment_file(&record.key, UNFINISHED))?;
            }
        }
        Ok(())
    }

    /// Writes down the attachments and their networks where they are not as in `before`.
    pub(super) fn save_attachments(&self, now: &Definitions, before: &Definitions) -> Result<()> {
        for name in &now.attached_networks {
            let network = now.world.networks.get(name);
            let known = before.attached_networks.contains(name);
            let file = self.network_file_of_attachments(name);
            // One that other endpoints brought back after a boot is known, and has no file.
            let is_there = known && file.exists();
            if let Some(network) = network
                && !(is_there && before.world.networks.get(name) == Some(network))
            {
                atomic::write(&file, network)?;
            }
        }
        for record in now.attachments.iter().filter(|record| !before.attachments.contains(record)) {
            self.save_attachment(record)?;
            atomic::remove(&self.attachment_file(&record.key, UNFINISHED))?;
        }
        let keys: BTreeSet<_> = now.attachments.iter().map(|record| &record.key).collect();
        for record in before.attachments.iter().filter(|record| !keys.contains(&record.key)) {
            self.forget_attachment(&record.key)?;
        }
        for name in before.attached_networks.difference(&now.attached_networks) {
            atomic::remove(&self.network_file_of_attachments(name))?;
        }
        Ok(())
    }

    /// Removes all attachments, damaged ones too.
    pub(super) fn remove_attachments(&self) -> Result<()> {
        let directory = self.attachments_dir();
        let mut result = Ok(());
        for name in atomic::list(&directory)?.into_iter().filter(|name| is_ours(name)) {
            fault::point("remove an attachment's file");
            result = result.and(atomic::remove(&directory.join(name)).map(drop));
        }
        result
    }
}

fn is_ours(name: &str) -> bool {
    is_record(name)
        || [UNFINISHED, NETWORK, last_addresses::EXTENSION]
            .iter()
            .any(|extension| has_extension(name, extension))
}

fn has_extension(name: &str, extension: &str) -> bool {
    !name.starts_with('.') && Path::new(name).extension() == Some(OsStr::new(extension))
}
