//! dockerd, with its default network.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::super::ground::GATEWAY;
use super::super::tool::Daemon;
use super::Cli;
use crate::net::Netns;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is asked.
const ASK: Duration = Duration::from_millis(100);

/// Starts the daemon, and waits until it answers.
pub(super) fn start(host: &Netns, directory: &Path, cgroup: &str) -> Result<(Cli, Option<Daemon>)> {
    let socket = format!("unix://{}", directory.join("socket").display());
    let log = directory.join("log");
    let mut command = Command::new("dockerd");
    for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
        command.arg(option).arg(directory.join(name));
    }
    command.args(["--host", &socket, "--storage-driver", "vfs"]);
    command.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", &format!("/{cgroup}")]);
    command.args(["--bip", &format!("{GATEWAY}/16")]);
    let mut daemon = Daemon::start(host, &mut command, &log)?;
    let cli = Cli {
        program: "docker",
        arguments: vec!["--host".to_owned(), socket],
        environment: vec![("DOCKER_CONFIG", directory.join("config"))],
        run: Vec::new(),
    };
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = cli.call(host, &["version"]) {
        if daemon.has_ended() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            bail!("dockerd does not stay: {}", said.trim_end().lines().next_back().unwrap_or_default());
        }
        if Instant::now() > deadline {
            return Err(error.context("dockerd does not answer"));
        }
        thread::sleep(ASK);
    }
    Ok((cli, Some(daemon)))
}
