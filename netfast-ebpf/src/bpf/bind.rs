//! Published ports are taken: a process of the host that binds one is told so.
//!
//! The programs run when the kernel has given a socket its address and port, and before it says so to the process.
//! They run for every process of the cgroup they are attached to, and look only at sockets of the instance's network
//! namespace.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;
use netfast_common::addr::Addr;
use netfast_common::rows::PublishKey;
use netfast_ebpf::world::World;

use super::errno::{self, ALLOW};
use super::kernel::Kernel;

/// `EADDRINUSE`.
const ADDRESS_IN_USE: i32 = 98;

/// An IPv4 socket has been bound.
#[cgroup_sock(post_bind4)]
pub fn post_bind4(context: SockContext) -> i32 {
    // SAFETY: a field of the program's context.
    let addr = Addr::from_v4(unsafe { (&raw const (*context.sock).src_ip4).read_volatile() }.to_ne_bytes());
    judge(&context, &addr)
}

/// An IPv6 socket has been bound, perhaps to a mapped IPv4 address.
#[cgroup_sock(post_bind6)]
pub fn post_bind6(context: SockContext) -> i32 {
    let sock = context.sock;
    // The context is read a word at a time, as the verifier asks; volatile keeps the compiler from merging.
    // SAFETY: fields of the program's context.
    let words = unsafe {
        [
            (&raw const (*sock).src_ip6[0]).read_volatile(),
            (&raw const (*sock).src_ip6[1]).read_volatile(),
            (&raw const (*sock).src_ip6[2]).read_volatile(),
            (&raw const (*sock).src_ip6[3]).read_volatile(),
        ]
    };
    let pair = |first: u32, second: u32| u64::from(first) | u64::from(second) << 32;
    judge(&context, &Addr::from_words([pair(words[0], words[1]), pair(words[2], words[3])]))
}

#[inline(always)]
fn judge(context: &SockContext, addr: &Addr) -> i32 {
    let kernel = Kernel { context: context.as_ptr() };
    // SAFETY: a helper on the program's own context.
    let cookie = unsafe { bpf_get_netns_cookie(context.as_ptr()) };
    let config = kernel.config();
    if cookie != config.netns_cookie {
        return ALLOW;
    }
    let sock: *mut bpf_sock = context.sock;
    // SAFETY: fields of the program's context; the port is in host byte order.
    let (port, protocol) = unsafe {
        (
            (&raw const (*sock).src_port).read_volatile() as u16,
            (&raw const (*sock).protocol).read_volatile() as u8,
        )
    };
    let is_taken = is_taken(&kernel, config.generation, addr, port, protocol)
        // What is bound to `::` gets packets of both families. That it may have been told not to
        // (`IPV6_V6ONLY`) cannot be seen from here.
        || *addr == Addr::UNSPECIFIED_V6
            && is_taken(&kernel, config.generation, &Addr::UNSPECIFIED_V4, port, protocol);
    if is_taken { errno::refuse(ADDRESS_IN_USE) } else { ALLOW }
}

/// Whether a port is published where a socket of this address would get its packets.
#[inline(always)]
fn is_taken(kernel: &Kernel, generation: u32, addr: &Addr, port: u16, protocol: u8) -> bool {
    let other = if addr.is_unspecified() {
        PublishKey::somewhere(*addr, port, protocol)
    } else {
        PublishKey::new(addr.unspecified(), port, protocol)
    };
    kernel.published(generation, &PublishKey::new(*addr, port, protocol)).is_some()
        || kernel.published(generation, &other).is_some()
}
