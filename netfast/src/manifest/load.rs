//! Reads whole sets of files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::cases::Manifest;
use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::file;
use super::policy::Objects;
use super::topology::{self, Places, Topology};
use super::yaml::{Pos, Report};
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
    let name = file.display().to_string();
    let mut report = Report::new(&name, &text);
    let Topology { mut world, places, policies, namespaces, .. } = topology::read(&text, &mut report);
    for problem in check(&world) {
        complain(&problem, &places, &mut report);
    }

    let directory = file.parent().unwrap_or(Path::new(""));
    let mut paths = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, at) in policies {
        let path = directory.join(path);
        if seen.insert(identity(&path)) {
            paths.push((path, Some(at)));
        } else {
            report.warning(at, format!("{} is named twice", path.display()), None);
        }
    }
    let extra = extra_policies.iter().filter(|path| seen.insert(identity(path)));
    paths.extend(extra.map(|path| (path.clone(), None)));

    let (objects, found) = read_policies(&paths, Some(&name));
    merge_namespaces(&mut world, &namespaces, &objects, &mut report);
    let mut files = vec![file.to_owned()];
    files.extend(paths.into_iter().map(|(path, _)| path));
    let mut all = report.finish();
    all.extend(found);
    world.policies = objects.policies;
    world.cluster_policies = objects.cluster_policies;
    let mut warnings = split(all)?;
    warnings.extend(unused_policies(&world));
    Ok(Loaded { world, warnings, files })
}

/// Reads files with policies, and with namespaces for their labels.
pub fn load_policies(files: &[PathBuf]) -> Result<LoadedPolicies, Diagnostics> {
    let mut seen = BTreeSet::new();
    let files = files.iter().filter(|path| seen.insert(identity(path)));
    let paths: Vec<_> = files.map(|path| (path.clone(), None)).collect();
    let (objects, found) = read_policies(&paths, None);
    loaded(objects, found)
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
    let warnings = split(found)?;
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
            Ok(text) => found.extend(objects.read(&path.display().to_string(), &text)),
            Err(mut error) => {
                if let (Some(by), Some(at)) = (by, named) {
                    error.help = Some(format!("it is named at {by}:{}", at.line));
                }
                found.push(error);
            }
        }
    }
    (objects, found)
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

/// Policies of namespaces that nothing else names.
pub fn unused_policies(world: &World) -> Vec<Diagnostic> {
    let used: BTreeSet<&Name> =
        world.endpoints.keys().map(|id| &id.namespace).chain(world.namespaces.keys()).collect();
    let unused = world.policies.iter().filter(|policy| !used.contains(&policy.namespace));
    unused
        .map(|policy| Diagnostic {
            file: policy.source.file.clone(),
            line: policy.source.line,
            column: 1,
            message: format!(
                "policy {}/{} concerns nobody: no endpoint is in namespace {0}",
                policy.namespace, policy.name
            ),
            help: None,
            severity: Severity::Warning,
            excerpt: None,
        })
        .collect()
}

/// The warnings, if there is nothing else.
pub(super) fn split(all: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, Diagnostics> {
    let (errors, warnings): (Vec<_>, Vec<_>) = all.into_iter().partition(|d| d.severity == Severity::Error);
    if errors.is_empty() { Ok(warnings) } else { Err(Diagnostics(errors)) }
}

#[cfg(test)]
mod tests;
