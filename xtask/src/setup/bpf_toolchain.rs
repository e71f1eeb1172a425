//! A Rust toolchain that can build for the kernel: it has the source of `core`, and its LLVM fits bpf-linker's.
//!
//! netfast's build script looks for the same toolchains in the same order.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::setup::apt;
use crate::step;

const LINKED: &str = "netfast-bpf";
const FALLBACK: &str = "nightly";

/// A compiler, the source of its `core`, and the LLVM that both it and bpf-linker use.
const PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"];

const WHY: &str = "the eBPF programs need a compiler with the source of `core`";

pub(crate) fn ensure() -> Result<bool> {
    if let Some(name) = env::var("NETFAST_BPF_TOOLCHAIN").ok().filter(|name| !name.is_empty()) {
        if fits(&name) {
            return Ok(false);
        }
        bail!(
            "NETFAST_BPF_TOOLCHAIN names `{name}`, which does not exist or lacks the source of `core` \
             (try `rustup toolchain install {name} --component rust-src`, or unset it)"
        );
    }
    if [LINKED, FALLBACK].into_iter().any(fits) {
        return Ok(false);
    }
    if apt::offers(PACKAGES)? {
        apt::install(PACKAGES, WHY)?;
        let mut link = Command::new("rustup");
        link.args(["toolchain", "link", LINKED, "/usr"]);
        step::run(&format!("name that compiler `{LINKED}`"), "the build finds it by this name", &mut link)?;
        if fits(LINKED) {
            return Ok(true);
        }
    }
    let mut install = Command::new("rustup");
    install.args(["toolchain", "install", FALLBACK, "--profile", "minimal", "--component", "rust-src"]);
    let result = step::run("install a nightly Rust toolchain", WHY, &mut install);
    match result {
        Ok(()) if fits(FALLBACK) => Ok(true),
        Ok(()) => bail!("rustup installed `{FALLBACK}`, but the source of `core` is not in it"),
        Err(error) => bail!(
            "{error:#} (try it by hand, or name a toolchain that has rust-src in NETFAST_BPF_TOOLCHAIN)"
        ),
    }
}

/// Whether `toolchain` exists and has the source of `core`.
fn fits(toolchain: &str) -> bool {
    let output = Command::new("rustup")
        .args(["run", toolchain, "rustc", "--print", "sysroot"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .stderr(Stdio::null())
        .output();
    let Ok(output) = output else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    output.status.success()
        && PathBuf::from(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
}
