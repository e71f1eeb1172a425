//! Commands that run inside endpoints.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::assign::Records;
use super::files;
use super::host::Host;
use crate::model::World;
use crate::net;
use crate::store::{CommandRecord, EndpointRecord, LockedStore, fault};

/// How long a command has to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Starts the commands that should run and do not, and stops those that should not. A command that has ended by itself
/// is left so, until its endpoint is made anew or it is asked to be another.
///
/// # Errors
/// When one cannot be started or stopped.
pub(super) fn run(
    host: &Host<'_>,
    world: &World,
    cgroup: Option<&Path>,
    records: &mut Records,
) -> Result<()> {
    let run_dir = host.run_dir();
    for (id, record) in &mut records.endpoints {
        let wanted = world.endpoints.get(id).and_then(|endpoint| endpoint.command.as_ref());
        if record.command.as_ref().is_some_and(|c| c.pid != 0 && Some(&c.argv) == wanted)
            || (record.command.is_none() && wanted.is_none())
        {
            continue;
        }
        stop(host.store, record)?;
        record.command = wanted.map(|argv| CommandRecord { argv: argv.clone(), pid: 0, start_time: 0 });
        // Before it is started: a crash in between leaves a process that its mark betrays.
        host.store.save_endpoint(record)?;
        let Some(argv) = wanted else { continue };
        fault::point("start a command");
        let process = net::spawn_inside(
            &record.netns,
            &files::hosts_file(run_dir, &record.network),
            &files::resolv_file(run_dir),
            argv,
            &files::log_file(run_dir, id),
            cgroup,
            &mark(run_dir, record),
        )
        .with_context(|| format!("endpoint {id}: start its command"))?;
        record.command =
            Some(CommandRecord { argv: argv.clone(), pid: process.pid, start_time: process.start_time });
        fault::point("record a command");
        host.store.save_endpoint(record)?;
    }
    Ok(())
}

/// Stops an endpoint's command, if it has one and it runs.
///
/// # Errors
/// When it survives.
pub(super) fn stop(store: &LockedStore, record: &EndpointRecord) -> Result<()> {
    let Some(command) = &record.command else {
        return Ok(());
    };
    let run_dir = &store.paths().run_dir;
    if command.pid != 0 {
        // A crash after this leaves one that is to be started, not one that seems to have ended by itself.
        let stopped = CommandRecord { argv: command.argv.clone(), pid: 0, start_time: 0 };
        let record = EndpointRecord { command: Some(stopped), ..record.clone() };
        if let Err(error) = store.save_endpoint(&record) {
            // A full disk is no reason not to stop it.
            tracing::warn!(endpoint = %record.id, %error, "cannot note that its command is stopped");
        }
    }
    fault::point("stop a command");
    let failed = || format!("endpoint {}: stop its command", record.id);
    if command.pid != 0 {
        net::stop(command.pid, command.start_time, GRACE).with_context(failed)?;
        return Ok(());
    }
    for process in net::marked(&mark(run_dir, record)) {
        net::stop(process.pid, process.start_time, GRACE).with_context(failed)?;
    }
    Ok(())
}

/// Stops all commands of the instance whose run directory is given, also those that no record tells of.
///
/// # Errors
/// When one survives.
pub(super) fn stop_all(run_dir: &Path) -> Result<()> {
    let mut result = Ok(());
    for process in net::marked_below(&format!("{}:", run_dir.display())) {
        let stopped = net::stop(process.pid, process.start_time, GRACE);
        result = result.and(stopped.map(drop).context("stop the command of an endpoint"));
    }
    result
}

/// What tells this endpoint's command from every other process.
fn mark(run_dir: &Path, record: &EndpointRecord) -> String {
    format!("{}:{}:{}", run_dir.display(), record.id, record.incarnation)
}
