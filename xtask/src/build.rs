//! `cargo xtask build`: the release binary, eBPF programs included.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::step::shown;
use crate::workspace::{cargo, target};
use crate::{output, setup};

/// Programs that must be in the object: one that is named like an ELF section is dropped without a word.
const PROGRAMS: &[&str] = &[
    "from_endpoint",
    "to_endpoint",
    "from_uplink",
    "deny_xdp",
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
];

/// Sets up, builds, and returns where the binary is.
pub(crate) fn run() -> Result<PathBuf> {
    setup::run()?;
    build("release")
}

/// Builds netfast in `profile` (`dev` or `release`) and returns where the binary is.
pub(crate) fn build(profile: &str) -> Result<PathBuf> {
    let dir = target().join(if profile == "dev" { "debug" } else { profile });
    if !dir.join("netfast").exists() {
        output::dim("building netfast for the first time takes a few minutes");
    }
    let mut command = cargo(&["build", "--package", "netfast", "--profile", profile]);
    // Diagnostics go to the terminal as ever; what was built where is told on stdout.
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let done = command.output().with_context(|| format!("run {}", shown(&command)))?;
    if !done.status.success() {
        bail!("`{}` failed: {}", shown(&command), done.status);
    }
    let (mut binary, mut object) = (None, None);
    for line in String::from_utf8_lossy(&done.stdout).lines() {
        let message: Value = serde_json::from_str(line).context("read what cargo built")?;
        match message["reason"].as_str() {
            Some("compiler-artifact") if message["target"]["name"] == "netfast" => {
                binary = message["executable"].as_str().map(PathBuf::from).or(binary);
            }
            Some("build-script-executed") if is_netfast(&message["package_id"]) => {
                object = message["out_dir"].as_str().map(|dir| Path::new(dir).join("netfast-ebpf.o"));
            }
            _ => {}
        }
    }
    check_object(&object.context("netfast's build script did not run")?)?;
    binary.context("cargo did not tell where the binary is")
}

/// Whether this is the package `netfast`: `path+file:///netfast#0.1.0`, with the name where the directory has
/// another.
fn is_netfast(id: &Value) -> bool {
    let id = id.as_str().unwrap_or_default();
    id.contains("/netfast#") || id.contains("#netfast@")
}

/// Without its tools the build script makes an empty object, which is not what is wanted here.
fn check_object(object: &Path) -> Result<()> {
    let bytes = fs::read(object).with_context(|| format!("read {}", object.display()))?;
    if bytes.is_empty() {
        bail!("the eBPF programs were not built (see the warning above; is NETFAST_BPF_SKIP set?)");
    }
    for program in PROGRAMS {
        if !bytes.windows(program.len()).any(|window| window == program.as_bytes()) {
            bail!("the program `{program}` is missing in {}", object.display());
        }
    }
    Ok(())
}
