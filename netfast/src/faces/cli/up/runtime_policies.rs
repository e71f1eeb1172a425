//! The policies of container runtimes: their directory is followed while a process is in the foreground.

use std::path::PathBuf;

use anyhow::Result;

use super::super::super::policy_directory::Found;
use super::super::{error, output};
use crate::manifest::Diagnostics;
use crate::reconcile::instance::{Instance, Options};

/// The directory that a container runtime has told of, if one has.
#[derive(Debug, Default)]
pub(super) struct RuntimePolicies {
    path: Option<PathBuf>,
    refused: Option<Refusal>,
}

/// What did not come into force.
#[derive(Debug)]
struct Refusal {
    /// Of what was read; `None`: it could not be.
    digest: Option<String>,
    why: String,
}

impl RuntimePolicies {
    /// Where it is.
    pub(super) const fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }

    /// Finds out which directory it is. Says whether it is another one than before.
    pub(super) fn find(&mut self, options: &Options) -> bool {
        // What is wrong with the state files, others tell.
        let path = Instance::policy_directory(options).ok().flatten().map(|directory| directory.path);
        let is_other = path != self.path;
        self.path = path;
        is_other
    }

    /// Puts in force what has changed, and tells; keeps what is in force where that is not to be.
    pub(super) fn look(&mut self, options: &Options) {
        let Some(path) = self.path.clone() else { return };
        let found = Found::look(&path);
        let digest = found.as_ref().ok().map(|found| found.digest.clone());
        let is_final = |refusal: &Refusal| digest.is_some() && refusal.digest == digest;
        if self.refused.as_ref().is_some_and(is_final) {
            return;
        }
        match found.map_err(anyhow::Error::from).and_then(|found| put_in_force(found, options)) {
            Ok(is_new) => {
                if is_new {
                    output::complain(&format!("netfast: put in force: {}", path.display()));
                } else if self.refused.is_some() {
                    output::complain("netfast: the policies of container runtimes are as what is in force");
                }
                self.refused = None;
            }
            Err(failure) => self.refuse(digest, &failure),
        }
    }

    /// Tells, once for the same files and the same reason.
    fn refuse(&mut self, digest: Option<String>, failure: &anyhow::Error) {
        let is_wrong = failure.downcast_ref::<Diagnostics>().is_some();
        let why = error::render(failure, false);
        if self.refused.as_ref().is_none_or(|before| before.why != why) {
            output::complain(&format!("{why}: what was in force stays"));
        }
        // What is not the files' fault may go better the next time.
        self.refused = Some(Refusal { digest: digest.filter(|_| is_wrong), why });
    }
}

/// `false`: nothing has changed.
fn put_in_force(found: Found, options: &Options) -> Result<bool> {
    if found.is_known(Instance::policy_directory(options)?.as_ref()) {
        return Ok(false);
    }
    let loaded = found.load()?;
    let mut instance = Instance::open(options)?;
    if instance.is_up() {
        found.put_in_force(&mut instance, loaded)?;
    }
    Ok(true)
}
