//! What processes that stay may do besides what they must.

use std::collections::BTreeSet;

use anyhow::Result;
use caps::{Capability, CapsHashSet};

use crate::net::keep_capabilities;

/// What following, repairing and taking down need; looking at an instance needs most of it too.
const NEEDED: [Capability; 7] = [
    // Devices, addresses, neighbours, sysctls of devices; tc, XDP and cgroup programs.
    Capability::CAP_NET_ADMIN,
    // Maps and programs, and programs that read the kernel's memory.
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    // Entering and mounting network namespaces, the bpf file system.
    Capability::CAP_SYS_ADMIN,
    // `/proc/PID/ns/net` and `/proc/PID/environ` of processes that have more rights than this one then.
    Capability::CAP_SYS_PTRACE,
    // Ending commands that run as another user.
    Capability::CAP_KILL,
    // Namespaces in directories of another user, as rootless runtimes have them.
    Capability::CAP_DAC_READ_SEARCH,
];

/// Gives up all capabilities that a long-running process does not need. Call it while there is no other thread: those
/// started later have what this one has.
///
/// The bounding set stays and `no_new_privs` is not set: the commands inside endpoints run as root, and get from `execve`
/// what they would have got without this.
pub(super) fn give_up() -> Result<()> {
    let needed: CapsHashSet = NEEDED.into_iter().collect();
    let kept = keep_capabilities(&needed)?;
    let names: BTreeSet<_> = kept.iter().map(ToString::to_string).collect();
    tracing::debug!(kept = ?names, "gave up capabilities");
    Ok(())
}
