//! `netfast policy reload`.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use super::super::super::policy_directory::Found;
use super::super::{output, root};
use super::{counted, refuse};
use crate::reconcile::instance::{Instance, Options};

/// Reads the directory again, and puts in force what has changed.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    root::need()?;
    let known = Instance::policy_directory(options)?;
    let known = known.context(
        "no container runtime has told of a directory of policies yet: the CNI plugin reads it with the first container",
    )?;
    let read = Found::look(&known.path).and_then(|found| {
        let loaded = if found.is_known(Some(&known)) { None } else { Some(found.load()?) };
        Ok((found, loaded))
    });
    let (found, loaded) = match read {
        Ok((_, None)) => {
            output::line(&format!("{}: nothing has changed", known.path.display()))?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok((found, Some(loaded))) => (found, loaded),
        Err(diagnostics) => return Ok(refuse(&diagnostics)),
    };
    let count = loaded.count();
    let mut instance = Instance::open(options)?;
    ensure!(instance.is_up(), "nothing is up, so nothing was changed (the next container brings it up)");
    found.put_in_force(&mut instance, loaded)?;
    output::line(&format!("{}: {} in force", known.path.display(), counted(count)))?;
    Ok(ExitCode::SUCCESS)
}
