//! Published ports for the host's own processes: the destination is translated when a socket connects or sends, so
//! that no packet has to be.
//!
//! The programs run for every process of the cgroup they are attached to, and touch only sockets of the instance's
//! network namespace.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use netfast_common::addr::Addr;
use netfast_common::rows::{ADDRESS_GATEWAY, ADDRESS_HOST, PublishKey, PublishRow, SocketKey, SocketRow};
use netfast_ebpf::world::World;

use super::errno::{self, ALLOW};
use super::kernel::Kernel;
use super::maps;

/// `ENETUNREACH`: what a host says that has no address of the family.
const NETWORK_UNREACHABLE: i32 = 101;

/// Declares the program of one hook.
macro_rules! hook {
    ($name:ident, $family:ty, $what:ident) => {
        #[doc = concat!("The cgroup hook `", stringify!($name), "`.")]
        #[cgroup_sock_addr($name)]
        pub fn $name(context: SockAddrContext) -> i32 {
            $what::<$family>(&context)
        }
    };
}

hook!(connect4, V4, translate);
hook!(connect6, V6, translate_across);
hook!(sendmsg4, V4, translate);
hook!(sendmsg6, V6, translate);
hook!(recvmsg4, V4, restore);
hook!(recvmsg6, V6, restore);
hook!(getpeername4, V4, restore);
hook!(getpeername6, V6, restore);

/// How the address stands in the context of a hook.
trait Family {
    fn read(address: *mut bpf_sock_addr) -> Addr;
    fn write(address: *mut bpf_sock_addr, addr: &Addr);
}

/// `AF_INET` sockets.
struct V4;
/// `AF_INET6` sockets, which may carry mapped IPv4 addresses.
struct V6;

// The context is read and written a word at a time, as the verifier asks; volatile keeps the compiler from merging.

impl Family for V4 {
    #[inline(always)]
    fn read(address: *mut bpf_sock_addr) -> Addr {
        // SAFETY: a field of the program's context.
        Addr::from_v4(unsafe { (&raw const (*address).user_ip4).read_volatile() }.to_ne_bytes())
    }

    #[inline(always)]
    fn write(address: *mut bpf_sock_addr, addr: &Addr) {
        // SAFETY: as above.
        unsafe { (&raw mut (*address).user_ip4).write_volatile(u32::from_ne_bytes(addr.v4_octets())) };
    }
}

impl Family for V6 {
    #[inline(always)]
    fn read(address: *mut bpf_sock_addr) -> Addr {
        // SAFETY: fields of the program's context.
        let words = unsafe {
            [
                (&raw const (*address).user_ip6[0]).read_volatile(),
                (&raw const (*address).user_ip6[1]).read_volatile(),
                (&raw const (*address).user_ip6[2]).read_volatile(),
                (&raw const (*address).user_ip6[3]).read_volatile(),
            ]
        };
        let pair = |first: u32, second: u32| u64::from(first) | u64::from(second) << 32;
        Addr::from_words([pair(words[0], words[1]), pair(words[2], words[3])])
    }

    #[inline(always)]
    fn write(address: *mut bpf_sock_addr, addr: &Addr) {
        let [first, second] = addr.words();
        // SAFETY: fields of the program's context.
        unsafe {
            (&raw mut (*address).user_ip6[0]).write_volatile(first as u32);
            (&raw mut (*address).user_ip6[1]).write_volatile((first >> 32) as u32);
            (&raw mut (*address).user_ip6[2]).write_volatile(second as u32);
            (&raw mut (*address).user_ip6[3]).write_volatile((second >> 32) as u32);
        }
    }
}

/// The port, in host byte order: the context holds it in network order in a word.
#[inline(always)]
fn port(address: *mut bpf_sock_addr) -> u16 {
    // SAFETY: a field of the program's context.
    u16::from_be(unsafe { (&raw const (*address).user_port).read_volatile() } as u16)
}

#[inline(always)]
fn set_port(address: *mut bpf_sock_addr, port: u16) {
    // SAFETY: a field of the program's context.
    unsafe { (&raw mut (*address).user_port).write_volatile(u32::from(port.to_be())) };
}

