//! The deny list at an uplink, before the kernel makes a socket buffer.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use netfast_common::addr::Addr;
use netfast_common::reason::DropReason;
use netfast_ebpf::parse::{L3, ethertype};
use netfast_ebpf::world::World;

use super::events;
use super::kernel::Kernel;

/// Drops packets whose source is on the deny list. Takes frames in several buffers, as only their start matters.
#[xdp(frags)]
pub fn deny_xdp(context: XdpContext) -> u32 {
    let (start, end) = (context.data(), context.data_end());
    let length = (end - start) as u32;
    let Some(src) = source(start, end) else {
        return xdp_action::XDP_PASS;
    };
    let kernel = Kernel { context: core::ptr::null_mut() };
    if kernel.is_denied(&src) {
        kernel.count_drop(DropReason::DeniedSource, 0, length);
        let gate = events::gate();
        if gate != 0 {
            events::denied(context.ctx, gate, length);
        }
        return xdp_action::XDP_DROP;
    }
    xdp_action::XDP_PASS
}

/// The source address of an IPv4 or IPv6 frame.
#[inline(always)]
fn source(start: usize, end: usize) -> Option<Addr> {
    let ether_type: u16 = read(start, end, 12)?;
    match ether_type {
        ethertype::IPV4 => Some(Addr::from_v4(read(start, end, L3 as usize + 12)?)),
        ethertype::IPV6 => Some(Addr::from_v6(read(start, end, L3 as usize + 8)?)),
        _ => None,
    }
}

/// Reads at an offset of the frame, unless it ends before.
#[inline(always)]
fn read<T: Copy>(start: usize, end: usize, offset: usize) -> Option<T> {
    let at = start + offset;
    if at + size_of::<T>() > end {
        return None;
    }
    // SAFETY: inside the frame by the check above, which the verifier insists on.
    Some(unsafe { (at as *const T).read_unaligned() })
}
