//! Places of those who read events: a fixed number, taken by locks on single bytes of a file, which end with their
//! process however that ends.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::{Result, Store, StoreError};

/// One of the places, held until dropped.
#[derive(Debug)]
pub struct ReaderPlace {
    /// Its number, from 0.
    pub number: usize,
    // Closing it ends the lock.
    _file: File,
}

impl Store {
    pub(super) fn readers_file(&self) -> PathBuf {
        self.paths().run_dir.join("readers")
    }

    /// Takes the place `number` if it is free.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    #[expect(clippy::cast_possible_truncation, reason = "constants that the kernel has in shorts")]
    pub fn take_reader_place(&self, number: usize) -> Result<Option<ReaderPlace>> {
        let path = self.readers_file();
        let failed = |operation, e: std::io::Error| StoreError::file(operation, &path, e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(|e| failed("open", e))?;
        let byte = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: libc::off_t::try_from(number).unwrap_or(libc::off_t::MAX - 1),
            l_len: 1,
            l_pid: 0,
        };
        // A lock of the open file, not of the process: another place is another file.
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&byte)) {
            Ok(_) => Ok(Some(ReaderPlace { number, _file: file })),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(failed("lock", errno.into())),
        }
    }

    /// When what names are made of was written last: it changes whenever endpoints or policies do.
    pub fn changed(&self) -> [Option<std::time::SystemTime>; 6] {
        let files = [
            self.definitions_file(),
            self.amendments_dir(),
            self.numbers_file(),
            self.endpoints_dir(),
            self.networks_dir(),
            self.attachments_dir(),
        ];
        files.map(|file| std::fs::metadata(file).and_then(|about| about.modified()).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Paths, PathsOptions};
    use super::*;

    #[test]
    fn a_place_is_taken_once_and_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| Some(dir.path().join(name));
        let options =
            PathsOptions { state_dir: at("state"), run_dir: at(""), bpffs: at("bpf"), cgroup: None };
        let store = Store::new(Paths::resolve(options).unwrap());
        let first = store.take_reader_place(0).unwrap().unwrap();
        assert!(store.take_reader_place(0).unwrap().is_none());
        let second = store.take_reader_place(1).unwrap().unwrap();
        assert_eq!((first.number, second.number), (0, 1));
        drop(first);
        assert!(store.take_reader_place(1).unwrap().is_none());
        assert!(store.take_reader_place(0).unwrap().is_some());
    }
}
