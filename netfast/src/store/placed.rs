//! Files in directories that are not ours: those of container runtimes. A receipt in the state directory lists them.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Paths, Result, StoreError, atomic, paths};

const RECEIPT: &str = "cni-install.json";

const ADVICE: &str = "nothing was changed; move it away, and remove by hand what it lists";

/// What unfinished files are called: nothing that a runtime reads. A killed command leaves them.
const TEMPORARY: &str = ".netfast-";

/// A file that was put into a directory that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Placed {
    /// A copy of this program.
    Program {
        /// Where it is.
        path: PathBuf,
    },
    /// A configuration that is all ours.
    Configuration {
        /// Where it is.
        path: PathBuf,
        /// Tells whether somebody has changed it since.
        digest: u64,
    },
    /// Somebody else's configuration, with a plugin of ours in it.
    Chained {
        /// Where it is.
        path: PathBuf,
        /// The file it was made of, which was moved to this name.
        original: Option<PathBuf>,
    },
}

impl Placed {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Program { path } | Self::Configuration { path, .. } | Self::Chained { path, .. } => path,
        }
    }
}

/// The list of files that were put into directories that are not ours.
#[derive(Debug)]
pub struct Receipt {
    path: PathBuf,
    files: Vec<Placed>,
}

impl Receipt {
    /// That of an instance; empty where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(paths: &Paths) -> Result<Self> {
        let path = paths.state_dir.join(RECEIPT);
        Ok(Self { files: atomic::read(&path, ADVICE)?.unwrap_or_default(), path })
    }

    /// What it lists.
    pub fn files(&self) -> &[Placed] {
        &self.files
    }

    /// What it says of the file at `path`.
    pub fn find(&self, path: &Path) -> Option<&Placed> {
        self.files.iter().find(|file| file.path() == path)
    }

    /// Lists a file that is about to be written, in place of what was said of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, file: Placed) -> Result<()> {
        self.files.retain(|other| other.path() != file.path());
        self.files.push(file);
        self.write()
    }

    /// Takes a file off that is gone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn forget(&mut self, path: &Path) -> Result<()> {
        self.files.retain(|file| file.path() != path);
        self.write()
    }

    fn write(&self) -> Result<()> {
        if !self.files.is_empty() {
            if let Some(directory) = self.path.parent() {
                atomic::make_directory(directory)?;
            }
            return atomic::write_for_good(&self.path, &self.files);
        }
        atomic::remove(&self.path)?;
        match self.path.parent() {
            Some(directory) => super::remove_if_empty(directory),
            None => Ok(()),
        }
    }
}

/// The digest of a configuration's text.
pub fn digest(text: &str) -> u64 {
    paths::hash(text.as_bytes())
}

/// Reads a configuration; `None` where there is none.
///
/// # Errors
/// When it cannot be read, or is no text.
pub fn read(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = atomic::read_bytes(path)? else { return Ok(None) };
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|e| StoreError::file("read", path, io::Error::new(io::ErrorKind::InvalidData, e)))
}

/// Writes a configuration that everybody may read, all at once, and its directory if need be.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    make_directory(path)?;
    atomic::replace(path, TEMPORARY, 0o644, |file| file.write_all(text.as_bytes()))
}

/// Writes a configuration that is somebody else's, all at once. It keeps its owner and its mode, and a link stays one.
///
/// # Errors
/// When it is not there, or cannot be written.
pub fn rewrite(path: &Path, text: &str) -> Result<()> {
    let failed = |e| StoreError::file("write", path, e);
    let real = path.canonicalize().map_err(failed)?;
    let was = fs::metadata(&real).map_err(failed)?;
    atomic::replace(&real, TEMPORARY, 0o600, |file| {
        file.write_all(text.as_bytes())?;
        fchown(&*file, Some(was.uid()), Some(was.gid()))?;
        file.set_permissions(was.permissions())
    })
}

/// The files of a directory that runtimes may take for configurations, by name; none where there is no such directory.
///
/// # Errors
/// When it cannot be read.
pub fn configurations(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| StoreError::file("read the directory", directory, e);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let is_configuration = |path: &PathBuf| {
        path.extension().is_some_and(|end| ["conf", "conflist", "json"].iter().any(|known| end == *known))
    };
    let mut found: Vec<_> = paths.map_err(failed)?.into_iter().filter(is_configuration).collect();
    found.sort();
    Ok(found)
}

/// Whether the program at `path` is the same as that at `other`, to the byte, and may be executed.
///
/// # Errors
/// When one that is there cannot be read.
pub fn is_copy(other: &Path, path: &Path) -> Result<bool> {
    let failed = |path: &Path, e| StoreError::file("read", path, e);
    let there = match fs::metadata(path) {
        Ok(there) => there,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(failed(path, e)),
    };
    let size = fs::metadata(other).map_err(|e| failed(other, e))?.len();
    if !there.is_file() || there.mode() & 0o111 != 0o111 || there.len() != size {
        return Ok(false);
    }
    let read = |path: &Path| fs::read(path).map_err(|e| failed(path, e));
    Ok(read(path)? == read(other)?)
}

/// Puts a copy of the program `from` at `path`, all at once, and makes its directory if need be. What runs goes on with the
/// old one.
///
/// # Errors
/// When it cannot be read or written.
pub fn copy_program(from: &Path, path: &Path) -> Result<()> {
    let program = fs::read(from).map_err(|e| StoreError::file("read", from, e))?;
    make_directory(path)?;
    atomic::replace(path, TEMPORARY, 0o755, |file| {
        // What is written at once has its pages together in the kernel's cache, where the file system knows of large folios
        // (ext4 since Linux 6.16): who starts the program has it mapped by fewer and shorter faults.
        file.write_all(&program)?;
        // Whatever the umask is.
        file.set_permissions(fs::Permissions::from_mode(0o755))
    })
}

/// Moves a file to another name in its directory.
///
/// # Errors
/// When it cannot be moved.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| StoreError::file("rename", from, e))
}

/// Removes a file and says whether it was there.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(path: &Path) -> Result<bool> {
    atomic::remove(path)
}

fn make_directory(file: &Path) -> Result<()> {
    let Some(directory) = file.parent() else { return Ok(()) };
    fs::create_dir_all(directory).map_err(|e| StoreError::file("make the directory", directory, e))
}
