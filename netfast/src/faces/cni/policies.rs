//! The directory of policies: what its files say is put in force when a container is added and they have changed.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::config::Said;
use super::failure::{Code, Failure};
use crate::manifest::{self, Diagnostics};
use crate::reconcile::instance::Instance;
use crate::store::PolicyDirectory;

/// Where policies are, unless the configuration says otherwise. It need not be there.
const DEFAULT: &str = "/etc/netfast/policies.d";

/// Puts in force what the directory says now. Where a file has a mistake, what is in force stays, and no container is added
/// until the file is mended: it might be one that the file is about.
pub(super) fn follow(instance: &mut Instance, said: &Said, known: Option<&PolicyDirectory>) -> Result<()> {
    let directory = said.policy_dir.as_deref().unwrap_or(Path::new(DEFAULT));
    let files = if said.policy_dir.is_none() && !directory.exists() {
        if known.is_none_or(|known| known.path != directory) {
            return Ok(());
        }
        Vec::new()
    } else {
        manifest::in_directory(directory).map_err(|e| refused(&Diagnostics(vec![e])))?
    };
    let digest = digest(&files);
    if known.is_some_and(|known| known.path == directory && known.digest == digest) {
        return Ok(());
    }
    let loaded = manifest::load_policies(&files).map_err(|e| refused(&e))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    instance.change(|definitions| {
        definitions.replace_directory(
            directory,
            digest,
            loaded.policies,
            loaded.cluster_policies,
            loaded.namespaces,
        );
        Ok(())
    })
}

fn refused(diagnostics: &Diagnostics) -> Failure {
    let lines: Vec<_> = diagnostics.0.iter().map(ToString::to_string).collect();
    Failure::new(Code::Config, format!("policies: {}", lines.join("; ")))
        .details("the policies in force stay; no container is added until this is mended")
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
