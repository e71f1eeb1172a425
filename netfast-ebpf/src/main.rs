//! Entry points of netfast's eBPF programs.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
#[expect(
    unreachable_pub,
    reason = "the kernel reaches entry points; the macros that mark them ask for `pub`"
)]
mod bpf;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
