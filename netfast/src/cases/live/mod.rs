//! Cases with packets: each world is built, in namespaces of its own, and who is to reach whom tries.
//!
//! Everything is made on a thread with its own network and mount namespaces ([`in_sandbox`]): the host, its state, the
//! pinned programs, the endpoints, the world outside. So nothing of it outlives the thread, however that ends.

mod ends;
mod listen;
mod sctp;
mod send;
mod stage;
mod subnets;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use self::send::{Arrival, Shot};
use self::stage::Stage;
use self::subnets::Plan;
use super::Group;
use super::judge::{Judges, refused};
use super::report::{CaseReport, ProbeReport};
use crate::compile::policy::Numbers;
use crate::kernel::own_cgroup;
use crate::manifest::cases::{Case, Verdict};
use crate::net::in_sandbox;

/// How packets are sent.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// All probes are sent, not only those that decide.
    pub all: bool,
    /// The cgroup for the programs of the host's sockets; `None`: that of this process.
    pub cgroup: Option<PathBuf>,
}

/// Groups that are built at the same time, for each CPU: most of the time is spent waiting.
const GROUPS_PER_CPU: usize = 2;

/// Builds all groups, and sends their probes.
///
/// # Errors
/// When the process has no cgroup.
pub fn run(groups: &[Group<'_>], settings: &Settings) -> Result<Vec<CaseReport>> {
    let settings = Settings {
        cgroup: Some(settings.cgroup.clone().map_or_else(own_cgroup, Ok).context("find a cgroup")?),
        ..settings.clone()
    };
    let queue = Mutex::new(groups.iter().enumerate());
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            // A thread that panics holds neither lock.
            let next = queue.lock().ok().and_then(|mut queue| queue.next());
            let Some((index, group)) = next else { return };
            let reports = run_group(group, &settings);
            if let Ok(mut done) = done.lock() {
                done.push((index, reports));
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from) * GROUPS_PER_CPU;
    thread::scope(|scope| {
        for _ in 0..workers.min(groups.len()) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().flat_map(|(_, reports)| reports).collect())
}

/// Builds the cases of a group one after the other, each from the one before.
fn run_group(group: &Group<'_>, settings: &Settings) -> Vec<CaseReport> {
    let mut numbers = Numbers::default();
    let prepared: Vec<_> = group.iter().map(|case| Judges::new(case, &mut numbers)).collect();
    let scenes = prepared.iter().flatten().map(|judges| &judges.scene);
    let plan = Plan::new(&scenes.collect::<Vec<_>>(), group);
    let in_place = in_sandbox(|directory| {
        let mut stage = plan.as_ref().map(|plan| Stage::new(directory, plan, settings));
        let mut reports = Vec::new();
        for (case, judges) in group.iter().zip(prepared) {
            reports.push(match (judges, &mut stage) {
                (Err(unjudged), _) => refused(case, unjudged),
                (_, Err(why)) => CaseReport::skipped(case, why.clone()),
                (_, Ok(Err(error))) => CaseReport::failed(case, format!("it cannot be built: {error:#}")),
                (Ok(judges), Ok(Ok(stage))) => {
                    run_case(case, judges, stage, settings).unwrap_or_else(|error| {
                        CaseReport::failed(case, format!("it cannot be built: {error:#}"))
                    })
                }
            });
        }
        reports
    });
    in_place.unwrap_or_else(|error| {
        let failed = |case: &&Case| CaseReport::failed(case, format!("it cannot be built: {error}"));
        group.iter().map(failed).collect()
    })
}

fn run_case(
    case: &Case,
    mut judges: Judges,
    stage: &mut Stage<'_>,
    settings: &Settings,
) -> Result<CaseReport> {
    judges.scene.node = stage.plan.node().iter().map(IpNet::addr).collect();
    let places = stage.build(case, &judges.scene)?;
    let chosen: BTreeSet<usize> = if settings.all || case.smoke.is_empty() {
        (0..case.probes.len()).collect()
    } else {
        case.smoke.iter().copied().collect()
    };
    let mut reports = Vec::new();
    let mut shots = Vec::new();
    for (index, probe) in case.probes.iter().enumerate().filter(|(index, _)| chosen.contains(index)) {
        let mut report = ProbeReport::new(probe);
        match judges.answers(probe) {
            Err(why) => report.skip(why),
            Ok(answers) => {
                report.judged(&answers);
                match Shot::new(index, probe, &judges.scene, stage.plan) {
                    Err(why) => report.skip(why),
                    Ok(mut shot) => {
                        // What is to arrive is waited for longer than what is not.
                        shot.is_awaited = probe.expect == Verdict::Allow || answers.alone.allowed;
                        shots.push((reports.len(), shot));
                    }
                }
            }
        }
        reports.push(report);
    }
    for volley in shots.chunks(send::VOLLEY) {
        let aimed: Vec<&Shot> = volley.iter().map(|(_, shot)| shot).collect();
        let arrivals = send::fire(&aimed, &places)?;
        for ((at, _), arrival) in volley.iter().zip(arrivals) {
            match arrival {
                Arrival::Seen => reports[*at].sent(Verdict::Allow),
                Arrival::NotSeen => reports[*at].sent(Verdict::Deny),
                Arrival::Unsent(why) => reports[*at].fail(format!("it could not be sent: {why}")),
            }
        }
    }
    Ok(CaseReport::of(case, reports))
}
