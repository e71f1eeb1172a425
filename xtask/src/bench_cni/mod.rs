//! `cargo xtask bench-cni`: how long ADD and DEL take, ours beside those of the CNI project's own plugins.
//!
//! Calls are interleaved, a round of each in turn, as the machine is never as calm as it seems: a ratio is the median of
//! those of each round. All plugins keep their files in one place, a tmpfs.

mod chain;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use netfast_tests::{Lab, Libcni, Ns, STOCK_PLUGINS, Sandbox};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use nix::sys::wait::waitpid;
use tempfile::TempDir;

use self::chain::{Chain, Times, Took};
use crate::workspace::{as_root, target};
use crate::{build, output, setup};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often each chain of plugins adds and removes a container
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Measure netfast and the bridge plugin once more with this many containers there
    #[arg(long, value_name = "NUMBER")]
    containers: Option<usize>,
    /// A netfast that is built already, instead of the release binary
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let binary = match &options.binary {
        // It is called from other directories.
        Some(binary) => binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?,
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
    if Path::new(MEMORY).is_dir() {
        tempfile::env::override_temp_dir(Path::new(MEMORY))
            .map_err(|other| anyhow!("temporary files are in {} already", other.display()))?;
    }
    set_child_subreaper(true).context("become the parent of what plugins leave")?;
    let directory = install(binary)?;
    let binary = &directory.path().join("netfast");
    // A host for each chain: what one leaves must not slow another down.
    let labs: Vec<_> = (0..4).map(|_| Lab::with_binary(binary)).collect::<Result<_>>()?;
    let [ours, bridge, podman, behind] = labs.as_slice() else { bail!("four labs are four") };
    let mut chains =
        [Chain::netfast(ours)?, Chain::bridge(bridge), Chain::podman(podman), Chain::chained(behind)?];
    let first = first(binary)?;
    for round in 0..=*rounds {
        for chain in &mut chains {
            let times = chain.round(round)?;
            // The first one brings the network up.
            if round > 0 {
                chain.times.push(times);
            }
        }
    }
    output::heading(&format!("ADD and DEL of one container, {rounds} times each, interleaved"));
    output::line(&table::comparison(&chains));
    output::line(&format!(
        "netfast's first ADD after a boot, which loads its programs (median of {FIRSTS}): {}",
        table::milliseconds(first)
    ));
    if let Some(containers) = *containers {
        growth(binary, |lab| Chain::netfast(lab), containers, *rounds)?;
        growth(binary, |lab| Ok(Chain::bridge(lab)), containers, *rounds)?;
    }
    Ok(())
}

/// The program as runtimes find it: where `netfast cni install` has put it, on the disk it was built on. As the linker leaves it, it
/// lies in the kernel's cache by single pages, which makes each start of it a quarter longer.
fn install(binary: &Path) -> Result<TempDir> {
    let directory = tempfile::tempdir_in(target()).context("make a directory for the plugin")?;
    let path = directory.path().to_str().context("the target directory has a strange name")?;
    let lab = Lab::with_binary(binary)?;
    lab.netfast_ok(&["cni", "install", "--bin-dir", path, "--conf-dir", path])?;
    Ok(directory)
}

/// A tmpfs, as `/run` is on most hosts, where netfast keeps its files. All plugins keep theirs there, though others' would be
/// on a disk: nobody pays for that here.
const MEMORY: &str = "/dev/shm";

/// How long nothing is done before each call. The kernel takes a namespace down in its own time, and with it devices, during which
/// nobody else may change theirs: without a pause, each call waits for what the one before has left.
const CALM: Duration = Duration::from_millis(100);

/// How many hosts the first ADD is measured on.
const FIRSTS: usize = 5;

/// How long the first ADD on a host takes.
fn first(binary: &Path) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..FIRSTS {
        let lab = Lab::with_binary(binary)?;
        times.push(Chain::netfast(&lab)?.round(0)?.add.wall);
    }
    times.sort_unstable();
    times.get(FIRSTS / 2).copied().context("nothing was measured")
}

/// Tells the times of a chain beside one container, and of the same in another host beside a crowd. They take turns.
fn growth(
    binary: &Path,
    chain: impl for<'lab> Fn(&'lab Lab) -> Result<Chain<'lab>>,
    containers: usize,
    rounds: usize,
) -> Result<()> {
    let (calm, crowded) = (Lab::with_binary(binary)?, Lab::with_binary(binary)?);
    let (mut few, mut many) = (chain(&calm)?, chain(&crowded)?);
    let mut namespaces = vec![few.add_one("crowd0")?];
    for number in 0..containers {
        namespaces.push(many.add_one(&format!("crowd{number}"))?);
    }
    for round in 0..rounds {
        for chain in [&mut few, &mut many] {
            let times = chain.round(round)?;
            chain.times.push(times);
        }
    }
    output::heading(&format!("{} with {containers} containers there and with one", few.name));
    output::line(&table::growth(&few.times, &many.times));
    Ok(())
}

/// Adds and removes a container.
fn once(runtime: &Libcni<'_>, list: &serde_json::Value, number: usize) -> Result<Times> {
    let ns = Ns::new("bench")?;
    let sandbox = Sandbox::new(&format!("bench{number}"), &ns).ports(&[(8080, 80, "tcp")]);
    thread::sleep(CALM);
    let add = timed(|| runtime.add(list, &sandbox).map(drop))?;
    thread::sleep(CALM);
    let del = timed(|| runtime.del(list, &sandbox))?;
    Ok(Times { add, del })
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Took> {
    let (start, busy) = (Instant::now(), children()?);
    work()?;
    let wall = start.elapsed();
    wait_for_orphans();
    Ok(Took { wall, cpu: children()?.saturating_sub(busy) })
}

/// Waits for what plugins have left to end by itself, and whose parent this process has become: it has kept a processor busy too.
fn wait_for_orphans() {
    while waitpid(None, None).is_ok() {}
}

/// What the children of this process that have ended kept a processor busy.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("ask what children used")?;
    let duration =
        |time: TimeVal| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or_default());
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

/// Where the CNI project's plugins are.
fn stock() -> &'static Path {
    Path::new(STOCK_PLUGINS)
}
