//! The lock of an instance: held around looking at the state, computing what is to change, and changing it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::atomic::make_directory;
use super::{Result, StoreError};

const NAME: &str = "lock";

/// What stands in the file while nobody holds the lock, unless its last holder was killed.
const NOBODY: &str = "-";

/// The lock, held until dropped. It ends with the process however that ends, and children do not inherit it.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    // Closing it ends the lock.
    file: File,
    was_left: bool,
}

impl Lock {
    /// Waits for the lock of the instance whose run directory is given.
    pub(super) fn acquire(run_dir: &Path, timeout: Duration) -> Result<Self> {
        let path = run_dir.join(NAME);
        let deadline = Instant::now() + timeout;
        loop {
            make_directory(run_dir)?;
            let file = match open(&path) {
                Ok(file) => file,
                // The directory was removed in between.
                Err(e) if e.kind() == io::ErrorKind::NotFound && Instant::now() < deadline => continue,
                Err(e) => return Err(StoreError::file("open", path, e)),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let locked = lock_within(file, left).map_err(|e| StoreError::file("lock", &path, e))?;
            let Some(file) = locked else {
                return Err(StoreError::Locked { holder: holder(&path), path, waited: timeout });
            };
            // Whoever held it may have removed the file together with the instance: then what was locked is
            // nobody's file any more.
            if is_at(&file, &path) {
                let was_left = !is_free(&file);
                note(&file, &std::process::id().to_string());
                return Ok(Self { path, file, was_left });
            }
        }
    }

    /// Whether whoever held it before may have been killed over what it did. It stays so until that is tidied up.
    pub(super) const fn was_left(&self) -> bool {
        self.was_left
    }

    /// Notes that nothing is left of it.
    pub(super) const fn tidied(&mut self) {
        self.was_left = false;
    }

    /// Removes the lock's file while the lock is still held.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(StoreError::file("remove", &self.path, e)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.was_left {
            note(&self.file, NOBODY);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    // The standard library opens everything close-on-exec.
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Locks a file within a time; `None` where that was too short.
///
/// The kernel has no such call. Trying again and again would be unfair, since the kernel wakes waiters in the order
/// they came; so a thread waits. Given up, it gets the lock some day, sees that nobody wants it, and lets go.
fn lock_within(file: File, timeout: Duration) -> io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => return Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(e)) => return Err(e),
    }
    let (send, receive) = mpsc::sync_channel(0);
    let wait = move || {
        let result = file.lock().map(|()| file);
        // Fails when nobody waits any more, and gives the file back, whose closing ends the lock.
        drop(send.send(result));
    };
    thread::Builder::new().name("lock".to_owned()).spawn(wait)?;
    match receive.recv_timeout(timeout) {
        Ok(result) => result.map(Some),
        Err(_) => Ok(None),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Writes down who has it, for those who wait in vain. All holders are written in one width: cutting off what is left of a longer
/// one has some file systems write to the disk. On a full disk nobody is told, and what makes room can be done.
fn note(file: &File, holder: &str) {
    if let Err(error) = file.write_all_at(format!("{holder:<10}\n").as_bytes(), 0) {
        tracing::debug!(%error, "cannot note who holds the lock");
    }
}

/// Whether its last holder gave it back. A new file says nothing, and what cannot be read neither.
fn is_free(file: &File) -> bool {
    let mut first = [0];
    file.read_exact_at(&mut first, 0).is_ok() && first == *NOBODY.as_bytes()
}

fn holder(path: &Path) -> String {
    let pid = fs::read_to_string(path).unwrap_or_default();
    let pid = pid.trim();
    if pid.is_empty() || pid == NOBODY {
        return "an unknown process".to_owned();
    }
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(command) => format!("process {pid} ({})", command.trim()),
        Err(_) => format!("process {pid}"),
    }
}
