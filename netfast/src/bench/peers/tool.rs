//! Programs of others, run in a namespace.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::net::Netns;

/// Runs a program that reads `input`, in a network namespace.
///
/// # Errors
/// When it cannot be run, or does not succeed.
pub(super) fn feed(netns: &Netns, program: &str, arguments: &[&str], input: &str) -> Result<()> {
    netns.run(|| {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for us: half a set of rules would be told as a failure of the tool.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{program} cannot be run"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A tool that stops reading says why on its standard error.
            drop(stdin.write_all(input.as_bytes()));
        }
        let done = child.wait_with_output().with_context(|| format!("wait for {program}"))?;
        if !done.status.success() {
            bail!("{program} failed: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(())
    })?
}
