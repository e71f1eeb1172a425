//! The bpf file system an instance pins its objects in.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use netfast_common::LAYOUT_VERSION;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::statfs;

use super::mounts::mount_at;
use super::{KernelError, Result, object};

/// Where every tool expects the bpf file system.
const SYSTEM: &str = "/sys/fs/bpf";
/// What netfast's own mounts are called in the mount table, which tells them from foreign ones.
const SOURCE: &str = "netfast";
/// What is being loaded. It gets its real name once it is whole.
const LOADING: &str = "loading";
/// What directories of programs are called, before the digest of the object they are from.
const PROGRAMS: &str = "programs-";

/// The directory on a bpf file system that belongs to one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bpffs {
    directory: PathBuf,
}

impl Bpffs {
    /// Names the directory without touching it.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Sees to it that `directory` exists and lies on a bpf file system: `/sys/fs/bpf` is mounted where it is
    /// missing, as other tools do; any other directory gets a mount of its own unless it lies on one already.
    /// Nobody but root may enter it.
    ///
    /// # Errors
    /// When a directory or a mount cannot be made.
    pub fn ensure(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        if !on_bpffs(&directory)? {
            if directory.starts_with(SYSTEM) {
                mount(Path::new(SYSTEM), "bpf", None)?;
            } else {
                make_directory(&directory)?;
                mount(&directory, SOURCE, Some("mode=0700"))?;
            }
        }
        make_directory(&directory)?;
        Ok(Self { directory })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the directory is there and on a bpf file system.
    pub fn exists(&self) -> bool {
        is_bpffs(&self.directory).unwrap_or(false)
    }

    /// Undoes [`Bpffs::ensure`]: unmounts what it mounted on the directory and removes the directory if nothing
    /// else is in it. `/sys/fs/bpf` itself stays mounted for others.
    ///
    /// # Errors
    /// When the mount or the directory cannot be removed.
    pub fn release(&self) -> Result<()> {
        // The table holds real paths, and knows nothing of a directory that does not exist.
        if let Ok(real) = self.directory.canonicalize() {
            while mount_at(&real)?.is_some_and(|m| m.is("bpf") && m.source == SOURCE) {
                // Lazily: a process that looks into it must not keep an instance from being removed.
                nix::mount::umount2(&real, MntFlags::MNT_DETACH)
                    .map_err(|e| KernelError::file("unmount", &real, e.into()))?;
            }
        }
        match fs::remove_dir(&self.directory) {
            Ok(()) => Ok(()),
            Err(e) => match e.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::DirectoryNotEmpty
                | io::ErrorKind::ResourceBusy
                | io::ErrorKind::NotADirectory => Ok(()),
                _ => Err(KernelError::file("remove", &self.directory, e)),
            },
        }
    }

    /// Directory of the pins of this layout version.
    pub(super) fn version(&self) -> Pins {
        Pins(self.directory.join(format!("v{LAYOUT_VERSION}")))
    }

    /// Directory a new set is made in.
    pub(super) fn loading(&self) -> Pins {
        Pins(self.directory.join(LOADING))
    }

    /// Every directory of pins that netfast made here, those of other layout versions among them.
    pub(super) fn all_pins(&self) -> Result<Vec<Pins>> {
        let entries = list(&self.directory)?;
        let ours = |name: &String| name == LOADING || version_of(name).is_some();
        Ok(entries.into_iter().filter(ours).map(|name| Pins(self.directory.join(name))).collect())
    }

    /// Sees that there are no pins of another layout version: what they hold means something else.
    pub(super) fn check_version(&self) -> Result<()> {
        let is_other = |name: &String| version_of(name).is_some_and(|v| v != LAYOUT_VERSION.to_string());
        match list(&self.directory)?.into_iter().find(is_other) {
            None => Ok(()),
            Some(name) => Err(KernelError::OtherVersion {
                found: version_of(&name).unwrap_or_default().to_owned(),
                directory: self.directory.join(name),
            }),
        }
    }
}

