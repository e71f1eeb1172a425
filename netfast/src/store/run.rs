//! What concerns the running instance as a whole.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{LockedStore, Result, Store, StoreError, atomic};

const ADVICE: &str =
    "take the instance down with `netfast down`, which works nevertheless, and set it up again";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsId {
    /// Its cookie, which no other namespace gets until the next boot.
    pub cookie: u64,
    /// Device number of the file that stands for it.
    pub dev: u64,
    /// Inode number of that file, which is used again once the namespace is gone.
    pub ino: u64,
}

/// Where fragments are put in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefragRecord {
    /// Name of the device that leads there.
    pub device: String,
    /// Its index, once all is made.
    pub ifindex: Option<u32>,
    /// The namespace.
    pub netns: PathBuf,
    /// Device and inode number of the namespace, once all is made.
    pub netns_inode: Option<(u64, u64)>,
    /// What is set up inside, once all is made, as the namespace tells it.
    #[serde(default)]
    pub state: Vec<String>,
}

/// The running instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The namespace it was set up in, and the only one it works in.
    pub netns: NetnsId,
    /// The boot it was set up in: a run directory that outlived it tells of nothing that is still there.
    pub boot_id: String,
    /// When it was set up, in seconds since 1970.
    pub created: u64,
    /// The control group the instance was last told to serve; `None`: the root of all.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// Where fragments are put in order; `None`: nowhere.
    #[serde(default)]
    pub defrag: Option<DefragRecord>,
    next_incarnation: u32,
    next_network: u32,
}

impl Instance {
    /// A new instance in this namespace.
    ///
    /// # Errors
    /// When the kernel does not tell the boot.
    pub fn new(netns: NetnsId) -> Result<Self> {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Ok(Self {
            netns,
            boot_id: boot_id()?,
            created,
            cgroup: None,
            defrag: None,
            next_incarnation: 1,
            next_network: 1,
        })
    }

    /// What a file without content tells of: as nothing in the run directory is synced, a file system may have noted the
    /// file and not what was in it when the machine crashed. Nothing else leaves such a one.
    fn of_a_crashed_machine() -> Self {
        Self {
            netns: NetnsId { cookie: 0, dev: 0, ino: 0 },
            boot_id: String::new(),
            created: 0,
            cgroup: None,
            defrag: None,
            next_incarnation: 1,
            next_network: 1,
        }
    }

    /// Whether it was set up since the last boot.
    ///
    /// # Errors
    /// When the kernel does not tell the boot.
    pub fn is_of_this_boot(&self) -> Result<bool> {
        Ok(self.boot_id == boot_id()?)
    }

    /// A number for a new endpoint's or published port's life. Save the instance before using it, as it must never
    /// be given twice. 0 stands for none.
    ///
    /// # Errors
    /// When there are none left.
    pub fn take_incarnation(&mut self) -> Result<u32> {
        take(&mut self.next_incarnation, "incarnation")
    }

    /// A number for a new network, under the same conditions.
    ///
    /// # Errors
    /// When there are none left.
    pub fn take_network(&mut self) -> Result<u32> {
        take(&mut self.next_network, "network")
    }
}

fn take(next: &mut u32, what: &'static str) -> Result<u32> {
    let taken = *next;
    *next = taken.checked_add(1).ok_or(StoreError::Exhausted { what })?;
    Ok(taken)
}

fn boot_id() -> Result<String> {
    let id = fs::read_to_string(BOOT_ID).map_err(|e| StoreError::file("read", BOOT_ID, e))?;
    Ok(id.trim().to_owned())
}

impl Store {
    pub(super) fn instance_file(&self) -> PathBuf {
        self.paths().run_dir.join("instance.json")
    }

    pub(super) fn numbers_file(&self) -> PathBuf {
        self.paths().run_dir.join("numbers.json")
    }

    /// The running instance, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn instance(&self) -> Result<Option<Instance>> {
        let path = self.instance_file();
        let Some(bytes) = atomic::read_bytes(&path)? else { return Ok(None) };
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Some(Instance::of_a_crashed_machine()));
        }
        atomic::parse(&path, &bytes, ADVICE).map(Some)
    }

    /// The numbers given to what the maps hold: a value of whoever gives them.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn numbers<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        atomic::read(&self.numbers_file(), ADVICE)
    }
}

impl LockedStore {
    /// Writes down the running instance.
    ///
    /// # Errors
    /// When the file cannot be written. The old one is there then.
    pub fn save_instance(&self, instance: &Instance) -> Result<()> {
        atomic::write(&self.instance_file(), instance)
    }

    /// Writes down the numbers given to what the maps hold.
    ///
    /// # Errors
    /// When the file cannot be written. The old one is there then.
    pub fn save_numbers<T: Serialize>(&self, numbers: &T) -> Result<()> {
        atomic::write_compact(&self.numbers_file(), numbers)
    }

    /// Removes everything that a reboot would void: the records, the numbers and, last, the instance.
    ///
    /// # Errors
    /// When a file cannot be removed. Everything that can be removed is removed nevertheless.
    pub fn remove_run_files(&self) -> Result<()> {
        self.remove_records()
            .and(self.remove_attachments())
            .and(atomic::remove(&self.readers_file()).map(drop))
            .and(atomic::remove(&self.numbers_file()).map(drop))
            .and(self.remove_companions())
            .and(self.remove_ledger())
            .and(self.remove_defined_endpoints())
            .and(atomic::remove(&self.instance_file()).map(drop))
    }
}
