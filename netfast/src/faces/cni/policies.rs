//! The directory of policies: what its files say is put in force when a container is added and they have changed.

use std::path::Path;

use anyhow::Result;

use super::super::policy_directory::{DEFAULT, Found};
use super::config::Said;
use super::failure::{Code, Failure};
use crate::manifest::Diagnostics;
use crate::reconcile::instance::Instance;
use crate::store::PolicyDirectory;

/// Puts in force what the directory says now. Where a file has a mistake, what is in force stays, and no container is added
/// until the file is mended: it might be one that the file is about.
pub(super) fn follow(instance: &mut Instance, said: &Said, known: Option<&PolicyDirectory>) -> Result<()> {
    let found = look(said)?;
    if found.is_known(known) {
        return Ok(());
    }
    let loaded = found.load().map_err(|e| refused(&e))?;
    found.put_in_force(instance, loaded)
}

/// Fails where a file has a mistake.
pub(super) fn check(said: &Said, known: Option<&PolicyDirectory>) -> Result<()> {
    let found = look(said)?;
    if found.is_known(known) {
        return Ok(());
    }
    Ok(found.load().map(drop).map_err(|e| refused(&e))?)
}

fn look(said: &Said) -> Result<Found, Failure> {
    match &said.policy_dir {
        // One that is named must be there.
        Some(path) if !path.exists() => Err(Failure::new(
            Code::Config,
            format!("policies: {}: there is no such directory", path.display()),
        )),
        path => Found::look(path.as_deref().unwrap_or(Path::new(DEFAULT))).map_err(|e| refused(&e)),
    }
}

fn refused(diagnostics: &Diagnostics) -> Failure {
    let lines: Vec<_> = diagnostics.0.iter().map(ToString::to_string).collect();
    Failure::new(Code::Config, format!("policies: {}", lines.join("; ")))
        .details("the policies in force stay; no container is added until this is mended")
}
