//! `cargo xtask setup`: finds what is there, installs what is missing.
//!
//! Each part looks at the real state of the machine, so that a second run does nothing, and one after an
//! interrupted run goes on where that stopped. Nothing is installed without a line before it that says what and
//! why.

mod apt;
mod bpf_linker;
mod bpf_toolchain;
mod components;
mod emulator;
mod null_device;
mod programs;
mod runtimes;

use anyhow::Result;

pub(crate) use self::apt::install;
pub(crate) use self::emulator::ensure as ensure_emulator;
pub(crate) use self::runtimes::ensure as ensure_runtimes;
use crate::output;

/// Sets up everything. Silent if nothing was missing.
pub(crate) fn run() -> Result<()> {
    let mut changed = false;
    let parts = [
        null_device::ensure,
        components::ensure,
        bpf_toolchain::ensure,
        bpf_linker::ensure,
        programs::ensure,
    ];
    for part in parts {
        changed |= part()?;
    }
    if changed {
        output::heading("everything that netfast needs is there");
    }
    Ok(())
}
