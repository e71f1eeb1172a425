//! Waiting until no program can be running that has read what was there before.
//!
//! tc and XDP programs run with bottom halves off, and then no task gets the CPU but on a `PREEMPT_RT` kernel. So whoever has
//! had each CPU for a moment knows that all of them have ended that had begun before. To a task of real-time priority
//! that takes 0.05 ms, however busy the CPUs are; an RCU grace period takes 8 to 20 ms (two CPUs, `HZ=250`, Linux 6.18).

use std::sync::mpsc;
use std::time::Duration;
use std::{fs, io, thread};

use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// `MEMBARRIER_CMD_GLOBAL` of `linux/membarrier.h`.
const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;
/// The lowest real-time priority, which is above all other tasks.
const PRIORITY: libc::c_int = 1;
/// How long CPUs are asked for. One may belong to a task of higher priority, which gives it up to nobody.
const PATIENCE: Duration = Duration::from_millis(5);

/// Whose end is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programs {
    /// Those of packets: tc and XDP.
    OfPackets,
    /// Those of packets and of sockets. The latter run in the middle of a system call, and may have to give up the CPU.
    All,
}

/// Returns when every such program that was running when it was called has ended.
pub fn grace_period(programs: Programs) {
    if programs == Programs::All || !has_had_every_cpu() {
        rcu_grace_period();
    }
}

/// A global membarrier waits for an RCU grace period (`kernel/sched/membarrier.c`; Linux 4.3 and newer), and every
/// program runs inside an RCU read-side section. Where it is not to be had, this sleeps far longer than a program runs.
fn rcu_grace_period() {
    // SAFETY: a system call without pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        thread::sleep(Duration::from_millis(50));
    }
}

/// A thread of its own goes, whose priority and place are nobody else's.
fn has_had_every_cpu() -> bool {
    let (tell, told) = mpsc::channel();
    let visitor = move || {
        // Nobody listens any more if it took too long.
        let _ = tell.send(visit_every_cpu().is_ok());
    };
    let is_sent = thread::Builder::new().name("grace".to_owned()).spawn(visitor).is_ok();
    is_sent && told.recv_timeout(PATIENCE).unwrap_or(false)
}

/// Has each CPU that is online for a moment. One that comes meanwhile runs nothing that began before.
fn visit_every_cpu() -> io::Result<()> {
    // As `uname -v`: such a kernel names itself.
    let version = fs::read_to_string("/proc/sys/kernel/version")?;
    if ["PREEMPT_RT", "PREEMPT RT"].iter().any(|name| version.contains(name)) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let online = fs::read_to_string("/sys/devices/system/cpu/online")?;
    let cpus = listed(&online).ok_or(io::ErrorKind::InvalidData)?;
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // Without the right to this it takes its turn among all others.
    // SAFETY: the parameters live until the call returns; musl's function of this name only refuses.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &raw const parameters) };
    for cpu in cpus {
        let mut only = CpuSet::new();
        only.set(cpu)?;
        // It returns on that CPU, or fails where it is not ours to use.
        sched_setaffinity(Pid::from_raw(0), &only)?;
    }
    Ok(())
}

/// The CPUs of a list as the kernel writes them: `0-3,8`.
fn listed(written: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for range in written.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::testing::long_program::LongProgram;
    use super::*;

    #[test]
    fn the_kernels_lists_are_understood() {
        assert_eq!(listed("0\n"), Some(vec![0]));
        assert_eq!(listed("0-1,4,6-7\n"), Some(vec![0, 1, 4, 6, 7]));
        assert_eq!(listed("\n"), None);
        assert_eq!(listed("0-"), None);
    }

    #[test]
    fn every_cpu_can_be_had() {
        visit_every_cpu().unwrap();
    }

    /// Calls `wait` while a program runs, and says whether it had ended when that returned.
    fn ends_within(program: &LongProgram, wait: impl Fn()) -> bool {
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut caught = 0;
        while caught < 5 {
            assert!(Instant::now() < deadline, "the program was caught running {caught} times only");
            let has_ended = program.run(|program| {
                while !program.has_begun() {
                    std::hint::spin_loop();
                }
                let was_running = !program.has_ended();
                wait();
                was_running.then(|| program.has_ended())
            });
            caught += u32::from(has_ended.is_some());
            if has_ended == Some(false) {
                return false;
            }
        }
        true
    }

    #[test]
    fn a_program_of_a_packet_has_ended_after_it() {
        let Some(program) = LongProgram::load() else { return };
        assert!(!ends_within(&program, || {}));
        assert!(ends_within(&program, || grace_period(Programs::OfPackets)));
        assert!(ends_within(&program, || grace_period(Programs::All)));
        assert!(ends_within(&program, || thread::spawn(visit_every_cpu).join().unwrap().unwrap()));
    }
}
