//! `cargo xtask run`: sets up, builds, then shows netfast or runs it.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::workspace::as_root;
use crate::{build, demo};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// End the demo when it has shown everything, instead of waiting for Ctrl-C
    #[arg(long)]
    once: bool,
    /// Run netfast with these arguments instead of the demo (after `--`)
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Options { once, arguments } = options;
    let binary = build::run()?;
    if !arguments.is_empty() {
        let mut command = as_root(&binary.display().to_string());
        return Err(command.args(arguments).exec()).with_context(|| format!("run {}", binary.display()));
    }
    if netfast_tests::is_root() {
        return demo::run(&binary, *once);
    }
    // Only now, so that nothing in the target directory comes to belong to root.
    let this = env::current_exe().context("find this program")?;
    let mut command = as_root(&this.display().to_string());
    command.arg("demo").arg("--binary").arg(&binary);
    if *once {
        command.arg("--once");
    }
    Err(command.exec()).context("run the demo with sudo")
}
