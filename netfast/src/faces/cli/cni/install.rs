//! `netfast cni install`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use ipnet::IpNet;

use super::{BEFORE, Directories, PLUGIN, chain, configuration};
use crate::faces::cli::output;
use crate::manifest::{self, TextError, cidr};
use crate::model::Name;
use crate::reconcile::instance::Options;
use crate::store::placed::{self, Placed, Receipt};
use crate::store::{Paths, PathsOptions};

/// Sorted before the other configurations, since most runtimes take the first one only.
const FILE: &str = "05-netfast.conflist";
/// The name of the network that is configured there.
const NETWORK: &str = "netfast";

/// Install netfast as a plugin: this program, and a configuration that calls it.
///
/// Both are written all at once, so that a runtime may run meanwhile. Files of others are never overwritten, nor is a
/// configuration that was changed since. `netfast cni uninstall` removes what was written, and nothing else.
#[derive(Args, Debug)]
pub(in crate::faces::cli) struct Install {
    #[command(flatten)]
    directories: Directories,
    /// Name of the network. The configuration of another than the default is called after it.
    #[arg(long, default_value = NETWORK, value_parser = manifest::name::parse_label)]
    name: Name,
    /// A subnet of the network: one for IPv4, one for IPv6 (may be given again).
    #[arg(long = "subnet", value_name = "CIDR", default_value = "10.86.0.0/16", value_parser = parse_subnet)]
    subnets: Vec<IpNet>,
    /// Make no network, but netfast the last plugin of the list in this file; a configuration of one plugin becomes a `.conflist`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "subnets"])]
    chain: Option<PathBuf>,
    /// Print the configuration, and change nothing.
    #[arg(long)]
    print: bool,
    /// Overwrite files of others, and a configuration that was changed since.
    #[arg(long)]
    force: bool,
}

/// A configuration to write.
struct Configuration {
    path: PathBuf,
    text: String,
    /// What is there already is as it should be, or not ours to change.
    keep: Option<&'static str>,
    /// The file that it replaces, and what that is called from then on.
    replaces: Option<(PathBuf, PathBuf)>,
}

impl Install {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        let Self { directories, chain, print, force, .. } = self;
        let mut receipt = Receipt::read(&Paths::resolve(options.paths.clone())?)?;
        let configuration = match chain {
            Some(file) => chained(file, &options.paths)?,
            None => self.own(&options.paths, &receipt)?,
        };
        if *print {
            output::text(&configuration.text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let program = std::path::absolute(&directories.bin_dir)?.join(PLUGIN);
        let this = std::env::current_exe().context("find this program")?;
        // Another instance may have installed it.
        let is_there = placed::is_copy(&this, &program)?;
        if program.exists() && !is_there && receipt.find(&program).is_none() && !force {
            bail!("{} is not ours (move it away, or give --force)", program.display());
        }
        // The program first: a runtime may use the configuration as soon as it is there.
        receipt.add(Placed::Program { path: program.clone() })?;
        if is_there {
            output::line(&format!("{} is this program", program.display()))?;
        } else {
            placed::copy_program(&this, &program)?;
            output::line(&format!("wrote {}", program.display()))?;
        }
        self.write(&configuration, &mut receipt)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The configuration with netfast alone.
    fn own(&self, paths: &PathsOptions, receipt: &Receipt) -> Result<Configuration> {
        let Self { directories, name, subnets, force, print, .. } = self;
        let v4 = subnets.iter().filter(|subnet| subnet.addr().is_ipv4()).count();
        ensure!(
            v4 < 2 && subnets.len() - v4 < 2,
            "a network has one subnet of a family (leave the others out)"
        );
        let path = std::path::absolute(&directories.conf_dir)?.join(file_of(name));
        let text = configuration::list(name, subnets, paths)?;
        let there = placed::read(&path)?;
        let keep = match (&there, receipt.find(&path)) {
            (Some(there), _) if *there == text => Some("is as it should be"),
            (Some(there), Some(Placed::Configuration { digest, .. })) if placed::digest(there) != *digest => {
                Some("was changed since, and stays (--force writes it anew)")
            }
            (Some(_), None) if !force && !print => {
                bail!("{} is not ours (move it away, or give --force)", path.display())
            }
            _ => None,
        };
        Ok(Configuration { path, text, keep: keep.filter(|_| !force), replaces: None })
    }

    fn write(&self, configuration: &Configuration, receipt: &mut Receipt) -> Result<()> {
        let Configuration { path, text, keep, replaces } = configuration;
        if let Some(why) = keep {
            return output::line(&format!("{} {why}", path.display()));
        }
        receipt.add(match (&self.chain, replaces) {
            (None, _) => Placed::Configuration { path: path.clone(), digest: placed::digest(text) },
            (Some(_), replaces) => Placed::Chained {
                path: path.clone(),
                original: replaces.as_ref().map(|(_, name)| name.clone()),
            },
        })?;
        if self.chain.is_some() && replaces.is_none() {
            placed::rewrite(path, text)?;
        } else {
            placed::write(path, text)?;
        }
        output::line(&format!("wrote {}", path.display()))?;
        if let Some((file, name)) = replaces {
            // A runtime prefers it as long as it is called as before.
            placed::rename(file, name)?;
            output::line(&format!("renamed {} to {}", file.display(), name.display()))?;
        }
        Ok(())
    }
}

/// The file of the configuration of a network: of others than the default behind that.
fn file_of(network: &Name) -> String {
    match network.as_str() {
        NETWORK => FILE.to_owned(),
        other => format!("06-netfast-{other}.conflist"),
    }
}

/// Somebody else's configuration, with netfast as its last plugin.
fn chained(file: &Path, paths: &PathsOptions) -> Result<Configuration> {
    let file = std::path::absolute(file)?;
    let list = file.with_extension("conflist");
    let add = |text: &str| -> Result<String> {
        chain::append(text, &configuration::chained(!chain::maps_ports(text)?, paths)?)
    };
    if let Some(text) = placed::read(&list)? {
        if chain::has_netfast(&text).with_context(|| list.display().to_string())? {
            return Ok(Configuration { path: list, text, keep: Some("has netfast already"), replaces: None });
        }
        ensure!(file == list, "{} is there beside {} (remove one of them)", list.display(), file.display());
        let text = add(&text).with_context(|| list.display().to_string())?;
        return Ok(Configuration { path: list, text, keep: None, replaces: None });
    }
    let single = placed::read(&file)?.with_context(|| format!("there is no {}", file.display()))?;
    let text = chain::list_of(&single).and_then(|text| add(&text));
    let text = text.with_context(|| file.display().to_string())?;
    let mut name = file.clone().into_os_string();
    name.push(BEFORE);
    Ok(Configuration { path: list, text, keep: None, replaces: Some((file, name.into())) })
}

fn parse_subnet(text: &str) -> Result<IpNet, TextError> {
    cidr::parse_strict(text)
}
