//! Waiting until no program can be running that has read what was there before.

use nix::libc;

/// `MEMBARRIER_CMD_GLOBAL` of `linux/membarrier.h`.
const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;

/// Returns when every program that was running when it was called has ended.
///
/// tc and XDP programs run inside an RCU read-side section, and a global membarrier waits for an RCU grace period
/// (kernel/sched/membarrier.c; Linux 4.3 and newer). Where it is not to be had, it sleeps far longer than a program runs.
pub fn grace_period() {
    // SAFETY: a system call without pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
