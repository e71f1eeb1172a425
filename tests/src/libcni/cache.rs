//! Results of ADD, kept for CHECK and DEL.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Sandbox;

/// A directory with one file for each attachment.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    directory: PathBuf,
}

impl Cache {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(super) fn store(&self, network: &str, sandbox: &Sandbox, result: &Value) -> Result<()> {
        fs::create_dir_all(&self.directory)?;
        let Sandbox { id, ifname, .. } = sandbox;
        let entry = json!({"network": network, "id": id, "ifname": ifname, "result": result});
        Ok(fs::write(self.file(network, id, ifname), entry.to_string())?)
    }

    pub(super) fn load(&self, network: &str, id: &str, ifname: &str) -> Result<Option<Value>> {
        match fs::read_to_string(self.file(network, id, ifname)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            text => Ok(Some(serde_json::from_str::<Value>(&text?)?["result"].take())),
        }
    }

    pub(super) fn forget(&self, network: &str, id: &str, ifname: &str) -> Result<()> {
        match fs::remove_file(self.file(network, id, ifname)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => Ok(result?),
        }
    }

    /// Sandbox and interface of everything that is kept of a network.
    pub(super) fn attachments(&self, network: &str) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        let Ok(entries) = fs::read_dir(&self.directory) else { return Ok(found) };
        for entry in entries {
            let entry: Value = serde_json::from_str(&fs::read_to_string(entry?.path())?)?;
            if entry["network"] == network {
                let text = |key: &str| entry[key].as_str().map(str::to_owned).context("a damaged entry");
                found.push((text("id")?, text("ifname")?));
            }
        }
        found.sort();
        Ok(found)
    }

    fn file(&self, network: &str, id: &str, ifname: &str) -> PathBuf {
        self.directory.join(format!("{network}-{id}-{ifname}"))
    }
}
