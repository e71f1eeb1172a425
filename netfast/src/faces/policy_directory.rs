//! The directory of policies that container runtimes tell of: what its files say is put in force when they have changed.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::manifest::{self, Diagnostics};
use crate::reconcile::instance::Instance;
use crate::store::PolicyDirectory;

/// Where policies are, unless a configuration says otherwise. It need not be there.
pub(super) const DEFAULT: &str = "/etc/netfast/policies.d";

/// What is in such a directory.
#[derive(Debug)]
pub(super) struct Found {
    path: PathBuf,
    files: Vec<PathBuf>,
    /// What tells it from what it was and will be.
    pub digest: String,
}

impl Found {
    /// Looks into a directory. That which is the default need not be there.
    pub(super) fn look(path: &Path) -> Result<Self, Diagnostics> {
        let files = if path == Path::new(DEFAULT) && !path.exists() {
            Vec::new()
        } else {
            manifest::in_directory(path).map_err(|e| Diagnostics(vec![e]))?
        };
        Ok(Self { path: path.to_owned(), digest: digest(&files), files })
    }

    /// Whether it is what was read last. Where nothing ever was, nothing is what was read.
    pub(super) fn is_known(&self, known: Option<&PolicyDirectory>) -> bool {
        match known {
            Some(known) => known.path == self.path && known.digest == self.digest,
            None => self.files.is_empty() && self.path == Path::new(DEFAULT),
        }
    }

    /// Reads the files.
    pub(super) fn load(&self) -> Result<manifest::LoadedPolicies, Diagnostics> {
        manifest::load_policies(&self.files)
    }

    /// Puts in force what they say.
    pub(super) fn put_in_force(
        self,
        instance: &mut Instance,
        loaded: manifest::LoadedPolicies,
    ) -> Result<()> {
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        instance.change(|definitions| {
            definitions.replace_directory(
                &self.path,
                self.digest,
                loaded.policies,
                loaded.cluster_policies,
                loaded.namespaces,
            );
            Ok(())
        })
    }
}

/// What tells files from what they were: which there are, and when and how they were written last.
fn digest(files: &[PathBuf]) -> String {
    let mut digest = String::new();
    for file in files {
        // One that is gone by now is missed when it is read.
        let (mtime, nanos, size, inode) = fs::metadata(file)
            .map_or((0, 0, 0, 0), |file| (file.mtime(), file.mtime_nsec(), file.size(), file.ino()));
        // Writing to a string cannot fail.
        let _ = write!(digest, "{} {mtime}.{nanos} {size} {inode};", file.display());
    }
    digest
}
