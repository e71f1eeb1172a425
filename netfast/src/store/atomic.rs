//! Files that are whole at any time: written beside their place and moved there.
//!
//! What a reboot voids is not synced to the disk: a killed process loses nothing by that, and a machine that crashes
//! reboots. It costs nothing on a tmpfs, where it should be, but milliseconds a file where it is not.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use super::fault;
use super::{Result, StoreError};

/// What unfinished files are called. No name of ours starts with a dot.
const TEMPORARY: &str = ".tmp-";

/// How long a file has to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    /// Until the next boot.
    UntilReboot,
    /// Until somebody removes it.
    ForGood,
}

/// Writes `value` to `path` as JSON that people can read, until the next boot. A killed process leaves the old file or the
/// new one.
pub(super) fn write<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    write_json(path, serde_json::to_vec_pretty(value), Lasts::UntilReboot)
}

/// As [`write()`], in as little as will do.
pub(super) fn write_compact<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    write_json(path, serde_json::to_vec(value), Lasts::UntilReboot)
}

/// As [`write()`], for good: a machine that crashes leaves the old file or the new one too.
pub(super) fn write_for_good<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    write_json(path, serde_json::to_vec_pretty(value), Lasts::ForGood)
}

/// As [`write()`], in a form that only programs can read, and `tail` behind it.
pub(super) fn write_binary<T: Serialize + ?Sized>(path: &Path, value: &T, tail: &[u8]) -> Result<()> {
    let failed = |e| StoreError::file("write", path, io::Error::other(e));
    let head = postcard::to_stdvec(value).map_err(failed)?;
    if tail.is_empty() {
        return write_bytes(path, &head, Lasts::UntilReboot);
    }
    let lasts = Lasts::UntilReboot;
    let content = |file: &mut File| file.write_all(&head).and_then(|()| file.write_all(tail));
    put(beside(path, (TEMPORARY, 0o600), lasts, content)?, path, lasts)
}

fn write_json(path: &Path, bytes: serde_json::Result<Vec<u8>>, lasts: Lasts) -> Result<()> {
    write_bytes(path, &json(path, bytes)?, lasts)
}

fn json(path: &Path, bytes: serde_json::Result<Vec<u8>>) -> Result<Vec<u8>> {
    let mut bytes = bytes.map_err(|source| StoreError::Encode { path: path.to_owned(), source })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A file that holds this already stays: to go back to what was takes no room on a disk that is full.
fn write_bytes(path: &Path, bytes: &[u8], lasts: Lasts) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    put(beside(path, (TEMPORARY, 0o600), lasts, |file| file.write_all(bytes))?, path, lasts)
}

/// The new content of a file that lasts, on the disk beside its place: to put it there takes no room any more.
#[derive(Debug)]
pub struct Prepared {
    /// `None`: there is nothing to be written.
    file: Option<(PathBuf, NamedTempFile)>,
}

impl Prepared {
    /// What leaves everything as it is.
    pub(super) const fn nothing() -> Self {
        Self { file: None }
    }

    /// Whether it leaves everything as it is.
    pub(super) const fn is_nothing(&self) -> bool {
        self.file.is_none()
    }

    /// Writes `value` as JSON that people can read beside `path`.
    pub(super) fn json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<Self> {
        let bytes = json(path, serde_json::to_vec_pretty(value))?;
        let file = beside(path, (TEMPORARY, 0o600), Lasts::ForGood, |file| file.write_all(&bytes))?;
        Ok(Self { file: Some((path.to_owned(), file)) })
    }

    /// Puts it at its place.
    ///
    /// # Errors
    /// When it cannot be put there. The old one is there then.
    pub fn put(self) -> Result<()> {
        self.file.map_or(Ok(()), |(path, file)| put(file, &path, Lasts::ForGood))
    }
}

/// Puts what `content` writes at `path`, for good. Until then it is in a file beside that, whose name begins with
/// `temporary`.
pub(super) fn replace(
    path: &Path,
    temporary: &str,
    mode: u32,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<()> {
    put(beside(path, (temporary, mode), Lasts::ForGood, content)?, path, Lasts::ForGood)
}

fn beside(
    path: &Path,
    (temporary, mode): (&str, u32),
    lasts: Lasts,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<NamedTempFile> {
    let failed = |e| StoreError::file("write", path, e);
    fault::point("store: before a write");
    let mut file = tempfile::Builder::new()
        .prefix(temporary)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory_of(path))
        .map_err(failed)?;
    content(file.as_file_mut()).map_err(failed)?;
    if lasts == Lasts::ForGood {
        file.as_file().sync_all().map_err(failed)?;
    }
    Ok(file)
}

fn put(file: NamedTempFile, path: &Path, lasts: Lasts) -> Result<()> {
    let failed = |e| StoreError::file("write", path, e);
    fault::point("store: before a rename");
    file.persist(path).map_err(|e| failed(e.error))?;
    if lasts == Lasts::ForGood {
        sync_directory(directory_of(path)).map_err(failed)?;
    }
    fault::point("store: after a write");
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("."))
}

/// Reads the file at `path`; `None` where there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path, advice: &'static str) -> Result<Option<T>> {
    let Some(bytes) = read_bytes(path)? else { return Ok(None) };
    parse(path, &bytes, advice).map(Some)
}

/// Reads the content of the file at `path`.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8], advice: &'static str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Corrupt {
        path: path.to_owned(),
        advice,
        source,
    })
}

/// As [`read`], without looking at the content.
pub(super) fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::file("read", path, e)),
    }
}

/// Removes a file and says whether it was there.
pub(super) fn remove(path: &Path) -> Result<bool> {
    fault::point("store: before a removal");
    match fs::remove_file(path) {
        Ok(()) => {
            fault::point("store: after a removal");
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StoreError::file("remove", path, e)),
    }
}

/// Moves a file to another name in its directory.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fault::point("store: before a rename");
    fs::rename(from, to).map_err(|e| StoreError::file("rename", from, e))?;
    fault::point("store: after a rename");
    Ok(())
}

/// Removes what killed writers left. Only the holder of the lock may, as others' unfinished files look the same.
pub(super) fn sweep(directory: &Path) -> Result<()> {
    for name in names(directory, |name| name.starts_with(TEMPORARY))? {
        remove(&directory.join(name))?;
    }
    Ok(())
}

/// Names of the files in a directory, sorted; none where it does not exist.
pub(super) fn list(directory: &Path) -> Result<Vec<String>> {
    names(directory, |_| true)
}

fn names(directory: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let failed = |e| StoreError::file("list", directory, e);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        // Ours are all ASCII.
        let name = entry.map_err(failed)?.file_name();
        if let Some(name) = name.to_str().filter(|name| is_wanted(name)) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// How often a directory that others remove at the same time is made again.
const ATTEMPTS: usize = 100;

/// Makes a directory that only root may enter, and those above it. Others may make and remove it meanwhile.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    let failed = |e| StoreError::file("make the directory", path, e);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let Err(error) = DirBuilder::new().mode(0o700).create(path) else { return Ok(()) };
        match (error.kind(), path.parent()) {
            (io::ErrorKind::AlreadyExists, _) if path.is_dir() => return Ok(()),
            _ if attempts == ATTEMPTS => return Err(failed(error)),
            // Those above are not ours alone.
            (io::ErrorKind::NotFound, Some(parent)) => fs::create_dir_all(parent).map_err(failed)?,
            // It was there when it was to be made, and is gone again.
            (io::ErrorKind::AlreadyExists, _) if is_gone(path) => {}
            _ => return Err(failed(error)),
        }
    }
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// A rename is on the disk once its directory is.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
