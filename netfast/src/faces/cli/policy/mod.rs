//! `netfast policy`.

mod asked;
mod check;
mod explain;
mod ls;
mod matrix;
mod reload;
mod test;
#[cfg(test)]
mod testing;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Subcommand;

use self::check::{code, text};
use super::{output, root};
use crate::manifest::{self, Code, Diagnostics, LoadedPolicies};
use crate::model::lint::{Known, Lint};
use crate::reconcile::instance::{Instance, Options};

const APPLY_EXAMPLES: &str = "\
Examples:
  netfast policy apply web.yaml db.yaml   these are the policies now, all others are gone
  netfast policy check web.yaml           look first

The next `netfast up` reads netfast.yaml and the policies it names again, and puts those in force.";

/// Check policies, put them in force, try them, and ask what they mean.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    Check(check::Check),
    /// Put the policies of files in force, in the place of all that are: all of them, or nothing changes.
    ///
    /// The first packet after this follows them. Labels of the namespaces in the files are put in force too; other
    /// namespaces keep theirs. Exits as `policy check` does where the files have mistakes.
    #[command(after_help = APPLY_EXAMPLES)]
    Apply {
        /// The files, directories of files, or - for standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Read the directory of policies of the container runtimes again, and put in force what has changed.
    ///
    /// It is the one that `policyDir` of the CNI plugin's configuration names, /etc/netfast/policies.d if that says nothing. A
    /// running `netfast up` follows it by itself, and so does the next container that is added. All other policies stay. Exits
    /// as `policy check` does where the files have mistakes, and changes nothing then.
    Reload,
    Ls(ls::Ls),
    Explain(explain::Explain),
    Matrix(matrix::Matrix),
    Test(test::Test),
}

impl Policy {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        match self {
            Self::Check(command) => command.run(),
            Self::Apply { files } => apply(files, options),
            Self::Reload => reload::run(options),
            Self::Ls(command) => command.run(options),
            Self::Explain(command) => command.run(options),
            Self::Matrix(command) => command.run(options),
            Self::Test(command) => command.run(options),
        }
    }

    pub(super) fn what(&self) -> String {
        match self {
            Self::Check(_) => "policy check",
            Self::Apply { .. } => "policy apply",
            Self::Reload => "policy reload",
            Self::Ls(_) => "policy ls",
            Self::Explain(_) => "policy explain",
            Self::Matrix(_) => "policy matrix",
            Self::Test(_) => "policy test",
        }
        .to_owned()
    }
}

fn apply(files: &[PathBuf], options: &Options) -> Result<ExitCode> {
    root::need()?;
    let loaded = match manifest::load_policies(files) {
        Ok(loaded) => loaded,
        Err(diagnostics) => return Ok(refuse(&diagnostics)),
    };
    let count = loaded.count();
    let LoadedPolicies { policies, cluster_policies, namespaces, mut warnings } = loaded;
    // Which endpoints there are is known here: a policy of the wrong namespace selects nobody.
    warnings.retain(|warning| warning.code != Code::Lint(Lint::MissingNamespace));
    Instance::open(options)?.change(|definitions| {
        ensure!(!definitions.world.networks.is_empty(), "nothing is up (netfast up -f FILE brings it up)");
        definitions.world.namespaces.extend(namespaces);
        definitions.world.policies = policies;
        definitions.world.cluster_policies = cluster_policies;
        warnings.extend(manifest::lint(&definitions.world, Known::World));
        Ok(())
    })?;
    if !warnings.is_empty() {
        output::complain(text(&warnings).trim_end());
    }
    output::line(&format!("{} in force", counted(count)))?;
    Ok(ExitCode::SUCCESS)
}

/// Tells what is wrong with files whose policies were to come into force.
fn refuse(diagnostics: &Diagnostics) -> ExitCode {
    let summary = diagnostics.summary();
    output::complain(&format!("{}{summary}, nothing was changed", text(&diagnostics.0)));
    ExitCode::from(code(&diagnostics.0, false))
}

fn counted(policies: usize) -> String {
    if policies == 1 { "1 policy".to_owned() } else { format!("{policies} policies") }
}
