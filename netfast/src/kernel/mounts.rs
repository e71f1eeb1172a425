//! The mount table of the calling thread.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::{KernelError, Result};

/// One line of the mount table.
#[derive(Debug)]
pub(super) struct Mount {
    /// Where it is mounted.
    pub(super) target: PathBuf,
    /// Type of the file system.
    pub(super) kind: OsString,
    /// What was mounted, in whatever words the mounter chose.
    pub(super) source: OsString,
}

/// A thread may have a mount namespace of its own, so `/proc/self` would be the wrong place.
const TABLE: &str = "/proc/thread-self/mounts";

/// All mounts, in the order in which they were made.
pub(super) fn mounts() -> Result<Vec<Mount>> {
    let table = fs::read(TABLE).map_err(|e| KernelError::file("read", TABLE, e))?;
    Ok(table.split(|b| *b == b'\n').filter_map(parse).collect())
}

/// The mount that is seen at `target`: of several, the last.
pub(super) fn mount_at(target: &Path) -> Result<Option<Mount>> {
    Ok(mounts()?.into_iter().rfind(|mount| mount.target == target))
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|b| *b == b' ').map(unescape);
    let source = words.next()?;
    let target = PathBuf::from(words.next()?);
    let kind = words.next()?;
    Some(Mount { target, kind, source })
}

/// Spaces and the like stand as a backslash and three octal digits.
fn unescape(word: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, tail @ ..] = rest {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = (first, tail) {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    OsString::from_vec(out)
}

impl Mount {
    /// Whether its file system is of the type `kind`.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.kind.as_bytes() == kind.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_characters_are_read() {
        let mount = parse(br"none /run/a\040b\134c bpf rw 0 0").unwrap();
        assert_eq!(mount.target, Path::new(r"/run/a b\c"));
        assert!(mount.is("bpf"));
    }

    #[test]
    fn the_mount_table_of_this_thread_has_a_proc() {
        assert!(mount_at(Path::new("/proc")).unwrap().unwrap().is("proc"));
    }
}
