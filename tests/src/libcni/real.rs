//! The real libcni, as Debian packages its source, behind a small program in Go.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Sandbox;
use crate::lab::Lab;
use crate::process::{Running, run};

/// Compiling for the first time takes seconds, and more on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(5);

/// Where Debian's packages put sources.
const SOURCES: &str = "/usr/share/gocode";

/// A runtime that calls plugins through libcni 1.1.2: everything but GC and STATUS, up to version 1.0.0.
#[derive(Debug)]
pub struct RealLibcni<'lab> {
    lab: &'lab Lab,
    program: PathBuf,
    path: String,
}

impl<'lab> RealLibcni<'lab> {
    /// With plugins in the directories of `path`. Compiles the program, into the lab's directory.
    pub fn new(lab: &'lab Lab, path: &[&Path]) -> Result<Self> {
        lab.mark_used();
        let path: Vec<_> = path.iter().map(|directory| directory.display().to_string()).collect();
        Ok(Self { lab, program: compile(lab.dir())?, path: path.join(":") })
    }

    /// Runs `ADD`, `CHECK`, `DEL` or `VALIDATE` for the list in the file `list`, and returns the result of an ADD.
    pub fn run(&self, command: &str, list: &str, sandbox: &Sandbox) -> Result<Option<Value>> {
        let Sandbox { id, netns, ifname, args, capabilities } = sandbox;
        let mut libcni = self.lab.host.command(&self.program);
        libcni.args([command, list]).arg(netns).args([ifname, id]).env_clear().envs([
            ("PATH", std::env::var("PATH")?),
            ("CNI_PATH", self.path.clone()),
            ("LIBCNI_CACHE", self.lab.dir().join("libcni-cache").display().to_string()),
            ("CNI_ARGS", args.clone()),
            ("CAPABILITIES", Value::from(capabilities.clone()).to_string()),
        ]);
        let done = Running::start(&mut libcni)?.finish_alone(PATIENCE)?;
        if !done.success() {
            bail!("{command} through libcni: {}", done.stderr.trim());
        }
        match done.stdout.trim() {
            "" => Ok(None),
            text => serde_json::from_str(text).map(Some).with_context(|| format!("libcni printed {text:?}")),
        }
    }
}

/// Compiles the program into `directory`, where the compiler's cache goes too.
fn compile(directory: &Path) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("libcni/main.go");
    let program = directory.join("libcni");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&program).arg(&source).process_group(0);
    go.envs([("GOPATH", SOURCES), ("GO111MODULE", "off"), ("GOFLAGS", ""), ("CGO_ENABLED", "0")]);
    go.env("GOCACHE", directory.join("go-cache"));
    let done = run(&mut go, PATIENCE)?;
    if !done.success() {
        bail!("compile {}: {}", source.display(), done.stderr);
    }
    Ok(program)
}
