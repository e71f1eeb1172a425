//! What tests on other kernels need besides: not part of an ordinary setup.

use anyhow::{Result, bail};

use crate::setup::apt;
use crate::workspace::find_program;

const WHY: &str = "tests on another kernel run in a virtual machine";

/// Programs, and the Debian packages they are in.
const PROGRAMS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("xz", "xz-utils"),
    ("strip", "binutils"),
];

pub(crate) fn ensure() -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("tests on another kernel run on x86-64 machines only, so far");
    }
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() { Ok(()) } else { apt::install(&missing, WHY) }
}
