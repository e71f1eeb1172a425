//! Another plugin that gives addresses: it is called as this one was, with the same environment and the same input.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use serde_json::Value;

use super::addressing::Addressing;
use super::call::Call;
use super::environment::{COMMAND, Command};
use super::failure::{Code, Failure, Result};
use super::result::CniResult;
use crate::net;

/// The plugin that gives addresses, if it is another one.
#[derive(Debug)]
pub(super) struct Delegate<'a> {
    call: &'a Call,
    name: &'a str,
    path: PathBuf,
}

impl<'a> Delegate<'a> {
    /// Finds the plugin that a call's configuration names, if it names one.
    pub(super) fn of(call: &'a Call) -> Result<Option<Self>> {
        let Some(name) = call.config.said.ipam.delegate() else { return Ok(None) };
        // It is the name of a file in one of the directories, and never a way out of them.
        if name.contains('/') || matches!(name, "." | "..") {
            return Err(Failure::new(
                Code::Config,
                format!("ipam.type is {name:?}, which is no plugin's name"),
            ));
        }
        let directories = &call.environment.path;
        let path = directories.iter().map(|directory| directory.join(name)).find(|path| is_executable(path));
        let Some(path) = path else {
            let searched: Vec<_> = directories.iter().map(|path| path.display().to_string()).collect();
            let message = format!("ipam.type: there is no plugin {name} in CNI_PATH");
            return Err(
                Failure::new(Code::Config, message).details(format!("searched: {}", searched.join(", ")))
            );
        };
        Ok(Some(Self { call, name, path }))
    }

    /// Has it give addresses.
    pub(super) fn add(&self) -> Result<Addressing> {
        let answer = self.execute(Command::Add)?;
        let value: Value = serde_json::from_str(&answer)
            .map_err(|e| self.failed(format!("its result cannot be read: {e}")))?;
        let given = CniResult::parse(&value, &format!("the result of ipam plugin {}", self.name));
        given
            .and_then(|result| Addressing::given(self.name, &self.call.config.said.ipam.sets(), result))
            .inspect_err(|_| self.undo())
    }

    /// Has it take back what it gave, after something else has failed. That it cannot is only told.
    pub(super) fn undo(&self) {
        if let Err(failure) = self.execute(Command::Del) {
            tracing::warn!("what ipam plugin {} gave stays reserved: {failure}", self.name);
        }
    }

    /// Calls it with the command that this plugin was called with.
    pub(super) fn forward(&self) -> Result<()> {
        self.execute(self.call.environment.command).map(drop)
    }

    fn execute(&self, command: Command) -> Result<String> {
        let started = |e: io::Error| self.failed(format!("cannot run {}: {e}", self.path.display()));
        net::close_on_exec().map_err(|e| self.failed(e.to_string()))?;
        let mut child = Process::new(&self.path)
            .env(COMMAND, command.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(started)?;
        if let Some(mut input) = child.stdin.take() {
            match input.write_all(self.call.config.text.as_bytes()) {
                // One that does not read what it is told may know it anyway.
                Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(started(e)),
                _ => {}
            }
        }
        let done = child.wait_with_output().map_err(started)?;
        let answer = String::from_utf8_lossy(&done.stdout).into_owned();
        if done.status.success() {
            return Ok(answer);
        }
        // What it says is passed on as it is.
        Err(serde_json::from_str(&answer).unwrap_or_else(|_| {
            self.failed(format!("it failed ({}) and said: {:?}", done.status, answer.trim()))
        }))
    }

    fn failed(&self, why: impl std::fmt::Display) -> Failure {
        Failure::new(Code::Failed, format!("ipam plugin {}: {why}", self.name))
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
