//! Entering an endpoint for good: its network namespace, with its own `hosts` and `resolv.conf`.
//!
//! Preparing allocates; entering does not, so that it may be done between fork and exec.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::{Error, Netns};

/// What entering needs, all looked up beforehand.
pub(super) struct Entrance {
    netns: Netns,
    /// Files and what they are mounted over.
    mounts: Vec<(CString, CString)>,
}

impl Entrance {
    /// Looks up the namespace and the mount points. A mount point that does not exist is passed over: a host without
    /// `/etc/resolv.conf` has nothing to hide.
    pub(super) fn prepare(netns: &Path, hosts: &Path, resolv: &Path) -> Result<Self, Error> {
        let netns = Netns::open(netns)?;
        let mut mounts = Vec::new();
        for (source, target) in [(hosts, "/etc/hosts"), (resolv, "/etc/resolv.conf")] {
            let source = fs::canonicalize(source).map_err(|e| Error::system("find", source.display(), e))?;
            // resolv.conf is a symbolic link on many hosts; what readers end up at is what must be covered.
            match fs::canonicalize(target) {
                Ok(target) => mounts.push((c_string(&source)?, c_string(&target)?)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::system("find", target, e)),
            }
        }
        Ok(Self { netns, mounts })
    }

    /// Enters. The caller is the only thread that will go on in this process, or its own process between fork and
    /// exec: only async-signal-safe calls are made.
    pub(super) fn enter(&self) -> Result<(), Errno> {
        const NONE: Option<&CStr> = None;
        setns(&self.netns, CloneFlags::CLONE_NEWNET)?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        // Mounts made here stay here; the host's unmounts still arrive, so that they are not held up from here.
        mount(NONE, c"/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
        for (source, target) in &self.mounts {
            mount(Some(source.as_c_str()), target.as_c_str(), NONE, MsFlags::MS_BIND, NONE)?;
        }
        Ok(())
    }
}

/// Gives a signal its default action. Async-signal-safe.
pub(super) fn default_action(signal: libc::c_int) {
    // SAFETY: SIG_DFL runs none of our code. The call fails only for numbers that are no signal to change.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

fn c_string(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|e| Error::system("use path", path.display(), e))
}
