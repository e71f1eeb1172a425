//! One call of one plugin.

use std::fmt;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::ns::Ns;
use crate::process::{Finished, Running};

/// The slowest calls are those of a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A plugin that said no, or died.
#[derive(Debug)]
pub struct PluginError {
    /// What was asked for, of whom.
    pub what: String,
    /// How it ended.
    pub status: ExitStatus,
    /// The error object that it printed; `None` if it was killed.
    pub error: Option<Value>,
    /// What it wrote on standard error.
    pub stderr: String,
}

impl PluginError {
    /// The error code that it told.
    pub fn code(&self) -> Option<u64> {
        self.error.as_ref()?["code"].as_u64()
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, status, error, stderr } = self;
        let error = error.as_ref().map(Value::to_string).unwrap_or_default();
        write!(f, "{what}: {status}: {error} {stderr}")
    }
}

impl std::error::Error for PluginError {}

/// One call of one plugin, not made yet.
pub(super) struct Call {
    pub(super) host: Ns,
    pub(super) program: PathBuf,
    pub(super) command: &'static str,
    pub(super) variables: Vec<(String, String)>,
}

impl Call {
    /// Makes the call. Returns the JSON document that it printed, if any, and what it wrote on standard error; a plugin that
    /// fails is a [`PluginError`].
    pub(super) fn run(self, config: &Value) -> Result<(Option<Value>, String)> {
        let what = self.what();
        let Finished { status, stdout, stderr } = self.execute(&config.to_string())?;
        let printed = match stdout.trim() {
            "" => None,
            text => {
                let document: Value = serde_json::from_str(text)
                    .with_context(|| format!("{what} printed what is no JSON document: {text:?}"))?;
                Some(document)
            }
        };
        if status.success() {
            return Ok((printed, stderr));
        }
        if status.code().is_some() {
            let error = printed.as_ref().with_context(|| format!("{what} failed in silence: {stderr}"))?;
            if !error["code"].is_u64() || !error["msg"].is_string() || !error["cniVersion"].is_string() {
                bail!("{what} failed, and printed what is no error: {error}");
            }
        } else if let Some(printed) = printed {
            bail!("{what} was killed, and had printed {printed}");
        }
        Err(PluginError { what, status, error: printed, stderr }.into())
    }

    /// Started from a thread in the host's namespaces, and not by a fork that goes there: so it costs what a runtime's call
    /// costs, of which a copy of this process's memory is no part. It ends by itself, also when this process is killed.
    fn execute(&self, config: &str) -> Result<Finished> {
        let mut command = Command::new(&self.program);
        // A runtime passes its own environment on. Ours names another instance, or none.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.process_group(0);
        self.host.run(|| {
            let mut running = Running::start(&mut command)?;
            // Whether it reads that is its own affair.
            drop(running.write(config));
            running.finish_alone(PATIENCE)
        })
    }

    fn what(&self) -> String {
        format!("{} by {}", self.command, self.program.display())
    }
}
