//! Reads whole sets of files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::cases::Manifest;
use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::file;
use super::lint::lint;
use super::paths::expand;
use super::policy::Objects;
use super::topology::{self, Places, Topology};
use super::yaml::{Pos, Report};
use crate::model::lint::{Known, Lint};
use crate::model::{ClusterPolicy, Labels, Name, Policy, World, check};

/// What a `netfast.yaml` and its policies say.
#[derive(Debug)]
pub struct Loaded {
    /// The world they describe.
    pub world: World,
    /// What is allowed but may not be meant.
    pub warnings: Vec<Diagnostic>,
    /// The files that were read, `netfast.yaml` first.
    pub files: Vec<PathBuf>,
}

/// What files of policies say.
#[derive(Debug)]
pub struct LoadedPolicies {
    /// Policies of namespaces.
    pub policies: Vec<Policy>,
    /// Policies of the whole cluster.
    pub cluster_policies: Vec<ClusterPolicy>,
    /// The labels of namespaces.
    pub namespaces: BTreeMap<Name, Labels>,
    /// What is allowed but may not be meant.
    pub warnings: Vec<Diagnostic>,
}

impl LoadedPolicies {
    /// How many policies there are.
    pub fn count(&self) -> usize {
        self.policies.len() + self.cluster_policies.len()
    }
}

/// Reads a `netfast.yaml`, the policies it names, and some more.
pub fn load(file: &Path, extra_policies: &[PathBuf]) -> Result<Loaded, Diagnostics> {
    let text = file::read(file).map_err(|error| Diagnostics(vec![error]))?;
    let name = file::name(file);
    let mut report = Report::new(&name, &text);
    let Topology { mut world, places, policies, namespaces, .. } = topology::read(&text, &mut report);
    for problem in check(&world) {
        complain(&problem, &places, &mut report);
    }

    let directory = file.parent().unwrap_or(Path::new(""));
    let mut paths = Vec::new();
    let mut unread = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, at) in policies {
        let path = directory.join(path);
        match expand(&path) {
            Ok(files) => {
                for file in files {
                    if seen.insert(identity(&file)) {
                        paths.push((file, Some(at)));
                    } else {
                        report.warning(
                            Lint::Repeated,
                            at,
                            format!("{} is named twice", file.display()),
                            None,
                        );
                    }
                }
            }
            Err(error) => unread.push(named_at(error, &name, at)),
        }
    }
    let (extra, unread_extra) = expand_all(extra_policies, &mut seen);
    unread.extend(unread_extra);
    paths.extend(extra.into_iter().map(|path| (path, None)));

    let (objects, found) = read_policies(&paths, Some(&name));
    merge_namespaces(&mut world, &namespaces, &objects, &mut report);
    let mut files = vec![file.to_owned()];
    files.extend(paths.into_iter().map(|(path, _)| path));
    let mut all = report.finish();
    all.extend(unread);
    all.extend(found);
    world.policies = objects.policies;
    world.cluster_policies = objects.cluster_policies;
    let mut warnings = split(all)?;
    warnings.extend(lint(&world, Known::World));
    in_order(&mut warnings, &files);
    Ok(Loaded { world, warnings, files })
}

/// Everything that [`load`] reads: files, and the directories it finds files in. Also where there are mistakes in them.
pub fn sources(file: &Path, extra_policies: &[PathBuf]) -> BTreeSet<PathBuf> {
    let directory = file.parent().unwrap_or(Path::new(""));
    let mut named: Vec<PathBuf> = extra_policies.to_vec();
    if let Ok(text) = file::read(file) {
        let Topology { policies, .. } = topology::read(&text, &mut Report::new("", &text));
        named.extend(policies.into_iter().map(|(path, _)| directory.join(path)));
    }
    let found: Vec<PathBuf> = named.iter().filter_map(|path| expand(path).ok()).flatten().collect();
    named.into_iter().chain(found).chain([file.to_owned()]).collect()
}

/// Reads files with policies, and with namespaces for their labels.
pub fn load_policies(files: &[PathBuf]) -> Result<LoadedPolicies, Diagnostics> {
    let mut seen = BTreeSet::new();
    let (files, mut all) = expand_all(files, &mut seen);
    let paths: Vec<_> = files.iter().map(|path| (path.clone(), None)).collect();
    let (objects, found) = read_policies(&paths, None);
    all.extend(found);
    let mut loaded = loaded(objects, all)?;
    in_order(&mut loaded.warnings, &files);
    Ok(loaded)
}

