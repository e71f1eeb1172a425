//! The files endpoints see in place of the host's: `/etc/hosts` and `/etc/resolv.conf`; and the logs of their commands.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::assign::Records;
use crate::model::{EndpointId, Name};
use crate::net::hosts::{HostsEntry, add_hosts, hosts_text, remove_hosts, rewrite_in_place};
use crate::net::resolver;
use crate::store::EndpointRecord;

/// The `/etc/hosts` of a network's endpoints.
pub(super) fn hosts_file(run_dir: &Path, network: &Name) -> PathBuf {
    run_dir.join("hosts").join(network.as_str())
}

/// The `/etc/resolv.conf` of all endpoints.
pub(super) fn resolv_file(run_dir: &Path) -> PathBuf {
    run_dir.join("resolv.conf")
}

/// What an endpoint's command has printed.
pub(super) fn log_file(run_dir: &Path, id: &EndpointId) -> PathBuf {
    run_dir.join("log").join(format!("{}+{}", id.namespace, id.name))
}

/// Writes them all. They are rewritten in place: who has one mounted sees the change.
///
/// # Errors
/// When one cannot be written.
pub(super) fn write(run_dir: &Path, records: &Records) -> Result<()> {
    for name in ["hosts", "log"] {
        make_directory(&run_dir.join(name))?;
    }
    for network in records.networks.keys() {
        let members: Vec<_> =
            records.endpoints.values().filter(|record| record.network == *network).collect();
        let mut called: BTreeMap<&Name, usize> = BTreeMap::new();
        for record in &members {
            *called.entry(&record.id.name).or_default() += 1;
        }
        let entries: Vec<_> = members
            .into_iter()
            .map(|record| {
                // A bare name is the endpoint's of the default namespace, if there are several.
                let is_only = called.get(&record.id.name) == Some(&1);
                entry(record, is_only || record.id.namespace.as_str() == "default")
            })
            .collect();
        let path = hosts_file(run_dir, network);
        rewrite_in_place(&path, &hosts_text(&entries))
            .with_context(|| format!("write {}", path.display()))?;
    }
    let path = resolv_file(run_dir);
    resolver::write_resolv_conf(&path).with_context(|| format!("write {}", path.display()))
}

/// What a hosts file says of an endpoint.
fn entry(record: &EndpointRecord, is_bare: bool) -> HostsEntry {
    let EndpointId { namespace, name } = &record.id;
    let bare = is_bare.then(|| name.to_string());
    let aliases = record.aliases.iter().map(ToString::to_string);
    let names = bare.into_iter().chain([format!("{name}.{namespace}")]).chain(aliases).collect();
    HostsEntry { names, addresses: record.addresses().collect() }
}

/// Adds an endpoint whose name nobody else has to the file of its network.
///
/// # Errors
/// When it cannot be written.
pub(super) fn add(run_dir: &Path, record: &EndpointRecord) -> Result<()> {
    let path = hosts_file(run_dir, &record.network);
    add_hosts(&path, &entry(record, true)).with_context(|| format!("write {}", path.display()))
}

/// Removes such an endpoint from the file of its network.
///
/// # Errors
/// When it cannot be written.
pub(super) fn remove(run_dir: &Path, record: &EndpointRecord) -> Result<()> {
    let path = hosts_file(run_dir, &record.network);
    remove_hosts(&path, &entry(record, true)).with_context(|| format!("write {}", path.display()))
}

/// Removes a network's file.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove_network(run_dir: &Path, network: &Name) -> Result<()> {
    let path = hosts_file(run_dir, network);
    ignore_absent(fs::remove_file(&path)).with_context(|| format!("remove {}", path.display()))
}

/// Removes what an endpoint's command has printed.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove_log(run_dir: &Path, id: &EndpointId) -> Result<()> {
    let path = log_file(run_dir, id);
    ignore_absent(fs::remove_file(&path)).with_context(|| format!("remove {}", path.display()))
}

/// Removes everything.
///
/// # Errors
/// When something cannot be removed.
pub(super) fn remove_all(run_dir: &Path) -> Result<()> {
    let resolv = resolv_file(run_dir);
    ignore_absent(fs::remove_file(&resolv)).with_context(|| format!("remove {}", resolv.display()))?;
    for directory in ["hosts", "log"].map(|name| run_dir.join(name)) {
        ignore_absent(fs::remove_dir_all(&directory))
            .with_context(|| format!("remove {}", directory.display()))?;
    }
    Ok(())
}

/// Removes the directory of namespaces, if nothing is left in it.
///
/// # Errors
/// When it cannot be removed for another reason.
pub(super) fn remove_directory(directory: &Path) -> Result<()> {
    match fs::remove_dir(directory) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(e).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make {}", path.display()))
}

fn ignore_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
