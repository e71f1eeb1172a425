//! The command line: nouns and verbs, one file for each noun.
//!
//! A command turns its arguments into one change of, or one look at, an instance, and prints what came of it. All
//! that fails ends up in one place and becomes one line.

mod bench;
mod cells;
mod cni;
mod deny;
mod doctor;
mod down;
mod endpoint;
mod error;
mod exec;
mod flow;
mod metrics;
mod monitor;
mod options;
mod output;
mod policy;
mod port;
mod privileges;
mod root;
mod status;
mod table;
#[cfg(test)]
mod testing;
mod up;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use self::options::InstanceArgs;
use super::log;
use crate::reconcile::instance::Options;

const PLUGIN: &str = "\
Called by a container runtime, with CNI_COMMAND in the environment and no arguments, netfast is a CNI plugin.";

/// Container networking moved by eBPF: forwarding, published ports, masquerade and NetworkPolicy without iptables.
#[derive(Debug, Parser)]
#[command(name = "netfast", version, subcommand_required = true, arg_required_else_help = true, after_help = PLUGIN)]
struct Cli {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Say more on standard error: what is done (-v), every step (-vv). `RUST_LOG` says it in detail.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Up),
    Down(down::Down),
    Status(status::Status),
    Doctor(doctor::Doctor),
    Exec(exec::Exec),
    Monitor(monitor::Monitor),
    Metrics(metrics::Metrics),
    Bench(bench::Bench),
    #[command(subcommand)]
    Endpoint(endpoint::Endpoint),
    #[command(subcommand)]
    Deny(deny::Deny),
    #[command(subcommand)]
    Port(port::Port),
    #[command(subcommand)]
    Policy(policy::Policy),
    #[command(subcommand)]
    Flow(flow::Flow),
    #[command(subcommand)]
    Cni(cni::Cni),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // There is nobody left to tell.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    log::start(cli.verbose);
    let options = cli.instance.options();
    match cli.command.run(&options).with_context(|| cli.command.what()) {
        Ok(code) => code,
        Err(failure) => {
            output::complain(&error::render(&failure, cli.verbose > 0));
            ExitCode::from(error::exit_code(&failure))
        }
    }
}

impl Command {
    fn run(&self, options: &Options) -> Result<ExitCode> {
        match self {
            Self::Up(command) => command.run(options),
            Self::Down(command) => command.run(options),
            Self::Status(command) => command.run(options),
            Self::Doctor(command) => command.run(options),
            Self::Exec(command) => command.run(options),
            Self::Monitor(command) => command.run(options),
            Self::Metrics(command) => command.run(options),
            Self::Bench(command) => command.run(options),
            Self::Endpoint(command) => command.run(options),
            Self::Deny(command) => command.run(options),
            Self::Port(command) => command.run(options),
            Self::Policy(command) => command.run(options),
            Self::Flow(command) => command.run(options),
            Self::Cni(command) => command.run(options),
        }
    }

    /// What failed, if it fails.
    fn what(&self) -> String {
        match self {
            Self::Up(_) => "up".to_owned(),
            Self::Down(_) => "down".to_owned(),
            Self::Status(_) => "status".to_owned(),
            Self::Doctor(_) => "doctor".to_owned(),
            Self::Exec(command) => command.what(),
            Self::Monitor(_) => "monitor".to_owned(),
            Self::Metrics(_) => "metrics".to_owned(),
            Self::Bench(_) => "bench".to_owned(),
            Self::Endpoint(command) => command.what(),
            Self::Deny(command) => command.what(),
            Self::Port(command) => command.what(),
            Self::Policy(command) => command.what(),
            Self::Flow(command) => command.what(),
            Self::Cni(command) => command.what(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_is_for() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn mistakes_in_usage_are_told_from_failures() {
        for (args, code) in [
            (&["netfast", "--help"][..], 0),
            (&["netfast", "up", "--help"], 0),
            (&["netfast", "--version"], 0),
            (&["netfast"], 2),
            (&["netfast", "fly"], 2),
            (&["netfast", "exec", "web"], 2),
            (&["netfast", "status", "-o", "xml"], 2),
            (&["netfast", "deny", "add", "10.0.0.5/24"], 2),
        ] {
            assert_eq!(Cli::try_parse_from(args).unwrap_err().exit_code(), code, "{args:?}");
        }
    }

    #[test]
    fn options_of_the_instance_may_stand_anywhere() {
        for args in [
            ["netfast", "--state-dir", "/s", "status", "--attach", "clsact"],
            ["netfast", "status", "--attach", "clsact", "--state-dir", "/s"],
        ] {
            let options = Cli::try_parse_from(args).unwrap().instance.options();
            assert_eq!(options.paths.state_dir, Some("/s".into()));
            assert_eq!(options.attach, crate::kernel::Mode::Clsact);
        }
    }
}
