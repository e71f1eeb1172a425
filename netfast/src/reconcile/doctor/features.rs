//! Features that can be asked for without trying them.

use std::fs;
use std::path::Path;

use super::Check;
use crate::kernel::{self, HELPERS, KernelError, SET_RETVAL, default_cgroup};
use crate::net::Netns;

/// Numbers of capabilities in `linux/capability.h`.
const CAPABILITIES: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN"), (39, "CAP_BPF")];

/// The caller's rights. Without those of root nobody answers the rest.
pub(super) fn rights(is_root: bool) -> Check {
    let name = "rights";
    if !is_root {
        return Check::missing(name, "not root, so much could not be looked at (run it with sudo)").needed();
    }
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let lacking = lacking(&status);
    if lacking.is_empty() {
        Check::ok(name, "root, with the capabilities it takes").needed()
    } else {
        Check::missing(name, format!("root, but without {}", lacking.join(", "))).needed()
    }
}

/// Capabilities that are not among the effective ones. `CAP_SYS_ADMIN` stands for `CAP_BPF`, which is newer.
fn lacking(status: &str) -> Vec<&'static str> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    let has = |number: u32| effective >> number & 1 == 1;
    let is_lacking = |(number, name): &(u32, &str)| !(has(*number) || *name == "CAP_BPF" && has(21));
    CAPABILITIES.iter().filter(|entry| is_lacking(entry)).map(|(_, name)| *name).collect()
}

/// The kernel's own word on what it is.
pub(super) fn release() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Check::note("kernel", format!("Linux {}", release.trim()))
}

pub(super) fn object() -> Check {
    match kernel::check_object() {
        Ok(()) => Check::ok("object", "the eBPF programs are in this binary").needed(),
        Err(error) => Check::missing("object", error.to_string()).needed(),
    }
}

pub(super) fn btf() -> Check {
    let without = "/sys/kernel/btf/vmlinux is missing: the programs cannot be loaded (use a kernel with CONFIG_DEBUG_INFO_BTF)";
    Check::whether(kernel::has_btf(), "btf", "/sys/kernel/btf/vmlinux", without).needed().since("5.4")
}

/// Helpers, maps, and memory.
pub(super) fn asked_of_the_kernel() -> Vec<Check> {
    let useless = "the programs cannot be loaded";
    let helpers =
        HELPERS.iter().map(|h| answered(h.name, h.is_there(), "there", useless).needed().since(h.since));
    let mut checks: Vec<_> = helpers.collect();
    let bind = "a process of the host is not kept from listening on a published port";
    checks.push(answered(SET_RETVAL.name, SET_RETVAL.is_there(), "there", bind).since(SET_RETVAL.since));
    let ring = answered("ring_buffer", kernel::has_ring_buffer(), "there", "events cannot be watched");
    checks.push(ring.since("5.8"));
    let memory = answered(
        "memory",
        kernel::accounts_to_cgroup(),
        "maps are accounted to the memory cgroup",
        "maps count towards RLIMIT_MEMLOCK, which may be too low for them (ulimit -l unlimited)",
    );
    checks.push(memory.since("5.11"));
    checks
}

/// A check of what the kernel answered.
fn answered(name: &'static str, answer: Result<bool, KernelError>, found: &str, without: &str) -> Check {
    match answer {
        Ok(is_there) => Check::whether(is_there, name, found, without),
        Err(error) => Check::missing(name, told(&error)),
    }
}

/// The cgroup whose processes reach published ports.
pub(super) fn cgroup(named: Option<&Path>) -> Check {
    let found = match named {
        Some(path) if path.join("cgroup.procs").exists() => Ok(path.to_owned()),
        Some(path) => Err(format!("{} is no cgroup2 directory", path.display())),
        None => default_cgroup().map_err(|error| error.to_string()),
    };
    match found {
        Ok(path) => Check::ok("cgroup2", path.display().to_string()),
        Err(error) => Check::missing(
            "cgroup2",
            format!("{error}; the host's own processes cannot reach published ports"),
        ),
    }
}

/// The number that tells this namespace from all others.
pub(super) fn netns_cookie() -> Check {
    let cookie = Netns::current().and_then(|netns| netns.cookie());
    let check = match cookie {
        Ok(_) => Check::ok("netns_cookie", "there"),
        Err(error) => Check::missing("netns_cookie", told(&error)),
    };
    check.needed().since("5.14")
}

pub(super) fn membarrier() -> Check {
    let without = "a change of published ports waits 50 ms for running programs instead of asking the kernel";
    Check::whether(kernel::has_membarrier(), "membarrier", "there", without).since("4.3")
}

/// An error and what led to it, in one line.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::doctor::State;

    #[test]
    fn capabilities_are_read_from_the_status() {
        assert!(lacking("Name:\tx\nCapEff:\t000001ffffffffff\n").is_empty());
        assert!(lacking("CapEff:\t0000000000201000\n").is_empty(), "CAP_SYS_ADMIN will do for CAP_BPF");
        assert_eq!(lacking("CapEff:\t0000008000001000\n"), ["CAP_SYS_ADMIN"]);
        assert_eq!(lacking("CapEff:\t0000000000000000\n"), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_BPF"]);
    }

    #[test]
    fn a_cgroup_that_is_named_must_be_one() {
        let check = cgroup(Some(Path::new("/proc")));
        assert_eq!((check.state, check.needed), (State::Missing, false));
        assert!(check.what.starts_with("/proc is no cgroup2 directory; "), "{}", check.what);
    }
}
