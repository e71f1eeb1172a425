//! What this kernel offers, asked of the kernel itself: a version number tells little, as distributions leave things
//! out and bring others back.

use std::path::Path;

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported};
use nix::libc;

use super::object;
use super::{KernelError, Result};

/// `MEMBARRIER_CMD_QUERY` and `MEMBARRIER_CMD_GLOBAL` of `linux/membarrier.h`.
const MEMBARRIER_CMD_QUERY: libc::c_long = 0;
const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;

/// A function of the kernel's that the programs call.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    /// Its name.
    pub name: &'static str,
    /// The Linux that brought it, for programs of the kind that call it.
    pub since: &'static str,
    program: ProgramType,
    number: BpfHelper,
}

/// The helpers that came late or that distributions leave out.
pub const HELPERS: [Helper; 6] = [
    helper("bpf_fib_lookup", "4.18", ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_fib_lookup),
    helper("bpf_get_netns_cookie", "5.7", ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_get_netns_cookie),
    helper(
        "bpf_ktime_get_boot_ns",
        "5.8",
        ProgramType::SchedClassifier,
        BpfHelper::BPF_FUNC_ktime_get_boot_ns,
    ),
    helper("bpf_redirect_neigh", "5.10", ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_redirect_neigh),
    helper("bpf_redirect_peer", "5.10", ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_redirect_peer),
    helper("bpf_loop", "5.17", ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_loop),
];

/// By which a program that judges `bind()` names the error it refuses with.
pub const SET_RETVAL: Helper =
    helper("bpf_set_retval", "5.18", ProgramType::CgroupSock, BpfHelper::BPF_FUNC_set_retval);

const fn helper(name: &'static str, since: &'static str, program: ProgramType, number: BpfHelper) -> Helper {
    Helper { name, since, program, number }
}

impl Helper {
    /// Whether the kernel has it.
    ///
    /// # Errors
    /// When the kernel does not answer, to a caller without the right for one.
    pub fn is_there(&self) -> Result<bool> {
        is_helper_supported(self.program, self.number)
            .map_err(|e| KernelError::program("probe", self.name, e))
    }
}

/// Whether memory of maps is accounted to the cgroup (Linux 5.11) and not limited by `RLIMIT_MEMLOCK`.
///
/// # Errors
/// When the kernel does not answer.
pub fn accounts_to_cgroup() -> Result<bool> {
    // A helper of the same release, by which others tell it too.
    let number = BpfHelper::BPF_FUNC_ktime_get_coarse_ns;
    helper("bpf_ktime_get_coarse_ns", "5.11", ProgramType::SocketFilter, number).is_there()
}

/// Whether the kernel has ring buffers (Linux 5.8).
///
/// # Errors
/// When the kernel does not answer.
pub fn has_ring_buffer() -> Result<bool> {
    is_map_supported(MapType::RingBuf)
        .map_err(|e| KernelError::file("make a ring buffer by", "bpf(2)", e.io_error))
}

/// Whether the kernel describes its own types (`CONFIG_DEBUG_INFO_BTF`; since Linux 5.4 in this file).
pub fn has_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// Whether [`super::grace_period`] can wait for what it needs to.
pub fn has_membarrier() -> bool {
    // SAFETY: a system call without pointers.
    let commands = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) };
    commands >= 0 && commands & MEMBARRIER_CMD_GLOBAL != 0
}

/// Whether this binary carries its programs, whole.
///
/// # Errors
/// When it does not.
pub fn check_object() -> Result<()> {
    object::shapes().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_that_no_kernel_has_is_missing_and_the_oldest_is_there() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let of = |program, number| helper("x", "0", program, number).is_there().unwrap();
        assert!(of(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_map_lookup_elem));
        // One that only other programs may call.
        assert!(!of(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_bind));
        assert!(!of(ProgramType::Xdp, BpfHelper::BPF_FUNC_redirect_peer));
    }

    #[test]
    fn this_kernel_has_what_the_tests_need() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        for helper in HELPERS {
            assert!(helper.is_there().unwrap(), "{}", helper.name);
        }
        assert!(has_ring_buffer().unwrap() && accounts_to_cgroup().unwrap() && has_membarrier());
    }
}
