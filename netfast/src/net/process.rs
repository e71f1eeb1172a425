//! Processes by pid and start time, which together are never reused.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::Error;

/// How often a process is looked at while its end is waited for.
const POLL: Duration = Duration::from_millis(5);

/// How long the kernel may take to end a process it was told to kill.
const DEATH: Duration = Duration::from_secs(5);

/// A command started by [`super::spawn_inside`], and how to tell it from a later process with its pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid, also its session and process group.
    pub pid: u32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

/// The variable that tells whose command a process is.
pub(super) const MARK_VARIABLE: &str = "NETFAST_COMMAND";

/// The commands that were started with this mark and still run.
pub fn marked(mark: &str) -> Vec<Process> {
    let wanted = format!("{MARK_VARIABLE}={mark}");
    find(|variable| variable == wanted.as_bytes())
}

/// As [`marked`], with any mark that begins like this.
pub fn marked_below(start: &str) -> Vec<Process> {
    let wanted = format!("{MARK_VARIABLE}={start}");
    find(|variable| variable.starts_with(wanted.as_bytes()))
}

fn find(is_mark: impl Fn(&[u8]) -> bool) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        // Unreadable: it has ended, or is somebody else's.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(&is_mark)
    })
    .filter_map(|pid| {
        // Its own children inherit the mark; the command is the leader of their group.
        let stat = stat(pid).ok().filter(|stat| !stat.dead && stat.group.unsigned_abs() == pid)?;
        Some(Process { pid, start_time: stat.start_time })
    })
    .collect()
}

/// Whether the process started at `start_time` still runs. A zombie does not.
pub fn alive(pid: u32, start_time: u64) -> bool {
    stat(pid).is_ok_and(|stat| stat.start_time == start_time && !stat.dead)
}

/// Ends a command and all that is left of its process group: asks, waits up to `grace`, then kills. Returns whether
/// the command was running. If it was started by this process, it is reaped.
pub fn stop(pid: u32, start_time: u64, grace: Duration) -> Result<bool, Error> {
    let failed = |errno: Errno| Error::system("stop process", pid, errno);
    // A pid beyond pid_max, and 0 and 1 (whose groups would be our own and init's), are nobody we started.
    let Some(group) = i32::try_from(pid).ok().filter(|pid| *pid > 1).map(Pid::from_raw) else {
        return Ok(false);
    };
    if !alive(pid, start_time) {
        if stat(pid).is_ok_and(|stat| stat.start_time == start_time) {
            // A zombie still holds the number of its group.
            signal(group, Signal::SIGKILL).map_err(failed)?;
            reap(group);
        }
        return Ok(false);
    }
    signal(group, Signal::SIGTERM).map_err(failed)?;
    if wait_for_end(group, start_time, grace) {
        return Ok(true);
    }
    // The group has been seen alive a moment ago, so its number cannot have gone to others.
    signal(group, Signal::SIGKILL).map_err(failed)?;
    if wait_for_end(group, start_time, DEATH) {
        return Ok(true);
    }
    Err(Error::answer("stop process", pid, "it survives SIGKILL"))
}

/// Waits until neither the process nor another member of its group runs.
fn wait_for_end(group: Pid, start_time: u64, limit: Duration) -> bool {
    let leader = group.as_raw().unsigned_abs();
    let deadline = Instant::now() + limit;
    loop {
        reap(group);
        if !alive(leader, start_time) && !group_runs(group) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// Whether a group has a member that runs. Where nobody reaps orphans (a container whose first process does not) its
/// zombies stay for ever, so counting members would not do.
fn group_runs(group: Pid) -> bool {
    if killpg(group, None) == Err(Errno::ESRCH) {
        return false;
    }
    let Ok(entries) = fs::read_dir("/proc") else { return true };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| stat(pid).ok()).any(|stat| stat.group == group.as_raw() && !stat.dead)
}

fn signal(group: Pid, signal: Signal) -> Result<(), Errno> {
    match killpg(group, signal) {
        // It ended by itself just now.
        Err(Errno::ESRCH) => Ok(()),
        result => result,
    }
}

/// Takes the exit status of a child of ours, if it is one and it ended.
fn reap(pid: Pid) {
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        // Not a child of ours is the usual case: a later netfast stops what an earlier one started.
        Ok(_) | Err(Errno::ECHILD) => {}
        Err(errno) => tracing::debug!(%pid, %errno, "cannot reap"),
    }
}

/// What `/proc/PID/stat` says.
pub(super) struct Stat {
    /// Field 22.
    pub(super) start_time: u64,
    /// Process group: field 5.
    group: i32,
    /// Whether it is a zombie or going.
    dead: bool,
}

pub(super) fn stat(pid: u32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// The second field is the command's name in parentheses, which may itself hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let _parent = fields.next()?;
    let group = fields.next()?.parse().ok()?;
    // 16 more lie before field 22.
    let start_time = fields.nth(16)?.parse().ok()?;
    Some(Stat { start_time, group, dead: matches!(state, "Z" | "X") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_field_22_whatever_the_name() {
        let text = "42 (a) R b (c) S 1 41 40 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 9 9";
        let stat = parse_stat(text).unwrap();
        assert_eq!(stat.start_time, 123_456);
        assert_eq!(stat.group, 41);
        assert!(!stat.dead);
    }

    #[test]
    fn nobody_else_is_stopped() {
        let own = std::process::id();
        let start_time = stat(own).unwrap().start_time;
        assert!(alive(own, start_time));
        assert!(!alive(own, start_time + 1));
        assert!(!stop(own, start_time + 1, Duration::ZERO).unwrap());
        assert!(!stop(0, 0, Duration::ZERO).unwrap());
        assert!(!stop(u32::MAX, 0, Duration::ZERO).unwrap());
    }
}
