//! Which CPU does the work, and how much of it that takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// The CPUs that measurements run on: the last two that this process may use, as interrupts tend to go to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cpus([usize; 2]);

impl Cpus {
    /// Chooses them.
    pub(super) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("ask which CPUs may be used")?;
        let mut list = (0..CpuSet::count()).rev().filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        let first = list.next().context("no CPU may be used")?;
        Ok(Self([first, list.next().unwrap_or(first)]))
    }

    /// Where both ends of a transaction run, and the client of a stream.
    pub(super) const fn first(self) -> usize {
        self.0[0]
    }

    /// Where the server of a stream runs: the same as the first where there is only one.
    pub(super) const fn second(self) -> usize {
        self.0[1]
    }
}

/// Keeps the calling thread on a CPU.
pub(super) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("name CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("stay on CPU {cpu}"))
}

/// Counts the time of CPUs that work for a measurement: this process's, and what the kernel does on its behalf.
///
/// What others do at the same time is not counted, as it would be by how busy the CPUs are. Most of what the kernel does
/// for a packet is done by whoever sent it, in its time; what it postpones is done by `ksoftirqd`. Kernels that account
/// for softirqs apart take both out of the sender's time.
#[derive(Debug)]
pub(super) struct CpuMeter {
    /// `schedstat` of the CPUs' ksoftirqd.
    deferred: Vec<PathBuf>,
    /// The CPUs whose softirqs are accounted for apart.
    apart: Vec<usize>,
}

impl CpuMeter {
    /// A meter for some CPUs.
    pub(super) fn new(cpus: [usize; 2]) -> Self {
        let names = cpus.map(|cpu| format!("ksoftirqd/{cpu}"));
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let is_one = |path: &Path| {
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            names.iter().any(|wanted| wanted == name.trim_end())
        };
        let deferred = processes
            .map(|entry| entry.path())
            .filter(|path| is_one(path))
            .map(|path| path.join("schedstat"));
        let mut apart = if accounts_apart() { cpus.to_vec() } else { Vec::new() };
        apart.dedup();
        Self { deferred: deferred.collect(), apart }
    }

    /// What has been used so far; the difference of two readings counts.
    pub(super) fn read(&self) -> Result<Duration> {
        let own =
            clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).context("read the CPU time of this process")?;
        let deferred = self.deferred.iter().map(|path| run_time(path)).sum::<Duration>();
        let apart = if self.apart.is_empty() { Duration::ZERO } else { softirqs(&self.apart)? };
        Ok(Duration::from(own) + deferred + apart)
    }
}

fn run_time(schedstat: &Path) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    let run = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(run.unwrap_or_default())
}

/// Time of interrupts and softirqs on some CPUs, from the columns of `/proc/stat`.
fn softirqs(cpus: &[usize]) -> Result<Duration> {
    /// Ticks of these columns, whatever the kernel's own are.
    const TICK: Duration = Duration::from_millis(10);
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let of = |cpu: &usize| {
        let name = format!("cpu{cpu} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name))?;
        let columns: Vec<u32> = line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
        Some(columns.get(5)? + columns.get(6)?)
    };
    Ok(TICK * cpus.iter().filter_map(of).sum())
}

/// Whether this kernel accounts for the time of softirqs apart from that of whom they interrupt.
fn accounts_apart() -> bool {
    const OPTION: &str = "CONFIG_IRQ_TIME_ACCOUNTING=y";
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_default();
    let files = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
    let mut texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let config = texts.next().or_else(|| {
        let output = Command::new("zcat").arg("/proc/config.gz").output().ok()?;
        String::from_utf8(output.stdout).ok()
    });
    config.is_some_and(|config| config.lines().any(|line| line == OPTION))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_is_counted() {
        let cpus = Cpus::choose().unwrap();
        let meter = CpuMeter::new([cpus.first(), cpus.second()]);
        let before = meter.read().unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(20) {}
        assert!(meter.read().unwrap() > before);
    }

    #[test]
    fn a_thread_stays_where_it_is_put() {
        let cpu = Cpus::choose().unwrap().first();
        let set = std::thread::spawn(move || {
            pin(cpu).unwrap();
            sched_getaffinity(Pid::from_raw(0)).unwrap()
        });
        let set = set.join().unwrap();
        assert_eq!((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap()).collect::<Vec<_>>(), [cpu]);
    }
}