/// As [`load_policies`], of texts.
pub fn parse_policies(manifests: &[Manifest]) -> Result<LoadedPolicies, Unread> {
    let mut objects = Objects::default();
    let mut found = Vec::new();
    for Manifest { name, text } in manifests {
        found.extend(objects.read(name, text.strip_prefix('\u{feff}').unwrap_or(text)));
    }
    let unknown = std::mem::take(&mut objects.unknown);
    loaded(objects, found).map_err(|diagnostics| {
        // Where something else is wrong too, that is what matters.
        if diagnostics.0.len() == unknown.len() {
            Unread::Unknown(unknown)
        } else {
            Unread::Wrong(diagnostics)
        }
    })
}

/// Why texts with policies are not read.
#[derive(Debug)]
pub enum Unread {
    /// They have mistakes.
    Wrong(Diagnostics),
    /// All that is wrong is that they hold objects of these kinds.
    Unknown(Vec<String>),
}

fn loaded(objects: Objects, found: Vec<Diagnostic>) -> Result<LoadedPolicies, Diagnostics> {
    let mut warnings = split(found)?;
    warnings.extend(objects.without_namespace());
    let Objects { policies, cluster_policies, namespaces, .. } = objects;
    let namespaces = namespaces.into_iter().map(|(name, (labels, _))| (name, labels)).collect();
    Ok(LoadedPolicies { policies, cluster_policies, namespaces, warnings })
}

/// Reads files in their order. A place is where the file `by` names one.
fn read_policies(paths: &[(PathBuf, Option<Pos>)], by: Option<&str>) -> (Objects, Vec<Diagnostic>) {
    let mut objects = Objects::default();
    let mut found = Vec::new();
    for (path, named) in paths {
        match file::read(path) {
            Ok(text) => found.extend(objects.read(&file::name(path), &text)),
            Err(mut error) => {
                if let (Some(by), Some(at)) = (by, named) {
                    error = named_at(error, by, *at);
                }
                found.push(error);
            }
        }
    }
    (objects, found)
}

/// An error about a file that another file names.
fn named_at(error: Diagnostic, by: &str, at: Pos) -> Diagnostic {
    Diagnostic { help: Some(format!("it is named at {by}:{}", at.line)), ..error }
}

/// The files that paths stand for, each once, and what is wrong with the paths.
fn expand_all(paths: &[PathBuf], seen: &mut BTreeSet<PathBuf>) -> (Vec<PathBuf>, Vec<Diagnostic>) {
    let mut files = Vec::new();
    let mut unread = Vec::new();
    for path in paths {
        match expand(path) {
            Ok(found) => files.extend(found.into_iter().filter(|file| seen.insert(identity(file)))),
            Err(error) => unread.push(error),
        }
    }
    (files, unread)
}

/// Sorts complaints by files, in the order in which these were read, and by lines.
fn in_order(found: &mut [Diagnostic], files: &[PathBuf]) {
    let order: BTreeMap<String, usize> =
        files.iter().enumerate().map(|(index, path)| (file::name(path), index)).collect();
    found.sort_by_key(|d| (order.get(&d.file).copied(), d.line, d.column));
}

/// What tells one file from another, however it is named.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_missing| path.to_owned())
}

fn complain(problem: &crate::model::Problem, places: &Places, report: &mut Report) {
    let at = places.of(problem).unwrap_or(Pos::START);
    match &problem.help {
        Some(help) => report.error_help(at, problem.sentence(), help),
        None => report.error(at, problem.sentence()),
    }
}

/// Takes the labels of namespaces from manifests, unless `netfast.yaml` says otherwise.
fn merge_namespaces(world: &mut World, places: &BTreeMap<Name, Pos>, objects: &Objects, report: &mut Report) {
    for (name, (labels, source)) in &objects.namespaces {
        match (world.namespaces.get(name), places.get(name)) {
            (Some(here), Some(at)) if here != labels => {
                let message = format!("namespace {name} has other labels at {source}");
                report.error_help(*at, message, "put all its labels in one place");
            }
            _ => {
                world.namespaces.insert(name.clone(), labels.clone());
            }
        }
    }
}

/// The warnings, if there is nothing else.
pub(super) fn split(all: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, Diagnostics> {
    let (errors, warnings): (Vec<_>, Vec<_>) = all.into_iter().partition(|d| d.severity == Severity::Error);
    if errors.is_empty() { Ok(warnings) } else { Err(Diagnostics(errors)) }
}

#[cfg(test)]
mod tests;
