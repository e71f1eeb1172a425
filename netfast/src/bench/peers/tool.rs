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
            bail!("{program} failed: {}", shortly(&String::from_utf8_lossy(&done.stderr)));
        }
        Ok(())
    })?
}

/// The first line of what a tool complained about: the rest tends to quote our own rules.
fn shortly(complaint: &str) -> &str {
    complaint.trim().lines().next().unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
        feed(&Netns::current().unwrap(), program, arguments, input).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn failures_of_tools_are_told_in_a_line() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        assert_eq!(here("sh", &["-c", "grep -q rule"], "rule\n"), Ok(()));
        assert_eq!(
            here("sh", &["-c", "cat >&2; exit 1"], "bad rule\nbad rule\n").unwrap_err(),
            "sh failed: bad rule"
        );
        let missing = here("netfast-no-such-tool", &[], "").unwrap_err();
        assert!(missing.starts_with("netfast-no-such-tool cannot be run: "), "{missing}");
    }
}
