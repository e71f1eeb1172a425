//! Cgroups of a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How long a cgroup may take to get empty: a thread that has been joined may still be on its way out.
const EMPTY: Duration = Duration::from_secs(10);

/// A cgroup that this process can be moved into and out of; removed when dropped.
pub(super) struct Cgroup {
    pub(super) path: PathBuf,
    /// Where the process was before.
    home: PathBuf,
}

impl Cgroup {
    /// Makes one below the cgroup that this process is in.
    pub(super) fn new(home: &Path, number: usize) -> Result<Self> {
        let path = home.join(format!("netfast-bench-{}-{number}", process::id()));
        fs::create_dir(&path).with_context(|| format!("make the cgroup {}", path.display()))?;
        Ok(Self { path, home: home.to_owned() })
    }

    /// Calls `work` with this process in it.
    pub(super) fn hold<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        move_to(&self.path)?;
        let answer = work();
        move_to(&self.home)?;
        answer
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Puts this process into a cgroup.
fn move_to(cgroup: &Path) -> Result<()> {
    let procs = cgroup.join("cgroup.procs");
    fs::write(&procs, process::id().to_string()).with_context(|| format!("write {}", procs.display()))
}

/// Removes the cgroups of that name from all hierarchies, with those below them.
pub(super) fn remove_everywhere(name: &str) {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(_), Some(place), Some(kind)) = (words.next(), words.next(), words.next()) else { continue };
        if kind.starts_with("cgroup") {
            remove_tree(&Path::new(place).join(name));
        }
    }
}

/// Removes cgroups from below; their files go with them.
fn remove_tree(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    if cgroup.exists() {
        remove(cgroup);
    }
}

fn remove(cgroup: &Path) {
    let deadline = Instant::now() + EMPTY;
    while let Err(error) = fs::remove_dir(cgroup) {
        if Instant::now() > deadline {
            tracing::warn!(path = %cgroup.display(), %error, "a cgroup stays behind");
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
