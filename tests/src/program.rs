//! Programs that a test makes and runs.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Makes `path` a program (a binary, or a script with its `#!` line) that can be run at once.
///
/// Another process writes it. What this process has open for writing, a child that a parallel test starts meanwhile
/// has open too until it calls `execve`, and a file that anybody has open for writing cannot be run (`ETXTBSY`).
pub fn place_program(path: &Path, content: &[u8]) -> Result<()> {
    let mut install = Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut child = install.spawn().context("run install")?;
    let written = child.stdin.take().context("its input")?.write_all(content);
    let status = child.wait()?;
    ensure!(status.success(), "cannot write {}: {install:?} ended with {status}", path.display());
    written.with_context(|| format!("write {}", path.display()))
}
