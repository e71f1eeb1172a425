//! `netfast metrics`.

mod serve;
mod text;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::{output, root};
use crate::reconcile::instance::{Instance, Options};

const EXAMPLES: &str = "\
Examples:
  netfast metrics                            once, as node_exporter's textfile collector takes it
  netfast metrics --listen 127.0.0.1:9477    at http://127.0.0.1:9477/metrics, until Ctrl-C

There is no encryption and no password: listen on an address that only those reach who may see it.";

/// Show the counters of the instance as metrics for Prometheus.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Metrics {
    /// Serve them by HTTP at this address instead, looking anew for each request.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

impl Metrics {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        root::need()?;
        match self.listen {
            Some(address) => serve::serve(options, address)?,
            None => output::text(&text::text(&Instance::view(options)?)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
