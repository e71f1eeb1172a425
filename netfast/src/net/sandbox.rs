//! A place where anything may be tried.

use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::Error;
use super::netns::on_fresh_thread;

/// What the sandbox's own file system covers. Every host has it.
const DIRECTORY: &str = "/run";

/// Runs `work` on a fresh thread in an empty network namespace, with an empty directory for its files. Nobody else
/// sees what it makes or mounts, and all of it is gone with the thread.
///
/// # Errors
/// When there can be no such place, or when `work` panics.
pub fn in_sandbox<T: Send>(work: impl FnOnce(&Path) -> T + Send) -> Result<T, Error> {
    on_fresh_thread(|| {
        const NONE: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .map_err(|e| Error::system("make", "network and mount namespaces", e))?;
        // Else what is mounted here would appear outside too.
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
            .map_err(|e| Error::system("make private", "mounts", e))?;
        mount(Some("netfast"), DIRECTORY, Some("tmpfs"), MsFlags::empty(), NONE)
            .map_err(|e| Error::system("mount a tmpfs on", DIRECTORY, e))?;
        Ok(work(Path::new(DIRECTORY)))
    })?
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::net::{Netlink, Netns};

    #[test]
    fn nothing_comes_in_or_gets_out() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let mounts = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let (before, here) = (mounts(), Netns::current().unwrap().inode().unwrap());
        let name = format!("netfast-sandbox-{}", std::process::id());
        in_sandbox(|directory| {
            assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
            fs::write(directory.join(&name), "").unwrap();
            let netns = Netns::current().unwrap();
            assert_ne!(netns.inode().unwrap(), here);
            assert_eq!(Netlink::open(&netns).unwrap().links().unwrap().len(), 1);
            assert_ne!(mounts(), before);
        })
        .unwrap();
        assert!(!Path::new(DIRECTORY).join(name).exists());
        assert_eq!(Netns::current().unwrap().inode().unwrap(), here);
    }
}
