//! Notice of changed files, in whatever way they are changed.
//!
//! A file is written in place, or another one is renamed over it; a symbolic link on the way to it is made to lead
//! elsewhere, as in a mounted `ConfigMap`. So what is watched is not the file but, for each name on its path, the directory
//! that has the name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// As many symbolic links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Notices; readable when there may be one.
#[derive(Debug)]
pub(super) struct Notices {
    inotify: Inotify,
    /// The names that count in each directory.
    names: BTreeMap<WatchDescriptor, Names>,
}

/// Names in a directory.
#[derive(Debug)]
enum Names {
    These(BTreeSet<OsString>),
    All,
}

impl Notices {
    /// Notices of nothing yet.
    pub(super) fn new() -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .context("follow the files (fs.inotify.max_user_instances may be too small)")?;
        Ok(Self { inotify, names: BTreeMap::new() })
    }

    /// From now on, tells of these files and of everything in these directories, there or not. What changed before has
    /// to be looked for after this.
    pub(super) fn follow(&mut self, paths: &BTreeSet<PathBuf>) {
        let before: Vec<WatchDescriptor> = std::mem::take(&mut self.names).into_keys().collect();
        for path in paths {
            self.follow_one(path);
        }
        for unused in before.into_iter().filter(|watch| !self.names.contains_key(watch)) {
            // It goes by itself with its directory.
            let _ = self.inotify.rm_watch(unused);
        }
    }

    fn follow_one(&mut self, path: &Path) {
        let Ok(path) = std::path::absolute(path) else { return };
        let mut names: VecDeque<OsString> = names(&path).collect();
        let mut directory = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = names.pop_front() {
            if name == ".." {
                directory.pop();
                continue;
            }
            // Before the link is read: if it changes after that, there is a notice.
            if !self.watch(&directory, Some(&name)) {
                return;
            }
            let next = directory.join(&name);
            match fs::read_link(&next) {
                Ok(_) if links == MOST_LINKS => return,
                Ok(target) => {
                    links += 1;
                    if target.is_absolute() {
                        directory = PathBuf::from("/");
                    }
                    let rest = std::mem::take(&mut names);
                    names = self::names(&target).chain(rest).collect();
                }
                Err(_) => directory = next,
            }
        }
        if directory.is_dir() {
            self.watch(&directory, None);
        }
    }

    /// Watches for a name in a directory, or for all; `false`: there is no such directory, or one may not look at it.
    fn watch(&mut self, directory: &Path, name: Option<&OsStr>) -> bool {
        let kinds = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_ONLYDIR;
        let Ok(watch) = self.inotify.add_watch(directory, kinds) else { return false };
        let names = self.names.entry(watch).or_insert_with(|| Names::These(BTreeSet::new()));
        match (names, name) {
            (Names::All, _) => {}
            (Names::These(names), Some(name)) => drop(names.insert(name.to_owned())),
            (names, None) => *names = Names::All,
        }
        true
    }

    /// Takes all notices that have come, and says whether there was one.
    pub(super) fn take(&self) -> Result<bool> {
        let mut found = false;
        loop {
            match self.inotify.read_events() {
                Ok(events) => found |= events.iter().any(|event| self.counts(event)),
                Err(Errno::EAGAIN) => return Ok(found),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e).context("read what has become of the files"),
            }
        }
    }

    fn counts(&self, event: &InotifyEvent) -> bool {
        match (self.names.get(&event.wd), &event.name) {
            (Some(Names::All), _) => true,
            (Some(Names::These(names)), Some(name)) => names.contains(name),
            // The directory itself is gone.
            (Some(Names::These(_)), None) => event.mask.contains(AddWatchFlags::IN_IGNORED),
            // There were too many to be told.
            (None, _) => event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW),
        }
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// The names on a path, `..` among them.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Follows a path, does something, and says whether there was a notice.
    fn notices(path: &Path, change: impl FnOnce()) -> bool {
        let mut notices = Notices::new().unwrap();
        notices.follow(&[path.to_owned()].into());
        assert!(!notices.take().unwrap());
        change();
        notices.take().unwrap()
    }

    #[test]
    fn every_way_to_change_a_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str| fs::write(path(name), name).unwrap();
        let file = path("a.yaml");
        assert!(notices(&file, || write("a.yaml")), "made");
        assert!(notices(&file, || write("a.yaml")), "written in place");
        assert!(notices(&file, || fs::rename(&file, path("a.yaml~")).unwrap()), "renamed");
        write("new");
        assert!(notices(&file, || fs::rename(path("new"), &file).unwrap()), "renamed over");
        assert!(!notices(&file, || write("b.yaml")), "another file");
        assert!(!notices(&file, || drop(fs::read(&file).unwrap())), "read");
        assert!(notices(&file, || fs::remove_file(&file).unwrap()), "removed");
        assert!(notices(dir.path(), || write("c.yaml")), "in a directory");
        assert!(
            notices(&path("d/e/f.yaml"), || fs::create_dir_all(path("d/e")).unwrap()),
            "directories made"
        );
    }

    #[test]
    fn a_link_on_the_way_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("a.yaml"), version).unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/a.yaml", path("a.yaml")).unwrap();
        symlink(dir.path(), path("self")).unwrap();
        let file = path("self/../").join(dir.path().file_name().unwrap()).join("a.yaml");
        let swap = || {
            symlink("..2", path("..new")).unwrap();
            fs::rename(path("..new"), path("..data")).unwrap();
        };
        assert!(notices(&file, swap), "swapped");
        assert_eq!(fs::read_to_string(&file).unwrap(), "..2");
        assert!(notices(&file, || fs::write(path("..2/a.yaml"), "").unwrap()), "written where it leads");
        assert!(!notices(&file, || fs::write(path("..1/a.yaml"), "").unwrap()), "written where it led");
        symlink("loop", path("loop")).unwrap();
        assert!(notices(&path("loop"), || fs::remove_file(path("loop")).unwrap()));
    }

    #[test]
    fn what_is_followed_no_more_is_not_told() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        fs::create_dir(&sub).unwrap();
        let mut notices = Notices::new().unwrap();
        notices.follow(&[sub.join("a.yaml")].into());
        notices.follow(&[dir.path().join("b.yaml")].into());
        assert!(!notices.take().unwrap());
        fs::write(sub.join("a.yaml"), "").unwrap();
        assert!(!notices.take().unwrap());
        fs::write(dir.path().join("b.yaml"), "").unwrap();
        assert!(notices.take().unwrap());
    }
}
