//! `cargo xtask check`: what needs neither root nor a kernel.

use std::process::ExitCode;

use anyhow::Result;

use crate::setup;
use crate::stage::{Stages, status};
use crate::workspace::cargo;

pub(crate) fn run() -> Result<ExitCode> {
    setup::run()?;
    let mut stages = Stages::default();
    lints(&mut stages);
    unit_tests(&mut stages);
    Ok(stages.finish())
}

/// Formatting, lints and documentation.
pub(crate) fn lints(stages: &mut Stages) {
    stages.run("format", || status(&mut cargo(&["fmt", "--all", "--check"])));
    stages.run("clippy", || {
        status(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
    });
    stages.run("documentation", || {
        let mut command = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
        status(command.env("RUSTDOCFLAGS", "--deny warnings"))
    });
}

/// The tests that run anywhere: of every package but the end-to-end one.
pub(crate) fn unit_tests(stages: &mut Stages) {
    stages.tests("unit tests", &mut cargo(&["test", "--workspace", "--exclude", "netfast-tests"]));
}
