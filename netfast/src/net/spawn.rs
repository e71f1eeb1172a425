//! Starting a command inside an endpoint, to outlive netfast.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::signal::SigSet;
use nix::unistd::{setsid, write};

use super::Error;
use super::enter::{Entrance, default_action};
use super::process::stat;

use super::process::MARK_VARIABLE;
pub use super::process::Process;

/// Starts a command inside an endpoint: in its network namespace, with its own `/etc/hosts` and `/etc/resolv.conf`,
/// in a session of its own, without input, its output appended to `log_file`, in the control group `cgroup` if one is
/// given (a directory). It goes on when netfast ends; [`super::stop`] ends it.
///
/// `mark` is put into its environment, for [`super::process::marked`] to find it though its pid was not written down.
///
/// # Errors
/// [`Error::is_not_found`] also when the command is not found.
pub fn spawn_inside(
    netns: &Path,
    hosts: &Path,
    resolv: &Path,
    argv: &[String],
    log_file: &Path,
    cgroup: Option<&Path>,
    mark: &str,
) -> Result<Process, Error> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Error::system("start", "an empty command", io::Error::from(io::ErrorKind::InvalidInput)));
    };
    let failed = |e: io::Error| Error::system("start", program, e);
    let entrance = Entrance::prepare(netns, hosts, resolv)?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(log_file)
        .map_err(|e| Error::system("open log file", log_file.display(), e))?;
    let log_again = log.try_clone().map_err(failed)?;
    let cgroup = cgroup.map(open_cgroup).transpose()?;

    let mut command = Command::new(program);
    command.args(arguments).env(MARK_VARIABLE, mark).stdin(Stdio::null()).stdout(log).stderr(log_again);
    let in_child = move || {
        setsid()?;
        if let Some(procs) = &cgroup {
            // 0 is the writer itself.
            write(procs, b"0")?;
        }
        // What netfast ignores or, in the foreground, holds back would stay so in the command. (Handlers do not survive
        // exec.)
        (1..=libc::SIGSYS).for_each(default_action);
        SigSet::empty().thread_set_mask()?;
        entrance.enter()?;
        Ok(())
    };
    // SAFETY: the closure makes system calls only: it allocates nothing, takes no lock, and its errors are bare
    // errnos.
    unsafe { command.pre_exec(in_child) };
    let child = command.spawn().map_err(failed)?;
    let pid = child.id();
    // Until it is reaped, which only `stop` does, its entry in /proc stays even if it has ended already.
    let stat = stat(pid).map_err(|e| Error::system("read start time of process", pid, e))?;
    Ok(Process { pid, start_time: stat.start_time })
}

fn open_cgroup(directory: &Path) -> Result<File, Error> {
    let procs = directory.join("cgroup.procs");
    let file = OpenOptions::new().write(true).open(&procs);
    file.map_err(|e| Error::system("open", procs.display(), e))
}
