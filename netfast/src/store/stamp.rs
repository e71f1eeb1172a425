//! What tells a file from one that took its place.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Result, StoreError};

/// A file, told from one that took its place: every write makes another. Or a file with a directory of such beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    file: About,
    directory: Option<About>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// That of the file at `path`; `None`: there is none.
    pub(super) fn of(path: &Path) -> Result<Option<Self>> {
        Ok(About::of(path)?.map(|file| Self { file, directory: None }))
    }

    /// That of a file and of a directory, in which another file is whenever one is written or removed.
    pub(super) fn of_file_and_directory(file: &Path, directory: &Path) -> Result<Option<Self>> {
        let Some(file) = About::of(file)? else { return Ok(None) };
        Ok(Some(Self { file, directory: About::of(directory)? }))
    }
}

impl About {
    fn of(path: &Path) -> Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(about) => Ok(Some(Self {
                inode: about.ino(),
                size: about.size(),
                modified: (about.mtime(), about.mtime_nsec()),
            })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::file("look at", path, e)),
        }
    }
}
