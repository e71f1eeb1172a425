//! `netfast policy matrix`.

mod grid;
mod page;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use super::super::error::NoAnswer;
use super::super::options::{Format, FormatArgs};
use super::super::output;
use super::asked::{FamilyArgs, WorldArgs, service};
use crate::reconcile::instance::Options;
use crate::reconcile::judge::view::MatrixView;
use crate::reconcile::judge::{MatrixOptions, Service};

const EXAMPLES: &str = "\
Examples:
  netfast policy matrix                             who reaches whom, on the ports that they declare
  netfast policy matrix --port 80,53/udp            on these
  netfast policy matrix --html reach.html           as a page to look at in a browser
  netfast policy matrix -f netfast.yaml -o json     of what a file describes, without root";

/// Show who may reach whom, on which ports: all endpoints, the own host, and the world outside.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::faces::cli) struct Matrix {
    /// Ports to ask for, as in `80,53/udp,http` [default: those each receiver declares, else those that rules name].
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',', value_parser = service)]
    services: Vec<Service>,
    /// An address outside. May be repeated [default: one of each family that no block and no network holds].
    #[arg(long, value_name = "ADDRESS")]
    outside: Vec<IpAddr>,
    /// Write a page for browsers to this file, instead of the table. It needs nothing but itself.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    family: FamilyArgs,
    #[command(flatten)]
    world: WorldArgs,
    #[command(flatten)]
    format: FormatArgs,
}

impl Matrix {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        let view = self.ask(options).map_err(NoAnswer)?;
        if let Some(file) = &self.html {
            let page = page::page(&view)?;
            std::fs::write(file, page).with_context(|| format!("write {}", file.display()))?;
            if self.format.format == Format::Table {
                output::line(&format!("{} written: open it in a browser", file.display()))?;
                return Ok(ExitCode::SUCCESS);
            }
        }
        output::show(self.format.format, &view, || grid::text(&view))?;
        Ok(ExitCode::SUCCESS)
    }

    fn ask(&self, options: &Options) -> Result<MatrixView> {
        let judge = self.world.judge(options)?;
        judge.matrix(&MatrixOptions {
            services: self.services.clone(),
            outside: self.outside.clone(),
            families: self.family.families(),
        })
    }
}
