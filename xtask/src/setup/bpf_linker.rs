//! bpf-linker, which turns what the compiler emits into an object that the kernel takes.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::step;
use crate::workspace::{cargo, find_program};

/// The LLVM of the toolchain that Debian's packages make up.
const LLVM: &str = "/usr/lib/llvm-22";

pub(crate) fn ensure() -> Result<bool> {
    if works() {
        return Ok(false);
    }
    let mut command = cargo(&["install", "bpf-linker", "--locked", "--force"]);
    if Path::new(LLVM).join("bin/llvm-config").exists() {
        command.args(["--version", "0.13.0", "--no-default-features", "--features", "llvm-22"]);
        command.env("LLVM_PREFIX", LLVM);
    }
    let why = "it links the eBPF programs; takes a minute or more";
    if let Err(error) = step::run("install bpf-linker", why, &mut command) {
        bail!(
            "{error:#} (it needs the development files of an LLVM that it knows; try to install it by hand)"
        );
    }
    if !works() {
        bail!("bpf-linker was installed but does not run (is cargo's bin directory in PATH?)");
    }
    Ok(true)
}

/// Whether it is there and finds its LLVM.
fn works() -> bool {
    find_program("bpf-linker").is_some_and(|program| {
        let run = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    })
}