/// Whether the socket is of the instance's own network namespace.
#[inline(always)]
fn is_ours(context: &SockAddrContext, kernel: &Kernel) -> bool {
    // SAFETY: a helper on the program's own context.
    let cookie = unsafe { bpf_get_netns_cookie(context.as_ptr()) };
    cookie == kernel.config().netns_cookie
}

/// As [`translate_to`], if the endpoint has an address of the family that was asked for. An IPv4 socket can have no other,
/// and an IPv6 socket that is not connected is told a nameless error if it is to send to a mapped address (524, `ENOTSUPP`;
/// Linux 6.18, `udpv6_sendmsg`).
#[inline(always)]
fn translate<F: Family>(context: &SockAddrContext) -> i32 {
    translate_to::<F>(context, false)
}

/// As [`translate_to`]. A socket of IPv6 that connects may be led to a mapped IPv4 address: the kernel looks at it after the
/// program, and refuses only sockets that were told `IPV6_V6ONLY`, by `ENETUNREACH`.
#[inline(always)]
fn translate_across<F: Family>(context: &SockAddrContext) -> i32 {
    translate_to::<F>(context, true)
}

/// Sends what is meant for a published port of the host to the endpoint behind it, which may have an address of the other
/// family where `crosses`.
#[inline(always)]
fn translate_to<F: Family>(context: &SockAddrContext, crosses: bool) -> i32 {
    let kernel = Kernel { context: context.as_ptr() };
    if !is_ours(context, &kernel) {
        return ALLOW;
    }
    let address = context.sock_addr;
    let (addr, port) = (F::read(address), port(address));
    // SAFETY: a field of the program's context.
    let protocol = unsafe { (&raw const (*address).protocol).read_volatile() } as u8;
    let Some(row) = published(&kernel, &addr, port, protocol) else {
        return ALLOW;
    };
    if !crosses && row.addr.is_v4() != addr.is_v4() {
        return errno::refuse(NETWORK_UNREACHABLE);
    }
    // SAFETY: a helper on the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(context.as_ptr()) };
    let key = SocketKey { cookie, addr: row.addr, port: row.port, pad: [0; 3] };
    let asked = SocketRow { addr, port, pad: [0; 3] };
    // Without it the process would only see the endpoint's address where it asks for its peer's.
    let _ = maps::SOCKET.insert(&key, &asked, 0);
    F::write(address, &row.addr);
    set_port(address, row.port);
    ALLOW
}

/// What a host process reaches at an address of the host.
#[inline(always)]
fn published<'a>(kernel: &'a Kernel, addr: &Addr, port: u16, protocol: u8) -> Option<&'a PublishRow> {
    let generation = kernel.config().generation;
    let key = |addr| PublishKey::new(addr, port, protocol);
    let is_host = addr.is_loopback()
        || addr.is_unspecified()
        || kernel.address(addr).is_some_and(|row| matches!(row.kind, ADDRESS_GATEWAY | ADDRESS_HOST));
    if !is_host {
        return None;
    }
    match kernel.published(generation, &key(*addr)) {
        Some(row) => Some(row),
        None => kernel.published(generation, &key(addr.unspecified())),
    }
}

/// Shows the process the destination it asked for where it asks who its peer is. The kernel asks that for every connection that
/// is accepted, too.
#[inline(always)]
fn restore<F: Family>(context: &SockAddrContext) -> i32 {
    // First, as a socket that nobody has asked for its cookie has none yet, and takes longer to get one than all the rest.
    if !is_ours(context, &Kernel { context: context.as_ptr() }) {
        return ALLOW;
    }
    let address = context.sock_addr;
    // SAFETY: a helper on the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(context.as_ptr()) };
    let key = SocketKey { cookie, addr: F::read(address), port: port(address), pad: [0; 3] };
    // SAFETY: the row is written once, when the socket's destination is translated.
    if let Some(asked) = unsafe { maps::SOCKET.get(&key) } {
        F::write(address, &asked.addr);
        set_port(address, asked.port);
    }
    ALLOW
}
