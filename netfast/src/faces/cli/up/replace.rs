//! A file's world in the place of an earlier one.

use std::collections::BTreeSet;
use std::path::{Path, absolute};

use anyhow::{Context as _, Result, bail};

use crate::model::{Name, World};
use crate::store::{Definitions, Origin};

/// Puts the world that `file` describes in the place of everything but the endpoints added by command, the policies
/// that container runtimes brought and the deny list.
pub(super) fn replace(definitions: &mut Definitions, mut world: World, file: &Path) -> Result<()> {
    let shown = file.display();
    keep_networks(definitions, &mut world);
    let old = &definitions.world.endpoints;
    let added = definitions.origins.iter().filter(|(_, origin)| **origin != Origin::File);
    for endpoint in added.filter_map(|(id, _)| old.get(id)) {
        let (id, network) = (&endpoint.id, &endpoint.network);
        if !world.networks.contains_key(network) {
            bail!(
                "endpoint {id} was added by command to network {network}, which {shown} does not have (remove it \
                 first: netfast endpoint rm {id})"
            );
        }
        if world.endpoints.insert(id.clone(), endpoint.clone()).is_some() {
            bail!(
                "endpoint {id} was added by command and is in {shown} too (remove the first: netfast endpoint rm {id})"
            );
        }
    }
    definitions.origins.retain(|id, origin| *origin != Origin::File && world.endpoints.contains_key(id));
    let from_file = world.endpoints.keys().filter(|id| !definitions.origins.contains_key(id));
    let from_file: Vec<_> = from_file.map(|id| (id.clone(), Origin::File)).collect();
    definitions.origins.extend(from_file);
    definitions.keep_directory(&mut world);
    definitions.manifest = Some(absolute(file).with_context(|| format!("find {shown}"))?);
    definitions.world = world;
    Ok(())
}

/// Keeps the networks that container runtimes have asked for, and those of the file before that they use.
fn keep_networks(definitions: &mut Definitions, world: &mut World) {
    let used: BTreeSet<&Name> =
        definitions.attachments.iter().map(|record| &record.endpoint.network).collect();
    let mut kept = BTreeSet::new();
    for (name, network) in &definitions.world.networks {
        let is_asked_for = used.contains(name) || definitions.attached_networks.contains(name);
        if is_asked_for && !world.networks.contains_key(name) {
            world.networks.insert(name.clone(), network.clone());
            kept.insert(name.clone());
        }
    }
    definitions.attached_networks = kept;
}

/// Sees that what is up is what `file` described: another `netfast up` may have put another file's world in its place.
pub(super) fn is_of(definitions: &Definitions, file: &Path) -> Result<()> {
    match &definitions.manifest {
        Some(other) if absolute(file).is_ok_and(|own| own != *other) => {
            bail!("{} is up, no longer {}", other.display(), file.display())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{definition, network};
    use super::*;

    fn world(networks: &[&str], endpoints: &[(&str, &str)]) -> World {
        let networks = networks.iter().map(|name| network(name, "10.0.0.0/24"));
        let endpoints = endpoints.iter().map(|(name, network)| definition(name, network));
        World {
            networks: networks.map(|n| (n.name.clone(), n)).collect(),
            endpoints: endpoints.map(|e| (e.id.clone(), e)).collect(),
            ..World::default()
        }
    }

    /// Definitions with `web` from a file and `probe` added by command.
    fn before() -> Definitions {
        Definitions {
            world: world(&["lab"], &[("web", "lab"), ("probe", "lab")]),
            origins: [
                (definition("web", "lab").id, Origin::File),
                (definition("probe", "lab").id, Origin::Command),
            ]
            .into(),
            deny: ["198.51.100.0/24".parse().unwrap()].into(),
            ..Definitions::default()
        }
    }

    #[test]
    fn what_was_added_by_command_stays() {
        let mut definitions = before();
        replace(&mut definitions, world(&["lab", "other"], &[("db", "other")]), Path::new("f")).unwrap();
        let names: Vec<_> = definitions.world.endpoints.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["db", "probe"]);
        assert_eq!(definitions.origins.len(), 2);
        assert_eq!(definitions.origins[&definition("probe", "lab").id], Origin::Command);
        assert_eq!(definitions.deny.len(), 1);
        assert_eq!(definitions.world.networks.len(), 2);
    }

    #[test]
    fn repeating_changes_nothing() {
        let mut definitions = before();
        let file = || world(&["lab"], &[("web", "lab")]);
        replace(&mut definitions, file(), Path::new("f")).unwrap();
        let once = definitions.clone();
        replace(&mut definitions, file(), Path::new("f")).unwrap();
        assert_eq!(once.world, definitions.world);
        assert_eq!(once.world, before().world);
    }

    #[test]
    fn another_file_is_told_from_the_own() {
        let mut definitions = before();
        is_of(&definitions, Path::new("f.yaml")).unwrap();
        replace(&mut definitions, world(&["lab"], &[]), Path::new("/a/f.yaml")).unwrap();
        is_of(&definitions, Path::new("/a/f.yaml")).unwrap();
        let error = is_of(&definitions, Path::new("/b/f.yaml")).unwrap_err().to_string();
        assert_eq!(error, "/a/f.yaml is up, no longer /b/f.yaml");
    }

    #[test]
    fn clashes_are_named() {
        let error = replace(&mut before(), world(&["lab"], &[("probe", "lab")]), Path::new("f.yaml"));
        assert_eq!(
            error.unwrap_err().to_string(),
            "endpoint probe was added by command and is in f.yaml too (remove the first: netfast endpoint rm probe)"
        );
        let error = replace(&mut before(), world(&["other"], &[]), Path::new("f.yaml"));
        assert_eq!(
            error.unwrap_err().to_string(),
            "endpoint probe was added by command to network lab, which f.yaml does not have (remove it first: \
             netfast endpoint rm probe)"
        );
    }
}
