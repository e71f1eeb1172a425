//! `cargo xtask test`: everything, cheapest first, up to the first stage that fails.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::guest::Kernel;
use crate::stage::Stages;
use crate::workspace::cargo;
use crate::{build, check, guest, setup};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Leave out formatting, lints and documentation
    #[arg(long)]
    fast: bool,
    /// Leave out everything but the end-to-end tests whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Run the tests that touch the kernel on this kernel, in a virtual machine (may be given again)
    ///
    /// Debian's build of it is fetched once (100 MB) and kept below the target directory. Without KVM this takes
    /// minutes. Nothing else is tested then; with --only, just the end-to-end tests of that name.
    #[arg(long, value_name = "VERSION", conflicts_with = "fast")]
    kernel: Vec<Kernel>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Options { fast, only, kernel } = options;
    if !kernel.is_empty() {
        return guest::run(kernel, only.as_deref());
    }
    setup::run()?;
    let without_runtimes = setup::ensure_runtimes();
    let mut stages = Stages::default();
    if only.is_none() {
        if !fast {
            check::lints(&mut stages);
        }
        check::unit_tests(&mut stages);
    }
    let mut binary = None;
    stages.run("build", || {
        // The profile that the unit tests have built already.
        binary = Some(build::build("dev")?);
        Ok(())
    });
    if let Some(binary) = binary {
        let mut command = cargo(&["test", "--package", "netfast-tests", "--no-fail-fast"]);
        command.env("NETFAST_BIN", binary).env("NETFAST_TEST_STRICT", "1");
        if let Some(reason) = without_runtimes {
            command.env("NETFAST_TEST_NO_RUNTIMES", reason);
        }
        if !netfast_tests::is_root() {
            // Cargo starts each test binary through this.
            command.env(runner_variable(), PRIVILEGED);
        }
        if let Some(name) = only {
            command.arg(name);
        }
        stages.tests("end-to-end tests", &mut command);
    }
    Ok(stages.finish())
}

/// The program by which a user's tests become root.
const PRIVILEGED: &str = "sudo --preserve-env=NETFAST_BIN,NETFAST_TEST_STRICT,NETFAST_TEST_NO_RUNTIMES";

/// The variable that names the program by which cargo runs what it built for this machine.
fn runner_variable() -> String {
    format!("CARGO_TARGET_{}_UNKNOWN_LINUX_{}_RUNNER", std::env::consts::ARCH.to_uppercase(), libc_name())
}

fn libc_name() -> &'static str {
    if cfg!(target_env = "musl") { "MUSL" } else { "GNU" }
}
