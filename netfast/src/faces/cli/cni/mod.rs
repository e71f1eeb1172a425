//! `netfast cni`: this program as a plugin of container runtimes.

mod chain;
mod configuration;
mod install;
mod uninstall;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::reconcile::instance::Options;

/// Install or remove netfast as a CNI plugin.
#[derive(Debug, Subcommand)]
pub(super) enum Cni {
    Install(Box<install::Install>),
    Uninstall(uninstall::Uninstall),
}

impl Cni {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        match self {
            Self::Install(command) => command.run(options),
            Self::Uninstall(command) => command.run(options),
        }
    }

    pub(super) fn what(&self) -> String {
        match self {
            Self::Install(_) => "cni install",
            Self::Uninstall(_) => "cni uninstall",
        }
        .to_owned()
    }
}

/// Where a runtime looks.
#[derive(Args, Debug)]
struct Directories {
    /// Directory in which the runtime looks for plugins.
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dir: PathBuf,
    /// Directory in which the runtime looks for configurations.
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    conf_dir: PathBuf,
}

/// What is added to the name of a configuration that a list is made of.
const BEFORE: &str = ".before-netfast";

/// What the plugin is called, in `type` and as a file.
const PLUGIN: &str = "netfast";
