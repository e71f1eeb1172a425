//! netfast's development commands: `cargo xtask run` is the one to start with.
//!
//! Each of them sets up what it needs by itself, so that a fresh clone needs nothing but rustup and a network.

mod bench;
mod bench_cni;
mod build;
mod check;
#[cfg(test)]
mod checklist;
mod demo;
mod guest;
mod output;
mod run;
mod serve_http;
mod setup;
mod stage;
mod step;
mod test;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", about = "Set up, build, run, test and check netfast")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing to build and test netfast; says what and why first
    Setup,
    /// Build the release binary
    Build,
    /// Show netfast at work in a private network namespace; with arguments, run netfast itself
    Run(run::Options),
    /// Run every check and every test (the end-to-end ones as root)
    Test(test::Options),
    /// Build the release binary, and measure it and others side by side
    Bench(bench::Options),
    /// Check formatting, lints and documentation, and run the unit tests
    Check,
    /// Compare how long CNI plugins take: netfast beside those of the CNI project
    BenchCni(bench_cni::Options),
    /// The demo, as root
    #[command(hide = true)]
    Demo {
        #[arg(long)]
        binary: PathBuf,
        #[arg(long)]
        once: bool,
    },
    /// A tiny web server, for the demo's endpoints
    #[command(hide = true)]
    ServeHttp(serve_http::Options),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    match dispatch(command) {
        Ok(code) => code,
        Err(error) => {
            output::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Command::Build => build::run().map(|_| ExitCode::SUCCESS),
        Command::Run(options) => run::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Check => check::run(),
        Command::BenchCni(options) => bench_cni::run(&options),
        Command::Demo { binary, once } => demo::run(&binary, once),
        Command::ServeHttp(options) => serve_http::run(&options).map(|()| ExitCode::SUCCESS),
    }
}
