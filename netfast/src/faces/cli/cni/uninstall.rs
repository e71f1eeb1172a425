//! `netfast cni uninstall`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::chain;
use crate::faces::cli::{output, root};
use crate::reconcile::instance::{Instance, Options};
use crate::store::Paths;
use crate::store::placed::{self, Placed, Receipt};

/// Remove what `netfast cni install` wrote, and nothing else.
///
/// Configurations of others stay, without netfast. Containers keep the interfaces they have, and nobody removes those
/// later: so stop the containers first, or give --down.
#[derive(Args, Debug)]
pub(in crate::faces::cli) struct Uninstall {
    /// Take down the interfaces that containers have through the plugin; if nothing else is up, all of netfast.
    #[arg(long)]
    down: bool,
}

impl Uninstall {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        let mut receipt = Receipt::read(&Paths::resolve(options.paths.clone())?)?;
        let files = receipt.files().to_vec();
        if files.is_empty() {
            output::line("nothing was installed")?;
        }
        // The programs last: a runtime that reads a configuration finds what that names.
        let (programs, configurations): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| matches!(file, Placed::Program { .. }));
        for file in configurations.into_iter().chain(programs) {
            if let Placed::Chained { path, original } = file {
                take_out(path, original.as_deref())?;
            } else if placed::remove(file.path())? {
                output::line(&format!("removed {}", file.path().display()))?;
            }
            receipt.forget(file.path())?;
        }
        if self.down {
            root::need()?;
            take_down(options)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Takes netfast out of somebody else's list. One that was made of a single configuration, and is as it was made, becomes
/// that again.
fn take_out(path: &Path, original: Option<&Path>) -> Result<()> {
    let Some(text) = placed::read(path)? else { return Ok(()) };
    let Some(without) = chain::take_out(&text)? else { return Ok(()) };
    // Where an install was killed, the original still has its name.
    let name = path.with_extension("conf");
    for original in original.into_iter().chain([name.as_path()]) {
        let Some(single) = placed::read(original)? else { continue };
        if chain::list_of(&single).is_ok_and(|list| list == without) {
            placed::rename(original, &name)?;
            placed::remove(path)?;
            return output::line(&format!("{} is {} again", path.display(), name.display()));
        }
    }
    placed::write(path, &without)?;
    output::line(&format!("took netfast out of {}", path.display()))
}

fn take_down(options: &Options) -> Result<()> {
    let mut instance = Instance::open(options)?;
    let attachments = instance.attachment_keys()?;
    for key in &attachments {
        instance.detach(key)?;
    }
    let removed = match attachments.len() {
        0 => "nothing was attached".to_owned(),
        1 => "took down 1 interface of a container".to_owned(),
        count => format!("took down {count} interfaces of containers"),
    };
    output::line(&removed)?;
    let definitions = instance.definitions()?;
    if definitions.world.endpoints.is_empty() && definitions.manifest.is_none() && definitions.deny.is_empty()
    {
        instance.down()?;
    }
    Ok(())
}
