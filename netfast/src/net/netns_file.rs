//! Network namespaces that outlive their makers by being mounted on a file.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::netns::on_fresh_thread;
use super::{Error, Netlink, Netns};

/// The index of `lo`: a namespace registers it before any other device.
pub(super) const LOOPBACK_INDEX: u32 = 1;

impl Netns {
    /// Makes a namespace with `lo` up and mounts it on a new file. The parent directories are made, for root only.
    ///
    /// A process killed inside leaves an empty file or the mounted namespace; [`Netns::remove`] removes either.
    ///
    /// # Errors
    /// [`Error::is_exists`] when there is a file at `path`, whatever it is.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::system("create network namespace", path.display(), source);
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        Self::unshare().and_then(|netns| netns.mount_on(path).map(|()| netns)).inspect_err(|_| {
            if let Err(error) = Self::remove(path) {
                tracing::warn!(path = %path.display(), %error, "a half-made network namespace stays behind");
            }
        })
    }

    /// Makes a namespace that lives as long as its handles.
    pub fn unshare() -> Result<Self, Error> {
        on_fresh_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Error::system("create", "network namespace", e))?;
            Self::current()
        })?
    }

    fn mount_on(&self, path: &Path) -> Result<(), Error> {
        Netlink::open(self)?.set_up(LOOPBACK_INDEX)?;
        // Last, so that what is mounted is complete.
        let source = format!("/proc/self/fd/{}", self.as_fd().as_raw_fd());
        mount(Some(source.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|e| Error::system("mount network namespace on", path.display(), e))
    }

    /// Unmounts the namespace from its file and removes the file. The namespace itself goes when its last user does.
    /// Success if nothing is there; anything but a namespace or an empty file is refused.
    pub fn remove(path: &Path) -> Result<(), Error> {
        let failed = |source: io::Error| Error::system("remove network namespace", path.display(), source);
        while is_nsfs(path).map_err(|e| failed(e.into()))? {
            match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                // Somebody else was quicker.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        match fs::symlink_metadata(path) {
            Ok(file) if file.is_file() && file.len() == 0 => {}
            Ok(_) => return Err(failed(Errno::ENOTEMPTY.into())),
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
        // Copies of the mount in other mount namespaces do not hold the file or the namespace: unlink detaches them
        // (Linux 3.19).
        match fs::remove_file(path) {
            Err(error) if !is_absent(&error) => Err(failed(error)),
            _ => Ok(()),
        }
    }
}

/// Whether a namespace is mounted there. A path that is not there holds none.
fn is_nsfs(path: &Path) -> Result<bool, Errno> {
    match statfs(path) {
        Ok(stat) => Ok(stat.filesystem_type() == NSFS_MAGIC),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
