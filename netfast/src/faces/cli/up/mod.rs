//! `netfast up`.

mod follow;
mod notices;
mod replace;
mod runtime_policies;
mod signals;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::follow::Follow;
use self::signals::{End, Signals};
use self::watch::Watch;
use super::table::Table;
use super::{cells, down, output, privileges, root};
use crate::manifest;
use crate::reconcile::instance::{Instance, Options};
use crate::reconcile::view::InstanceView;

/// What is read where no file is named.
pub(super) const DEFAULT_FILE: &str = "netfast.yaml";

const EXAMPLES: &str = "\
Examples:
  netfast up                                 read netfast.yaml here, stay, and take it down at Ctrl-C
  netfast up -f lab.yaml -d                  bring it up and return
  netfast up -f lab.yaml --policy deny.yaml  with another file of policies

The file says everything: what it no longer names is removed. Endpoints added by `netfast endpoint add` stay.
In the foreground, a change of a file is put in force as if the command were repeated. Repeating the command with the same file changes nothing.";

/// Bring up the network that a file describes.
///
/// Without -d it stays in the foreground, follows its files and the host's devices and addresses, and repairs what breaks.
/// Ctrl-C takes the network down. If the process ends in any other way, the network stays up: the kernel moves the packets, no process
/// is needed for it, and the next command looks after what has changed.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Up {
    /// File that describes networks, endpoints and policies [default: netfast.yaml].
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// File with Kubernetes network policies, or directory of such files, besides those that the first file names. May
    /// be repeated.
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
    /// Return when the network is up.
    #[arg(short, long)]
    detach: bool,
}

impl Up {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        root::need()?;
        let file = self.file(Path::new(DEFAULT_FILE))?;
        let follow = if self.detach { None } else { Some(Follow::new(&file, &self.policies)?) };
        let loaded = manifest::load(&file, &self.policies)?;
        for warning in &loaded.warnings {
            output::complain(&format!("{}: {warning}", warning.label()));
        }
        let mut instance = Instance::open(options)?;
        // From here on, so that Ctrl-C in the middle takes down what was made.
        let signals = if self.detach { None } else { Some(Signals::hold()?) };
        instance.change(|definitions| replace::replace(definitions, loaded.world, &file))?;
        #[cfg(feature = "log")]
        instance.follow_log()?;
        let view = Instance::view(options).context("look at what is up now")?;
        let notices = instance.notices().to_vec();
        drop(instance);
        output::text(&summary(&view))?;
        let (Some(signals), Some(follow)) = (signals, follow) else { return Ok(ExitCode::SUCCESS) };
        output::line("Ctrl-C takes it down; the network stays up if this process is killed")?;
        privileges::give_up()?;
        match Watch::new(options, &signals, follow, &notices)?.stay()? {
            End::Leave => Ok(ExitCode::SUCCESS),
            End::TakeDown => down::take_down(options),
        }
    }

    fn file(&self, default: &Path) -> Result<PathBuf> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None if default.exists() => Ok(default.to_owned()),
            None => bail!("there is no {DEFAULT_FILE} in this directory (name a file: netfast up -f FILE)"),
        }
    }
}

/// A line for every network, endpoint and published port.
fn summary(view: &InstanceView) -> String {
    let mut table = Table::bare();
    for network in &view.networks {
        table.row([
            "network".to_owned(),
            network.name.clone(),
            cells::optional(network.subnet.as_ref()),
            cells::with_more(
                None::<&str>,
                network.subnet6.as_ref(),
                network.more.iter().map(|more| &more.subnet),
            ),
        ]);
    }
    for endpoint in &view.endpoints {
        table.row([
            "endpoint".to_owned(),
            cells::endpoint_name(endpoint),
            cells::optional(endpoint.ip),
            cells::with_more(None::<&str>, endpoint.ip6, &endpoint.more),
        ]);
    }
    for port in &view.ports {
        table.row(["port".to_owned(), cells::host_port(port), cells::endpoint_port(port), String::new()]);
    }
    if table.is_empty() { "nothing is defined\n".to_owned() } else { table.render("") }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn the_summary_is_aligned() {
        assert_eq!(
            summary(&testing::instance()),
            "network   lab       10.77.0.0/24  fd77::/64\n\
             endpoint  web       10.77.0.2     fd77::2\n\
             port      8080/tcp  web:80\n"
        );
        assert_eq!(summary(&testing::nothing()), "nothing is defined\n");
    }

    #[test]
    fn without_a_file_it_says_what_to_do() {
        let up = Up { file: None, policies: Vec::new(), detach: true };
        let directory = tempfile::tempdir().unwrap();
        let default = directory.path().join(DEFAULT_FILE);
        assert_eq!(
            up.file(&default).unwrap_err().to_string(),
            "there is no netfast.yaml in this directory (name a file: netfast up -f FILE)"
        );
        std::fs::write(&default, "").unwrap();
        assert_eq!(up.file(&default).unwrap(), default);
    }
}