/// The layout version a directory of pins is of, by its name.
fn version_of(name: &str) -> Option<&str> {
    name.strip_prefix('v').filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// A directory that holds one set of pins.
#[derive(Clone, Debug)]
pub(super) struct Pins(pub(super) PathBuf);

impl Pins {
    pub(super) fn maps(&self) -> PathBuf {
        self.0.join("maps")
    }

    /// The programs of this binary's object.
    pub(super) fn programs(&self) -> PathBuf {
        self.0.join(format!("{PROGRAMS}{}", object::digest()))
    }

    /// The digests of the objects of which there are programs.
    pub(super) fn digests(&self) -> Result<Vec<String>> {
        let names = list(&self.0)?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(PROGRAMS)).map(str::to_owned).collect())
    }

    /// The programs of the object with this digest.
    pub(super) fn programs_of(&self, digest: &str) -> PathBuf {
        self.0.join(format!("{PROGRAMS}{digest}"))
    }

    /// Where programs are pinned that are to take the place of others.
    pub(super) fn loading(&self) -> PathBuf {
        self.0.join(LOADING)
    }

    pub(super) fn links(&self) -> PathBuf {
        self.0.join("links")
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs().join(name)
    }

    /// Makes the directories.
    pub(super) fn create(&self) -> Result<()> {
        [self.0.clone(), self.maps(), self.programs(), self.links()]
            .iter()
            .try_for_each(|dir| make_directory(dir))
    }
}

/// Names in a directory; none where it does not exist.
pub(super) fn list(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(KernelError::file("list", directory, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| KernelError::file("list", directory, e))?;
        // No name of ours is anything else than ASCII.
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes a file that may not be there.
pub(super) fn unlink(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(KernelError::file("remove", path, e)),
    }
}

/// Whether `path`, or the nearest directory above it that exists, lies on a bpf file system.
fn on_bpffs(path: &Path) -> Result<bool> {
    for ancestor in path.ancestors() {
        match is_bpffs(ancestor) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(KernelError::file("look at", ancestor, e)),
            Ok(is) => return Ok(is),
        }
    }
    Ok(false)
}

fn is_bpffs(path: &Path) -> io::Result<bool> {
    Ok(statfs::statfs(path)?.filesystem_type() == statfs::BPF_FS_MAGIC)
}

pub(super) fn make_directory(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|e| KernelError::file("make the directory", parent, e))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => restrict(path),
        Err(e) => Err(KernelError::file("make the directory", path, e)),
    }
}

/// Takes the group's and others' rights from a directory below the system's mount that somebody made before.
fn restrict(path: &Path) -> Result<()> {
    let mode = fs::metadata(path).map_err(|e| KernelError::file("look at", path, e))?.mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .map_err(|e| KernelError::file("restrict", path, e))?;
    }
    Ok(())
}

fn mount(target: &Path, source: &str, options: Option<&str>) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some(source), target, Some("bpf"), flags, options).map_err(|e| match e {
        nix::Error::EPERM => KernelError::NotPermitted {
            operation: format!("mounting a bpf file system on {}", target.display()),
            source: e.into(),
        },
        _ => KernelError::file("mount a bpf file system on", target, e.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::isolated;
    use super::*;

    #[test]
    fn a_directory_elsewhere_gets_a_mount_and_loses_it() {
        isolated(|dir| {
            let at = dir.join("some where/bpf");
            let bpffs = Bpffs::ensure(&at).unwrap();
            assert!(bpffs.exists());
            assert_eq!(fs::metadata(&at).unwrap().mode() & 0o777, 0o700);
            // Again, and one inside it: no second mount.
            Bpffs::ensure(&at).unwrap();
            let inner = Bpffs::ensure(at.join("inner")).unwrap();
            inner.release().unwrap();
            assert!(!at.join("inner").exists());
            bpffs.release().unwrap();
            assert!(!at.exists());
            bpffs.release().unwrap();
        });
    }

    #[test]
    fn a_foreign_mount_stays() {
        isolated(|dir| {
            mount(dir, "somebody", None).unwrap();
            let bpffs = Bpffs::ensure(dir).unwrap();
            bpffs.release().unwrap();
            assert!(bpffs.exists());
        });
    }
}
