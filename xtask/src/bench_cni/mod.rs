//! `cargo xtask bench-cni`: how long ADD and DEL take, ours beside those of the CNI project's own plugins.
//!
//! Calls are interleaved, a round of each in turn, as the machine is never as calm as it seems: compare the ratios.

mod chain;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use netfast_tests::{Lab, Libcni, Ns, STOCK_PLUGINS, Sandbox};

use self::chain::{Chain, Times};
use crate::workspace::as_root;
use crate::{build, output, setup};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often each chain of plugins adds and removes a container
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Measure netfast once more with this many containers there
    #[arg(long, value_name = "NUMBER")]
    containers: Option<usize>,
    /// A netfast that is built already, instead of the release binary
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build::run()?,
    };
    if let Some(reason) = setup::ensure_runtimes() {
        bail!("there is nothing to compare with: {reason}");
    }
    if !netfast_tests::is_root() {
        // Only now, so that nothing in the target directory comes to belong to root.
        let this = std::env::current_exe().context("find this program")?;
        let mut command = as_root(&this.display().to_string());
        command.args(["bench-cni", "--rounds", &options.rounds.to_string(), "--binary"]).arg(binary);
        if let Some(containers) = options.containers {
            command.args(["--containers", &containers.to_string()]);
        }
        return Ok(if command.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    measure(options, &binary)?;
    Ok(ExitCode::SUCCESS)
}

fn measure(options: &Options, binary: &Path) -> Result<()> {
    let Options { rounds, containers, .. } = options;
    // A host for each chain: what one leaves must not slow another down.
    let labs: Vec<_> = (0..3).map(|_| Lab::with_binary(binary)).collect::<Result<_>>()?;
    let [ours, bridge, podman] = labs.as_slice() else { bail!("three labs are three") };
    let mut chains = [Chain::netfast(ours)?, Chain::bridge(bridge), Chain::podman(podman)];
    let mut first = None;
    for round in 0..=*rounds {
        for chain in &mut chains {
            let times = chain.round(round)?;
            if round > 0 {
                chain.times.push(times);
            } else if first.is_none() {
                first = Some(times.add);
            }
        }
    }
    output::heading(&format!("ADD and DEL of one container, {rounds} times each, interleaved"));
    output::line(&table::comparison(&chains));
    if let Some(first) = first {
        output::line(&format!(
            "netfast's first ADD, which loads its programs: {}",
            table::milliseconds(first)
        ));
    }
    if let Some(containers) = containers {
        let (few, many) = growth(ours, *containers, *rounds)?;
        output::heading(&format!("netfast with {containers} containers there, and with one"));
        output::line(&table::growth(&few, &many));
    }
    Ok(())
}

/// Times beside one container, and beside `containers`. Those are of two instances, which take turns.
fn growth(lab: &Lab, containers: usize, rounds: usize) -> Result<(Vec<Times>, Vec<Times>)> {
    let crowded = Lab::with_binary(lab.binary())?;
    let (mut few, mut many) = (Chain::netfast(lab)?, Chain::netfast(&crowded)?);
    let mut namespaces = Vec::new();
    for number in 0..containers {
        namespaces.push(many.add_one(&format!("crowd{number}"))?);
    }
    namespaces.push(few.add_one("crowd0")?);
    for round in 0..rounds {
        for chain in [&mut few, &mut many] {
            let times = chain.round(round)?;
            chain.times.push(times);
        }
    }
    Ok((few.times, many.times))
}

/// How long a call took.
type Took = Duration;

/// Adds and removes a container.
fn once(runtime: &Libcni<'_>, list: &serde_json::Value, number: usize) -> Result<(Took, Took)> {
    let ns = Ns::new("bench")?;
    let sandbox = Sandbox::new(&format!("bench{number}"), &ns).ports(&[(8080, 80, "tcp")]);
    let start = std::time::Instant::now();
    runtime.add(list, &sandbox)?;
    let added = start.elapsed();
    let start = std::time::Instant::now();
    runtime.del(list, &sandbox)?;
    Ok((added, start.elapsed()))
}

/// Where the CNI project's plugins are.
fn stock() -> &'static Path {
    Path::new(STOCK_PLUGINS)
}
