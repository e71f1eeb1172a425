//! Following the files: what they say is put in force as they change, as another `netfast up` would.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::super::{error, output};
use super::notices::Notices;
use super::replace;
use super::runtime_policies::RuntimePolicies;
use crate::manifest::{self, Diagnostics};
use crate::reconcile::instance::{Instance, Options};

/// How long files must be what they are before they are read for good: who writes one may write another.
const QUIET: Duration = Duration::from_millis(100);
/// Files that change all the time are read after so many times [`QUIET`].
const PATIENCE: u32 = 10;
/// Files that a message names.
const NAMED: usize = 3;

/// A hash of what stands in each file; `None`: it cannot be read. Of a directory, which is none, nothing is known.
type Content = BTreeMap<PathBuf, Option<u64>>;

/// The files of a process in the foreground.
#[derive(Debug)]
pub(super) struct Follow {
    file: PathBuf,
    policies: Vec<PathBuf>,
    notices: Notices,
    sources: Sources,
    runtime_policies: RuntimePolicies,
    in_force: Content,
    refused: Option<Refusal>,
}

/// What is to be read, by the content of the first file.
#[derive(Debug, Default)]
struct Sources {
    of: Option<u64>,
    paths: BTreeSet<PathBuf>,
}

/// Files that did not come into force.
#[derive(Debug)]
struct Refusal {
    content: Content,
    why: String,
    /// Trying again does not help: the files say something wrong.
    is_final: bool,
}

/// What came of trying.
enum Outcome {
    InForce,
    /// There is no instance any more.
    Gone,
    /// They changed again while they were read.
    Changed,
}

impl Follow {
    /// Looks at the files for the first time, before they are read.
    pub(super) fn new(file: &Path, policies: &[PathBuf]) -> Result<Self> {
        let mut follow = Self {
            file: file.to_owned(),
            policies: policies.to_vec(),
            notices: Notices::new()?,
            sources: Sources::default(),
            runtime_policies: RuntimePolicies::default(),
            in_force: Content::new(),
            refused: None,
        };
        follow.in_force = follow.content();
        Ok(follow)
    }

    /// Tells when it may be time to look again.
    pub(super) const fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Puts in force what has changed, and tells; keeps what is in force where that is not to be.
    pub(super) fn look(&mut self, options: &Options) {
        self.look_at_files(options);
        if self.runtime_policies.find(options) {
            self.notice();
        }
        self.runtime_policies.look(options);
    }

    fn look_at_files(&mut self, options: &Options) {
        let content = self.settled();
        if content == self.in_force {
            if self.refused.take().is_some() {
                output::complain("netfast: the files are as they were, and as what is in force");
            }
            return;
        }
        if self.refused.as_ref().is_some_and(|refusal| refusal.is_final && refusal.content == content) {
            return;
        }
        match self.apply(&content, options) {
            Ok(Outcome::InForce) => {
                let changed = self.changed(&content);
                output::complain(&format!("netfast: put in force: {changed}"));
                (self.in_force, self.refused) = (content, None);
            }
            Ok(Outcome::Gone | Outcome::Changed) => {}
            Err(failure) => self.refuse(content, &failure),
        }
    }

    fn apply(&mut self, content: &Content, options: &Options) -> Result<Outcome> {
        let loaded = manifest::load(&self.file, &self.policies);
        if self.content() != *content {
            return Ok(Outcome::Changed);
        }
        let loaded = loaded?;
        let mut instance = Instance::open(options)?;
        if !instance.is_up() {
            return Ok(Outcome::Gone);
        }
        instance.change(|definitions| {
            replace::is_of(definitions, &self.file)?;
            replace::replace(definitions, loaded.world, &self.file)
        })?;
        for warning in &loaded.warnings {
            output::complain(&format!("warning: {warning}"));
        }
        Ok(Outcome::InForce)
    }

    /// Tells, once for the same files and the same reason.
    fn refuse(&mut self, content: Content, failure: &anyhow::Error) {
        let (why, is_final) = match failure.downcast_ref::<Diagnostics>() {
            Some(diagnostics) => (format!("{diagnostics:#}\nnetfast: {}", diagnostics.summary()), true),
            None => (error::render(failure, false), false),
        };
        if self.refused.as_ref().is_none_or(|before| before.content != content || before.why != why) {
            output::complain(&format!("{why}: what was in force stays"));
        }
        self.refused = Some(Refusal { content, why, is_final });
    }

    /// What the files hold once they rest.
    fn settled(&mut self) -> Content {
        let mut content = self.content();
        for _ in 0..PATIENCE {
            if content == self.in_force {
                break;
            }
            thread::sleep(QUIET);
            let now = self.content();
            // A file that is written in place is empty before it is full.
            if now == content && !now.values().any(|hash| *hash == Some(hash_of(&[]))) {
                break;
            }
            content = now;
        }
        content
    }

    /// What the files hold. Whatever changes after this is noticed.
    fn content(&mut self) -> Content {
        self.notice();
        let first = hash(&self.file);
        let has_directory = self.sources.paths.iter().any(|path| path.is_dir());
        if has_directory || first.is_none() || first != self.sources.of {
            self.sources = Sources { of: first, paths: manifest::sources(&self.file, &self.policies) };
            self.notice();
        }
        self.sources.paths.iter().map(|path| (path.clone(), hash(path))).collect()
    }

    /// From now on, there is notice of all that is followed.
    fn notice(&mut self) {
        let all = self.sources.paths.iter().chain(self.runtime_policies.path());
        self.notices.follow(&all.cloned().collect());
    }

    /// The files that differ from what is in force, in words.
    fn changed(&self, content: &Content) -> String {
        let both: BTreeSet<&PathBuf> = content.keys().chain(self.in_force.keys()).collect();
        let differs = |path: &&PathBuf| content.get(*path) != self.in_force.get(*path);
        let changed: Vec<String> =
            both.into_iter().filter(differs).map(|p| p.display().to_string()).collect();
        let named = changed.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        match changed.len().saturating_sub(NAMED) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }
}

fn hash(path: &Path) -> Option<u64> {
    fs::read(path).ok().map(|bytes| hash_of(&bytes))
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
