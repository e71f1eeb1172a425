//! `cargo xtask test --kernel VERSION`: the tests that touch the kernel, on another kernel.
//!
//! A virtual machine boots that kernel with an initramfs of netfast, the tests and what they call, runs them all
//! and is gone. Nothing of it is installed here but the emulator.

mod cpio;
mod debian;
mod initramfs;
mod machine;
mod modules;
mod programs;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use self::debian::Kernel;
use crate::stage::Stages;
use crate::{build, setup};

/// Runs the tests on each of `kernels`; with `only`, those end-to-end tests whose name contains it.
pub(crate) fn run(kernels: &[Kernel], only: Option<&str>) -> Result<ExitCode> {
    setup::run()?;
    setup::ensure_emulator()?;
    let mut stages = Stages::default();
    let mut tests = None;
    stages.run("build", || {
        tests = Some((build::build("dev")?, programs::build()?));
        Ok(())
    });
    if let Some((netfast, tests)) = tests {
        for kernel in kernels {
            stages.lines(&format!("tests on Linux {kernel}"), |line| {
                let files = debian::fetch(*kernel)?;
                let image = initramfs::make(*kernel, &files, &netfast, &tests, only)?;
                machine::run(&files.kernel, &image, line)
            });
        }
    }
    Ok(stages.finish())
}
