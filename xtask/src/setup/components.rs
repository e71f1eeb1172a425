//! rustfmt and clippy of the toolchain in use.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::step;

pub(crate) fn ensure() -> Result<bool> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().context("run rustc")?;
    let sysroot = String::from_utf8(output.stdout).context("the path of the toolchain")?;
    let bin = Path::new(sysroot.trim()).join("bin");
    // rustup puts stand-ins for all of them into its own directory, so only the toolchain's tells.
    let missing: Vec<_> = [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")]
        .into_iter()
        .filter(|(program, _)| !bin.join(program).exists())
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let mut command = Command::new("rustup");
    command.args(["component", "add"]).args(&missing);
    if let Err(error) = step::run(
        &format!("add {} to the Rust toolchain", missing.join(" and ")),
        "every change is formatted and linted",
        &mut command,
    ) {
        bail!("{error:#} (without rustup, install {} for {} by hand)", missing.join(" and "), sysroot.trim());
    }
    Ok(true)
}
