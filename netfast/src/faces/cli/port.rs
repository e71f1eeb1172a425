//! `netfast port`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::options::FormatArgs;
use super::table::Table;
use super::{cells, output, root};
use crate::reconcile::instance::{Instance, Options};
use crate::reconcile::view::PortView;

/// Look at published ports.
#[derive(Debug, Subcommand)]
pub(super) enum Port {
    /// List the ports of this host that lead to endpoints.
    Ls(FormatArgs),
}

impl Port {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        let Self::Ls(FormatArgs { format }) = self;
        root::need()?;
        let view = Instance::view(options)?;
        output::show(*format, &view.ports, || match view.ports.as_slice() {
            [] => "no ports are published\n".to_owned(),
            ports => table(ports).render(""),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn what(&self) -> String {
        let Self::Ls(_) = self;
        "port ls".to_owned()
    }
}

/// The ports, by host port.
pub(super) fn table(ports: &[PortView]) -> Table<3> {
    let mut table = Table::new(["HOST", "ENDPOINT", "FROM"]);
    for port in ports {
        table.row([cells::host_port(port), cells::endpoint_port(port), cells::sources(port)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::testing;

    #[test]
    fn a_port_is_a_line() {
        let mut ports = testing::instance().ports;
        assert_eq!(super::table(&ports).render(""), "HOST      ENDPOINT\n8080/tcp  web:80\n");
        ports[0].from = vec!["192.0.2.0/24".parse().unwrap(), "fd00::/8".parse().unwrap()];
        assert_eq!(
            super::table(&ports).render(""),
            "HOST      ENDPOINT  FROM\n8080/tcp  web:80    192.0.2.0/24, fd00::/8\n"
        );
    }
}
