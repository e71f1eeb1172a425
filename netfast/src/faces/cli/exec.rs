//! `netfast exec`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::root;
use crate::net::enter_and_exec;
use crate::reconcile::instance::{ExecContext, Instance, Options};

const EXAMPLES: &str = "\
Examples:
  netfast exec web -- ip address        a command of this host, in the network of web
  netfast exec client -- curl http://web/
  netfast exec shop/web -- sh           where several namespaces have a web

The exit code is the command's own; 127 if it is not found, 126 if it cannot be executed, 1 if netfast failed.";

/// Run a command of this host inside an endpoint's network.
///
/// It sees the endpoint's devices and routes, and other endpoints by name; files and processes are the host's.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Exec {
    /// The endpoint, by name, or by NAMESPACE/NAME where several have the name.
    endpoint: String,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Exec {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        root::need()?;
        let ExecContext { netns, hosts, resolv } = Instance::exec_context(options, &self.endpoint)?;
        Err(enter_and_exec(&netns, &hosts, &resolv, &self.command).into())
    }

    pub(super) fn what(&self) -> String {
        format!("exec {}", self.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};

    #[test]
    fn the_command_keeps_its_own_options() {
        for (args, wanted) in [
            (&["web", "--", "curl", "-v", "x"][..], &["curl", "-v", "x"][..]),
            (&["web", "curl", "-v", "x"], &["curl", "-v", "x"]),
            (&["web", "--", "sh", "-c", "a", "--", "b"], &["sh", "-c", "a", "--", "b"]),
            (&["-v", "web", "--", "ls", "--help"], &["ls", "--help"]),
        ] {
            let cli = Cli::try_parse_from([&["netfast", "exec"], args].concat()).unwrap();
            let Command::Exec(exec) = cli.command else { panic!("{args:?}") };
            assert_eq!(
                (exec.endpoint.as_str(), &exec.command[..]),
                ("web", &wanted.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
            );
        }
    }
}
