//! The entry points: what the kernel calls, and what it is told in return.

mod bind;
mod deny;
mod errno;
mod events;
mod kernel;
mod maps;
mod skb;
mod socket;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_F_INGRESS;
use aya_ebpf::helpers::generated::{
    bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer, bpf_skb_change_type,
};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use netfast_common::event::{Program, WANT_PACKETS, anybody};
use netfast_common::reason::DropReason;
use netfast_common::rows::ENDPOINT_APART;
use netfast_ebpf::packet::Packet;
use netfast_ebpf::report::report;
use netfast_ebpf::to_network::bridge_of;
use netfast_ebpf::verdict::{Decision, Dropped, Verdict};
use netfast_ebpf::work::{NextHop, Work};
use netfast_ebpf::world::World;

use self::events::OWN_DEVICE;
use self::kernel::Kernel;
use self::skb::Skb;

/// `TCX_NEXT`, which is `TC_ACT_UNSPEC` for clsact: the next program decides.
const NEXT: i32 = -1;
/// `TC_ACT_SHOT`.
const DROP: i32 = 2;
/// `PACKET_HOST`.
const PACKET_HOST: u32 = 0;

/// Packets of an endpoint, at its host veth.
#[classifier]
pub fn from_endpoint(context: TcContext) -> i32 {
    run(&context, Program::FromEndpoint, netfast_ebpf::from_endpoint::from_endpoint)
}

/// Packets to an endpoint from the host's stack or over the bridge, at its host veth.
#[classifier]
pub fn to_endpoint(context: TcContext) -> i32 {
    run(&context, Program::ToEndpoint, netfast_ebpf::to_endpoint::to_endpoint)
}

/// Packets of the host, at the bridge of a network with endpoints that are no ports of it.
#[classifier]
pub fn to_network(context: TcContext) -> i32 {
    let kernel = Kernel { context: context.as_ptr() };
    match netfast_ebpf::to_network::to_network(&Skb::new(context.skb.skb), &kernel) {
        None => NEXT,
        // SAFETY: a plain helper call.
        Some(ifindex) => unsafe { bpf_redirect(ifindex, 0) as i32 },
    }
}

/// Packets from outside, at an uplink.
#[classifier]
pub fn from_uplink(context: TcContext) -> i32 {
    run(&context, Program::FromUplink, netfast_ebpf::from_uplink::from_uplink)
}

/// Fragments that come back in order.
#[classifier]
pub fn from_defrag(context: TcContext) -> i32 {
    run(&context, Program::FromDefrag, |packet, kernel, _| {
        netfast_ebpf::from_defrag::from_defrag(packet, kernel)
    })
}

/// The one place where a verdict becomes what the kernel is told.
#[inline(always)]
fn run(
    context: &TcContext,
    program: Program,
    decide: impl FnOnce(&mut Skb, &Kernel, &mut Work) -> Result<Verdict, Dropped>,
) -> i32 {
    let Some(work) = maps::SCRATCH.get_ptr_mut(0) else {
        return DROP;
    };
    // SAFETY: one element per CPU, and tc programs do not interrupt each other.
    let work = unsafe { &mut *work };
    let mut packet = Skb::new(context.skb.skb);
    let kernel = Kernel { context: context.as_ptr() };
    work.next_hop = NextHop::default();
    work.is_returned = packet.take_returned();
    work.gate = events::gate();
    if work.gate != 0 {
        begin(context, program, work);
    }
    let decided = decide(&mut packet, &kernel, work);
    #[cfg(feature = "log")]
    tell(context, packet.ifindex(), &decided);
    set_decision(work, Decision::pack(decided));
    if is_read(work) {
        decided_on(context, program, work);
    }
    if let Err(Dropped { reason, endpoint }) = decision(work).unpack() {
        kernel.count_drop(reason, endpoint, packet.len());
        let Some(error) = report(&mut packet, &kernel, work, reason) else {
            return DROP;
        };
        set_decision(work, Decision::pack(Ok(error)));
        if is_read(work) {
            captured(context, program, work);
        }
    }
    match decision(work).unpack() {
        Ok(Verdict::Next) if program == Program::FromEndpoint && work.sender_flags & ENDPOINT_APART != 0 => {
            into_bridge(&packet, &kernel)
        }
        Ok(Verdict::Next) => NEXT,
        Ok(Verdict::ToEndpoint(ifindex)) => into_endpoint(context, ifindex),
        Ok(Verdict::ToDevice(ifindex)) => out_of_veth(&mut packet, ifindex),
        Ok(Verdict::ToUplink(ifindex)) => out_of_uplink(ifindex, work),
        // SAFETY: a plain helper call.
        Ok(Verdict::ToDefrag(ifindex)) => unsafe { bpf_redirect(ifindex, 0) as i32 },
        Ok(Verdict::BackIn(ifindex)) => back(&mut packet, ifindex, u64::from(BPF_F_INGRESS)),
        Ok(Verdict::BackOut(ifindex)) => back(&mut packet, ifindex, 0),
        Err(_) => DROP,
    }
}

/// The decision on the packet. It is read from memory, so that the verifier takes it for any: it walks what follows once,
/// and not once for each way that leads to a decision.
#[inline(always)]
fn decision(work: &Work) -> Decision {
    // SAFETY: a field of a reference.
    unsafe { (&raw const work.decision).read_volatile() }
}

