//! The schedule: which variant is measured when.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::cpu::Cpus;
use super::machine::Machine;
use super::peers::{Peer, Site, Stage};
use super::plan::{Scale, Settings, Test, Variant, Work};
use super::report::{Measured, PeerReport, Report, SCHEMA, TestReport};
use super::workloads::{Slice, Values};
use super::{drops, programs, setup};
use crate::kernel::own_cgroup;
use crate::net::in_sandbox;

/// How far a run has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// What is done now.
    pub doing: String,
    /// Measurements done.
    pub done: usize,
    /// Measurements there are to be.
    pub all: usize,
    /// How long the rest takes, as far as can be told.
    pub left: Option<Duration>,
}

/// Who watches a run.
pub trait Watcher: Send {
    /// Something else is done from now on.
    fn tell(&mut self, progress: &Progress);

    /// Whether the run is to stop, with what has been measured so far.
    fn stops(&self) -> bool;
}

/// Runs all tests, in namespaces of its own that are gone afterwards. `cgroup`: where the cgroups for netfast's programs of
/// the host's sockets are made; the process is in it. `None`: its own.
///
/// # Errors
/// When there can be no such namespaces. What cannot be measured is left out, and the report says why.
pub fn run(settings: &Settings, cgroup: Option<PathBuf>, watcher: &mut dyn Watcher) -> Result<Report> {
    let cpus = Cpus::choose()?;
    let machine = Machine::look(cpus);
    let cgroup = cgroup.map_or_else(own_cgroup, Ok).context("find a cgroup")?;
    let start = Instant::now();
    in_sandbox(|directory| {
        let site = Site { directory: directory.to_owned(), cgroup };
        let slice = Slice::new(settings.slice, cpus);
        let mut run = Run {
            settings,
            site,
            slice,
            watcher,
            cpu: cpus.first(),
            start,
            done: 0,
            stages: BTreeMap::new(),
        };
        let mut tests = Vec::new();
        for (at, test) in settings.tests.iter().enumerate() {
            if run.watcher.stops() {
                break;
            }
            run.forget_all_but(&settings.tests[at..]);
            tests.push(TestReport::new(&run.test(test)));
        }
        let (programs, memory) = if run.watcher.stops() { Default::default() } else { run.costs() };
        let measured =
            |peer: &Peer| tests.iter().flat_map(|test| &test.variants).any(|v| v.variant.peer == *peer);
        let peers = Peer::ALL.into_iter().filter(measured);
        let about = |peer: Peer| PeerReport { peer, about: peer.about(), br_netfilter: peer.is_filtered() };
        Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            machine,
            is_complete: !run.watcher.stops(),
            seconds: start.elapsed().as_secs(),
            rounds: settings.rounds,
            slice_ms: u64::try_from(settings.slice.as_millis()).unwrap_or(u64::MAX),
            peers: peers.map(about).collect(),
            programs,
            memory,
            tests,
        }
    })
    .context("make namespaces to measure in")
}

type Key = (Peer, Scale);

struct Run<'r> {
    settings: &'r Settings,
    site: Site,
    slice: Slice,
    watcher: &'r mut dyn Watcher,
    /// Where what is no traffic is measured.
    cpu: usize,
    start: Instant,
    done: usize,
    /// Peers that have been built, or why they cannot be.
    stages: BTreeMap<Key, Result<Stage, String>>,
}

impl Run<'_> {
    /// Measures every variant in every round. Each round begins with another one, so that none is always the first.
    fn test(&mut self, test: &Test) -> Measured {
        let mut measured =
            Measured { test: test.clone(), rounds: BTreeMap::new(), left_out: BTreeMap::new() };
        for variant in &test.variants {
            self.tell(format!("{}: building {}", test.title, variant.peer));
            if self.watcher.stops() {
                return measured;
            }
            if let Err(why) = self.prepare(test.work, *variant) {
                measured.left_out.insert(*variant, why);
            }
        }
        let variants: Vec<_> = test
            .variants
            .iter()
            .filter(|variant| !measured.left_out.contains_key(variant))
            .copied()
            .collect();
        for round in 0..self.settings.rounds {
            self.tell(format!("{}: round {} of {}", test.title, round + 1, self.settings.rounds));
            for at in 0..variants.len() {
                let variant = variants[(at + round) % variants.len()];
                if self.watcher.stops() {
                    return measured;
                }
                self.done += 1;
                if measured.left_out.contains_key(&variant) {
                    continue;
                }
                match self.measure(test.work, variant) {
                    Ok(values) => {
                        measured.rounds.entry(variant).or_default().insert(round, values);
                    }
                    Err(error) => {
                        let why = format!("from round {} on: {error:#}", round + 1);
                        measured.left_out.insert(variant, why);
                    }
                }
            }
        }
        self.done += measured.left_out.len().min(test.variants.len() - variants.len()) * self.settings.rounds;
        measured
    }

    /// Builds a peer, if it is not there yet, and does the work once to warm up.
    fn prepare(&mut self, work: Work, variant: Variant) -> Result<(), String> {
        let key = (variant.peer, variant.scale);
        if !self.stages.contains_key(&key) {
            let built = Stage::new(variant.peer, variant.scale, &self.site);
            self.stages.insert(key, built.map_err(|error| format!("{error:#}")));
        }
        if let Some(Err(why)) = self.stages.get(&key) {
            return Err(why.clone());
        }
        // The first packets may be lost, for one where a bridge has only just been made.
        self.measure(work, variant)
            .or_else(|_| self.measure(work, variant))
            .map(drop)
            .map_err(|e| format!("{e:#}"))
    }

    fn measure(&self, work: Work, variant: Variant) -> Result<Values> {
        let stage = self.stages.get(&(variant.peer, variant.scale)).and_then(|stage| stage.as_ref().ok());
        let stage = stage.context("it has not been built")?;
        let act = || match work {
            Work::Traffic(workload) => workload.run(&stage.ends(variant.way)?, &self.slice),
            Work::Drop => drops::run(stage, self.cpu),
            Work::AddContainer => setup::add_container(stage),
            Work::Publish => setup::publish(stage),
        };
        match &stage.installed {
            Some(installed) => installed.inside(act),
            None => act(),
        }
    }

    /// Takes down what no later test needs.
    fn forget_all_but(&mut self, tests: &[Test]) {
        let is_needed = |key: &Key| {
            tests.iter().flat_map(|test| &test.variants).any(|variant| (variant.peer, variant.scale) == *key)
        };
        self.stages.retain(|key, _| is_needed(key));
    }

    /// What netfast's programs and maps cost by themselves.
    fn costs(&mut self) -> (Vec<super::report::ProgramReport>, Option<super::report::MemoryReport>) {
        let key = (Peer::Netfast, Scale::ONE);
        self.tell("programs, one by one".to_owned());
        let Some(Ok(stage)) = self.stages.get(&key) else { return Default::default() };
        let Some(installed) = &stage.installed else { return Default::default() };
        let programs = installed.inside(|| programs::costs(stage, self.cpu)).unwrap_or_else(|error| {
            tracing::warn!("the programs cannot be measured one by one: {error:#}");
            Vec::new()
        });
        (programs, programs::memory(installed).ok())
    }

    fn tell(&mut self, doing: String) {
        let all = self.settings.slices();
        let rest = u32::try_from(all.saturating_sub(self.done)).unwrap_or(u32::MAX);
        let done = u32::try_from(self.done).unwrap_or(u32::MAX);
        let left = if done == 0 { self.settings.slice * rest } else { self.start.elapsed() / done * rest };
        self.watcher.tell(&Progress { doing, done: self.done, all, left: Some(left) });
    }
}
