//! Reads whole sets of files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::file;
use super::policy::Objects;
use super::topology::{self, Places, Topology};
use super::yaml::{Pos, Report};
use crate::model::{Labels, Name, Policy, World, check};

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

/// Policies, the labels of namespaces, and warnings.
pub type LoadedPolicies = (Vec<Policy>, BTreeMap<Name, Labels>, Vec<Diagnostic>);

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
    let policies = policies.into_iter().map(|(path, at)| (directory.join(path), at));
    for (path, at) in policies.flat_map(|(path, at)| each_file(path).into_iter().map(move |path| (path, at)))
    {
        if seen.insert(identity(&path)) {
            paths.push((path, Some(at)));
        } else {
            report.warning(at, format!("{} is named twice", path.display()), None);
        }
    }
    let extra = extra_policies.iter().cloned().flat_map(each_file);
    paths.extend(extra.filter(|path| seen.insert(identity(path))).map(|path| (path, None)));

    let (objects, found) = read_policies(&paths, Some(&name));
    merge_namespaces(&mut world, &namespaces, &objects, &mut report);
    let mut files = vec![file.to_owned()];
    files.extend(paths.into_iter().map(|(path, _)| path));
    let mut all = report.finish();
    all.extend(found);
    world.policies = objects.policies;
    let mut warnings = split(all)?;
    warnings.extend(unused_policies(&world));
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
    let found: Vec<PathBuf> = named.iter().cloned().flat_map(each_file).collect();
    named.into_iter().chain(found).chain([file.to_owned()]).collect()
}

/// The files that a path of policies means: those in it, if it is a directory.
fn each_file(path: PathBuf) -> Vec<PathBuf> {
    match file::manifests_in(&path) {
        Ok(files) if !files.is_empty() => files,
        // A file; or a directory without any, which is told of where it is read.
        _ => vec![path],
    }
}

/// Reads files with policies, and with namespaces for their labels.
pub fn load_policies(files: &[PathBuf]) -> Result<LoadedPolicies, Diagnostics> {
    let mut seen = BTreeSet::new();
    let files = files.iter().cloned().flat_map(each_file);
    let paths: Vec<_> = files.filter(|path| seen.insert(identity(path))).map(|path| (path, None)).collect();
    let (objects, found) = read_policies(&paths, None);
    let warnings = split(found)?;
    let namespaces = objects.namespaces.into_iter().map(|(name, (labels, _))| (name, labels)).collect();
    Ok((objects.policies, namespaces, warnings))
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
                if path.is_dir() {
                    error.help = Some("no file in it ends in .yaml, .yml or .json".to_owned());
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
fn split(all: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, Diagnostics> {
    let (errors, warnings): (Vec<_>, Vec<_>) = all.into_iter().partition(|d| d.severity == Severity::Error);
    if errors.is_empty() { Ok(warnings) } else { Err(Diagnostics(errors)) }
}

#[cfg(test)]
mod tests;