#[inline(always)]
fn set_decision(work: &mut Work, decision: Decision) {
    // SAFETY: a field of a reference.
    unsafe { (&raw mut work.decision).write_volatile(decision) };
}

/// Redirects into the namespace behind a host veth.
#[inline(always)]
fn into_endpoint(context: &TcContext, ifindex: u32) -> i32 {
    // A frame addressed to another MAC than its device's is "for another host", which kernels before 6.18 may keep
    // across the redirect and drop.
    // SAFETY: helpers on the program's own context.
    unsafe {
        bpf_skb_change_type(context.skb.skb, PACKET_HOST);
        bpf_redirect_peer(ifindex, 0) as i32
    }
}

/// Redirects into the bridge of the endpoint that has sent the packet, as if it had come by one of its ports. (The kernel puts
/// it into a queue for that, and takes another look at whom it is addressed to.)
#[inline(always)]
fn into_bridge(packet: &Skb, kernel: &Kernel) -> i32 {
    match bridge_of(kernel, packet.ifindex()) {
        // SAFETY: a plain helper call.
        Some(ifindex) => unsafe { bpf_redirect(ifindex, u64::from(BPF_F_INGRESS)) as i32 },
        None => {
            kernel.count_drop(DropReason::DatapathError, 0, packet.len());
            DROP
        }
    }
}

/// Redirects out of a host veth.
#[inline(always)]
fn out_of_veth(packet: &mut Skb, ifindex: u32) -> i32 {
    packet.decide();
    // SAFETY: a plain helper call.
    unsafe { bpf_redirect(ifindex, 0) as i32 }
}

/// Redirects to where the packet was diverted from.
#[inline(always)]
fn back(packet: &mut Skb, ifindex: u32, flags: u64) -> i32 {
    packet.mark_returned();
    // SAFETY: a plain helper call.
    unsafe { bpf_redirect(ifindex, flags) as i32 }
}

/// Redirects out of an uplink.
#[inline(always)]
fn out_of_uplink(ifindex: u32, work: &mut Work) -> i32 {
    let next_hop = (&raw mut work.next_hop).cast();
    // SAFETY: the helper reads these 20 bytes; without them, it asks the routes for the next hop.
    unsafe {
        if work.next_hop.family == 0 {
            bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32
        } else {
            bpf_redirect_neigh(ifindex, next_hop, size_of::<NextHop>() as i32, 0) as i32
        }
    }
}

/// What is to be done for readers of events before a packet is looked at.
#[inline(always)]
fn begin(context: &TcContext, program: Program, work: &mut Work) {
    events::begin(work);
    // What comes by a second time has been captured.
    if work.gate & anybody(WANT_PACKETS) != 0 && program == Program::FromEndpoint && !work.is_returned {
        events::captured(context.skb.skb, work.gate, OWN_DEVICE, true);
    }
}

/// Whether anybody read events when the packet came. It is read from memory again: a register that held it all along
/// would have the verifier walk everything twice, with readers and without.
#[inline(always)]
fn is_read(work: &Work) -> bool {
    // SAFETY: a field of a reference.
    unsafe { (&raw const work.gate).read_volatile() != 0 }
}

/// Tells the readers of events what was decided on.
#[inline(always)]
fn decided_on(context: &TcContext, program: Program, work: &Work) {
    let skb = context.skb.skb;
    events::decided(skb, program, work);
    match decision(work).unpack() {
        Ok(_) => captured(context, program, work),
        Err(Dropped { reason, endpoint }) => events::dropped(skb, program, reason, endpoint, work),
    }
}

/// Hands a packet that an endpoint gets to those who read packets. One that leaves by its device is seen there.
#[inline(always)]
fn captured(context: &TcContext, program: Program, work: &Work) {
    let receiver = match decision(work).unpack() {
        Ok(Verdict::ToEndpoint(ifindex)) => ifindex,
        Ok(Verdict::Next) if program == Program::ToEndpoint => OWN_DEVICE,
        _ => return,
    };
    if work.gate & anybody(WANT_PACKETS) != 0 {
        events::captured(context.skb.skb, work.gate, receiver, false);
    }
}

/// Logs a verdict, for development.
#[cfg(feature = "log")]
#[inline(never)]
fn tell(context: &TcContext, ifindex: u32, decided: &Result<Verdict, Dropped>) {
    match decided {
        Ok(Verdict::Next) => aya_log_ebpf::debug!(context, "device {}: on to the stack", ifindex),
        Ok(Verdict::ToEndpoint(to)) => {
            aya_log_ebpf::debug!(context, "device {}: to the endpoint behind device {}", ifindex, *to);
        }
        Ok(Verdict::ToDevice(to)) => {
            aya_log_ebpf::debug!(context, "device {}: past the programs of device {}", ifindex, *to);
        }
        Ok(Verdict::ToUplink(to)) => {
            aya_log_ebpf::debug!(context, "device {}: out of device {}", ifindex, *to);
        }
        Ok(Verdict::ToDefrag(to)) => {
            aya_log_ebpf::debug!(context, "device {}: to be put in order, by device {}", ifindex, *to);
        }
        Ok(Verdict::BackIn(to) | Verdict::BackOut(to)) => {
            aya_log_ebpf::debug!(context, "device {}: in order, back to device {}", ifindex, *to);
        }
        Err(dropped) => {
            aya_log_ebpf::debug!(context, "device {}: dropped: reason {}", ifindex, dropped.reason as u8);
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program that could come here.
    loop {}
}

/// The helpers used are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
