//! Programs of others, run in a namespace.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::net::Netns;

/// How long a daemon may take to end when it is told to.
const END: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a program that reads `input`, in a network namespace. Returns what it prints.
///
/// # Errors
/// When it cannot be run, or does not succeed.
pub(super) fn run(netns: &Netns, command: &mut Command, input: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    netns.run(|| {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
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
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    })?
}

/// As [`run`], of a program that prints nothing of interest.
pub(super) fn feed(netns: &Netns, program: &str, arguments: &[&str], input: &str) -> Result<()> {
    run(netns, Command::new(program).args(arguments), input).map(drop)
}

/// The first line of what a tool complained about: the rest tends to quote our own rules.
fn shortly(complaint: &str) -> &str {
    complaint.trim().lines().next().unwrap_or("it does not say why")
}

/// A program that stays until it is told to end.
pub(super) struct Daemon(Child);

impl Daemon {
    /// Starts it in a network namespace. What it says goes into a file.
    pub(super) fn start(netns: &Netns, command: &mut Command, log: &Path) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let again = file.try_clone().context("duplicate a file's handle")?;
        netns.run(|| {
            let child = command.stdin(Stdio::null()).stdout(file).stderr(again).process_group(0).spawn();
            child.map(Self).with_context(|| format!("{program} cannot be run"))
        })?
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has not been waited for, so the number is still its own.
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + END;
        while !self.has_ended() {
            if Instant::now() > deadline {
                drop(self.0.kill());
                drop(self.0.wait());
                return;
            }
            thread::sleep(LOOK);
        }
    }
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

    #[test]
    fn a_daemon_ends_with_its_handle() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let netns = Netns::current().unwrap();
        let log = directory.path().join("log");
        let mut daemon = Daemon::start(&netns, Command::new("sleep").arg("1000"), &log).unwrap();
        assert!(!daemon.has_ended());
        let pid = Pid::from_raw(daemon.0.id().cast_signed());
        drop(daemon);
        assert!(kill(pid, None).is_err());
    }
}
