//! Podman, with its default network, made by CNI plugins or by netavark.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::super::Peer;
use super::Cli;

/// Writes Podman's files. There is no daemon.
pub(super) fn prepare(peer: Peer, directory: &Path, cgroup: &str) -> Result<Cli> {
    let backend = if peer == Peer::PodmanCni { "cni" } else { "netavark" };
    let [temporary, networks, run, root] =
        ["tmp", "networks", "run", "root"].map(|name| directory.join(name).display().to_string());
    let (settings, storage) = (directory.join("containers.conf"), directory.join("storage.conf"));
    let text = format!(
        "[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"none\"
lock_type = \"file\"
tmp_dir = \"{temporary}\"
[containers]
default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]
log_driver = \"k8s-file\"
[network]
network_backend = \"{backend}\"
network_config_dir = \"{networks}\"
cni_plugin_dirs = [\"/usr/lib/cni\", \"/usr/libexec/cni\", \"/opt/cni/bin\"]
"
    );
    fs::create_dir_all(&networks)
        .and_then(|()| fs::write(&settings, text))
        .and_then(|()| {
            fs::write(
                &storage,
                format!("[storage]\ndriver = \"vfs\"\nrunroot = \"{run}\"\ngraphroot = \"{root}\"\n"),
            )
        })
        .context("write Podman's files")?;
    Ok(Cli {
        program: "podman",
        arguments: Vec::new(),
        environment: vec![("CONTAINERS_CONF", settings), ("CONTAINERS_STORAGE_CONF", storage)],
        run: vec!["--cgroup-parent".to_owned(), cgroup.to_owned()],
    })
}
