//! `netfast cni uninstall`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::{BEFORE, chain};
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
        let directories: Vec<_> = configurations.iter().filter_map(|file| file.path().parent()).collect();
        for file in configurations.iter().copied().chain(programs) {
            if let Placed::Chained { path, original } = file {
                take_out(path, original.as_deref())?;
            } else if let (Placed::Program { path }, Some(user)) = (file, user_of_program(&directories)?) {
                output::line(&format!("{} stays, for {} names it", path.display(), user.display()))?;
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

/// A configuration in these directories that names the program still: another instance's, or one that a user wrote.
fn user_of_program(directories: &[&Path]) -> Result<Option<PathBuf>> {
    for directory in directories {
        for path in placed::configurations(directory)? {
            // What cannot be read, no runtime reads either.
            if placed::read(&path).ok().flatten().is_some_and(|text| chain::calls_netfast(&text)) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// Takes netfast out of somebody else's list. One that was made of a single configuration, and is as it was made, becomes
/// that again.
fn take_out(path: &Path, original: Option<&Path>) -> Result<()> {
    let Some(text) = placed::read(path)? else { return Ok(()) };
    let Some(without) = chain::take_out(&text)? else { return Ok(()) };
    if let Some((original, name)) = original.and_then(|original| Some((original, name_before(original)?))) {
        // Where an install was killed, the original still has its name.
        for there in [original, name] {
            let Some(single) = placed::read(there)? else { continue };
            if chain::list_of(&single).is_ok_and(|list| list == without) {
                placed::rename(there, name)?;
                placed::remove(path)?;
                return output::line(&format!("{} is {} again", path.display(), name.display()));
            }
        }
    }
    placed::rewrite(path, &without)?;
    output::line(&format!("took netfast out of {}", path.display()))
}

/// What a configuration was called before a list was made of it.
fn name_before(original: &Path) -> Option<&Path> {
    let name = original.as_os_str().as_bytes().strip_suffix(BEFORE.as_bytes())?;
    Some(Path::new(OsStr::from_bytes(name)))
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
