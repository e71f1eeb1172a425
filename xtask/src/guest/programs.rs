//! The test programs, and the shared libraries that programs need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::step::shown;
use crate::workspace::{cargo, target};

/// A program full of tests.
#[derive(Debug)]
pub(crate) struct Tests {
    /// `redirect`, or `netfast` for the tests of the library.
    pub(crate) name: String,
    /// Where it was built.
    pub(crate) path: PathBuf,
}

/// Builds the tests of netfast's library and the end-to-end tests.
pub(crate) fn build() -> Result<Vec<Tests>> {
    let mut tests = Vec::new();
    for selection in [&["--package", "netfast", "--lib"][..], &["--package", "netfast-tests", "--tests"]] {
        let mut command = cargo(&["test", "--no-run", "--message-format=json-render-diagnostics"]);
        let done = command
            .args(selection)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("run {}", shown(&command)))?;
        if !done.status.success() {
            bail!("`{}` failed: {}", shown(&command), done.status);
        }
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            let message: Value = serde_json::from_str(line).context("read what cargo built")?;
            let about = &message["target"];
            if message["profile"]["test"] == true
                && let (Some(name), Some(path)) = (about["name"].as_str(), message["executable"].as_str())
            {
                tests.push(Tests { name: name.to_owned(), path: path.into() });
            }
        }
    }
    tests.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(tests)
}

/// The program without what only a debugger reads, which is most of it.
pub(crate) fn stripped(program: &Path) -> Result<Vec<u8>> {
    let small = target().join("kernels/stripped");
    let mut command = Command::new("strip");
    command.args(["--strip-debug", "-o"]).arg(&small).arg(program);
    let status = command.status().with_context(|| format!("run {}", shown(&command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(&command));
    }
    fs::read(&small).with_context(|| format!("read {}", small.display()))
}

/// The shared libraries that a program needs, and the loader that finds them.
pub(crate) fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("run ldd")?;
    // It fails for a program that needs none.
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(library).collect())
}

/// Reads `libc.so.6 => /lib/libc.so.6 (0x7f00)` and `/lib64/ld-linux.so.2 (0x7f00)`.
fn library(line: &str) -> Option<PathBuf> {
    let (name, _) = line.trim().rsplit_once(" (0x")?;
    let path = name.rsplit("=> ").next()?;
    path.starts_with('/').then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let path = Some(PathBuf::from("/lib/libc.so.6"));
        assert_eq!(library("\tlibc.so.6 => /lib/libc.so.6 (0x00007f3c)"), path);
        assert_eq!(
            library("\t/lib64/ld-linux-x86-64.so.2 (0x0000)"),
            Some("/lib64/ld-linux-x86-64.so.2".into())
        );
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007ffc)"), None);
        assert_eq!(library("\tstatically linked"), None);
    }
}
