//! The maps and helpers as a [`World`].

use core::ffi::c_void;
use core::ptr::NonNull;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{
    bpf_fib_lookup, bpf_get_prandom_u32, bpf_jiffies64, bpf_ktime_get_boot_ns,
};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::maps::lpm_trie::Key;
use netfast_common::addr::Addr;
use netfast_common::conntrack::Flow;
use netfast_common::counter::{Count, FlowEvent, Path, audit_index, drop_index, flow_index, path_index};
use netfast_common::flow::{FlowKey, Tuple};
use netfast_common::policy::{RuleKey, RuleRow};
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    AddressRow, CidrRow, Config, DivertedKey, DivertedRow, EndpointDropKey, EndpointRow, FragmentKey,
    FragmentRow, PublishKey, PublishRow, SlotRow, SourceKey, UplinkRow,
};
use netfast_ebpf::flow_ref::FlowRef;
use netfast_ebpf::work::{NextHop, Work};
use netfast_ebpf::world::{Taken, World};

use super::maps;

/// The kernel, as a program sees it.
pub(super) struct Kernel {
    /// The program's context, which some helpers ask for.
    pub(super) context: *mut c_void,
}

/// `struct bpf_fib_lookup` of the kernel's UAPI, without its unions: 64 bytes.
#[repr(C)]
#[derive(Default)]
struct FibLookup {
    family: u8,
    protocol: u8,
    sport: u16,
    dport: u16,
    length: u16,
    ifindex: u32,
    flow_info: u32,
    src: [u64; 2],
    dst: [u64; 2],
    vlan: u32,
    smac: [u8; 6],
    dmac: [u8; 6],
}

const _: () = assert!(size_of::<FibLookup>() == 64);

/// `AF_INET` and `AF_INET6`.
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
/// `BPF_FIB_LKUP_RET_BLACKHOLE`, `..._UNREACHABLE` between them, and `..._PROHIBIT`: routes that lead nowhere.
const FIB_BLACKHOLE: i64 = 1;
const FIB_PROHIBIT: i64 = 3;
/// `BPF_FIB_LKUP_RET_SUCCESS`, and `..._NO_NEIGH`: the device is known, the neighbour is not resolved yet.
const FIB_SUCCESS: i64 = 0;
const FIB_NO_NEIGHBOUR: i64 = 7;

impl FibLookup {
    /// A question about a packet that came in at `ifindex`.
    #[inline(always)]
    fn new(ifindex: u32, tuple: &Tuple) -> Self {
        Self {
            family: if tuple.dst.is_v4() { FAMILY_V4 } else { FAMILY_V6 },
            protocol: tuple.protocol,
            sport: tuple.sport.to_be(),
            dport: tuple.dport.to_be(),
            // Fits every device, as the caller looks at the MTU: the kernel would say that the packet is too big, but
            // not for which device (Linux 6.18). With 0 it would take the whole buffer's length.
            length: 1,
            ifindex,
            src: Self::address(&tuple.src),
            dst: Self::address(&tuple.dst),
            ..Self::default()
        }
    }

    #[inline(always)]
    fn ask(&mut self, context: *mut c_void) -> i64 {
        // SAFETY: the helper reads and writes these 64 bytes.
        unsafe { bpf_fib_lookup(context, (&raw mut *self).cast(), size_of::<Self>() as i32, 0) }
    }

    /// The address in the form of the kernel's union: IPv4 in the first four bytes.
    #[inline(always)]
    fn address(addr: &Addr) -> [u64; 2] {
        if addr.is_v4() { [u64::from(u32::from_ne_bytes(addr.v4_octets())), 0] } else { addr.words() }
    }
}

impl World for Kernel {
    #[inline(always)]
    fn config(&self) -> Config {
        maps::CONFIG.get(0).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_boot_ns() }
    }

    #[inline(always)]
    fn tick(&self) -> u64 {
        // A load: the verifier puts it in the place of the call (since Linux 5.6, on 64 bits).
        // SAFETY: a helper without arguments.
        unsafe { bpf_jiffies64() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn endpoint(&self, ifindex: u32) -> Option<&EndpointRow> {
        // SAFETY: rows in use are not replaced, and a removed one stays readable until the program ends.
        unsafe { maps::ENDPOINT.get(&ifindex) }
    }

    #[inline(always)]
    fn address(&self, addr: &Addr) -> Option<&AddressRow> {
        // SAFETY: as in `endpoint`.
        unsafe { maps::ADDRESS.get(addr) }
    }

    #[inline(always)]
    fn slot(&self, slot: u32) -> Option<&SlotRow> {
        maps::SLOT.get(slot)
    }

    #[inline(always)]
    fn cidr(&self, addr: &Addr) -> Option<&CidrRow> {
        maps::CIDR.get(&Key::new(Addr::BITS, *addr))
    }

    #[inline(always)]
    fn rule(&self, key: &RuleKey) -> Option<RuleRow> {
        maps::RULE.get(&Key::new(RuleKey::FULL, *key)).copied()
    }

    #[inline(always)]
    fn published(&self, generation: u32, key: &PublishKey) -> Option<&PublishRow> {
        // SAFETY: the map of the generation in force is not written.
        unsafe { if generation & 1 == 0 { maps::PUBLISH_0.get(key) } else { maps::PUBLISH_1.get(key) } }
    }

    #[inline(always)]
    fn is_source(&self, key: &SourceKey) -> bool {
        maps::SOURCE.get(&Key::new(SourceKey::FULL, *key)).is_some()
    }

    #[inline(always)]
    fn uplink(&self, ifindex: u32) -> Option<&UplinkRow> {
        // SAFETY: as in `endpoint`.
        unsafe { maps::UPLINK.get(&ifindex) }
    }

    #[inline(always)]
    fn is_denied(&self, addr: &Addr) -> bool {
        maps::DENY.get(&Key::new(Addr::BITS, *addr)).is_some()
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<FlowRef> {
        entry(maps::FLOW.get_ptr_mut(key).or_else(|| maps::NURSERY.get_ptr_mut(key)))
    }

    #[inline(always)]
    fn new_flow(&self, key: &FlowKey) -> Option<FlowRef> {
        entry(maps::NURSERY.get_ptr_mut(key).or_else(|| maps::FLOW.get_ptr_mut(key)))
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Taken> {
        maps::NURSERY.insert(key, flow, u64::from(BPF_NOEXIST)).map_err(|_| Taken)?;
        tell(FlowEvent::Made);
        // In this order: a flow that settles is written there before it is removed here, so it is seen in one of the
        // two.
        if maps::FLOW.get_ptr(key).is_some() {
            remove_from(&maps::NURSERY, key);
            return Err(Taken);
        }
        Ok(())
    }

    #[inline(always)]
    fn settle_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Taken> {
        maps::FLOW.insert(key, flow, u64::from(BPF_NOEXIST)).map_err(|_| Taken)?;
        tell(FlowEvent::Made);
        remove_from(&maps::NURSERY, key);
        Ok(())
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) {
        // What is in both is in the nursery only for as long as another CPU needs to settle it, or to find out that it is
        // settled already.
        if !remove_from(&maps::FLOW, key) {
            remove_from(&maps::NURSERY, key);
        }
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentRow> {
        // SAFETY: a row is replaced, not written. Memory of a replaced one may be another's at once, whose packet then takes
        // the same way as this one: it is policed by what it is taken for.
        unsafe { maps::FRAGMENT.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, row: &FragmentRow) {
        // Without it the later fragments are dropped, and counted as such.
        let _ = maps::FRAGMENT.insert(key, row, 0);
    }

    #[inline(always)]
    fn claim_fragment(&self, key: &FragmentKey, row: &FragmentRow) -> Result<(), Taken> {
        maps::FRAGMENT.insert(key, row, u64::from(BPF_NOEXIST)).map_err(|_| Taken)
    }

    #[inline(always)]
    fn diverted(&self, key: &DivertedKey) -> Option<DivertedRow> {
        // SAFETY: as in `fragment`.
        unsafe { maps::DIVERTED.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_diverted(&self, key: &DivertedKey, row: &DivertedRow) {
        // Without it they are dropped when they come back, and counted as such.
        let _ = maps::DIVERTED.insert(key, row, 0);
    }

    #[inline(always)]
    fn route(&self, ifindex: u32, tuple: &Tuple) -> Result<u32, DropReason> {
        let mut lookup = FibLookup::new(ifindex, tuple);
        match lookup.ask(self.context) {
            FIB_SUCCESS | FIB_NO_NEIGHBOUR => Ok(lookup.ifindex),
            _ => Err(DropReason::NoRoute),
        }
    }

    #[inline(always)]
    fn next_hop(&self, ifindex: u32, uplink: u32, work: &mut Work, crosses: bool) -> Result<(), DropReason> {
        if next_hop(self.context, ifindex, uplink, work, crosses) { Ok(()) } else { Err(DropReason::NoRoute) }
    }

    #[inline(always)]
    fn count(&self, path: Path, length: u32) {
        add(maps::COUNTER.get_ptr_mut(path_index(path)), length);
    }

    #[inline(always)]
    fn count_drop(&self, reason: DropReason, incarnation: u32, length: u32) {
        add(maps::COUNTER.get_ptr_mut(drop_index(reason)), length);
        if incarnation != 0 {
            add_to_endpoint(EndpointDropKey { incarnation, reason: reason as u32 }, length);
        }
    }

    #[inline(always)]
    fn count_audited(&self, reason: DropReason, incarnation: u32, length: u32) {
        add(maps::COUNTER.get_ptr_mut(audit_index(reason)), length);
        add_to_endpoint(
            EndpointDropKey { incarnation, reason: reason as u32 | EndpointDropKey::AUDITED },
            length,
        );
    }

    #[inline(always)]
    fn count_rule(&self, rule: u32) {
        count_rule(rule);
    }
}

/// A flow's entry in place.
#[inline(always)]
fn entry(found: Option<*mut Flow>) -> Option<FlowRef> {
    let entry = NonNull::new(found?)?;
    // SAFETY: the map does not move entries, and frees none before the program ends.
    Some(unsafe { FlowRef::new(entry) })
}

/// Counts what is dropped, or would be, on an endpoint's account.
#[inline(always)]
fn add_to_endpoint(key: EndpointDropKey, length: u32) {
    match maps::ENDPOINT_DROP.get_ptr_mut(&key) {
        None => {
            let first = Count { packets: 1, bytes: u64::from(length) };
            let _ = maps::ENDPOINT_DROP.insert(&key, &first, 0);
        }
        counter => add(counter, length),
    }
}

/// As [`World::count_rule`]. A function of its own in BPF, as verdicts are given in several places. Hits have no bytes.
#[inline(never)]
fn count_rule(rule: u32) {
    match maps::RULE_HIT.get_ptr_mut(&rule) {
        None => {
            let _ = maps::RULE_HIT.insert(&rule, &Count { packets: 1, bytes: 0 }, 0);
        }
        counter => add(counter, 0),
    }
}

/// As [`World::next_hop`], `false` for an error. A function of its own in BPF, with a stack of its own.
///
/// `bpf_redirect_neigh` would ask the routes itself, but with the translated source and the uplink as a condition: rules
/// about the endpoint's address or device would not apply, and IPv6 takes the best route whatever device that has
/// (Linux 6.18).
#[inline(never)]
fn next_hop(context: *mut c_void, ifindex: u32, uplink: u32, work: &mut Work, crosses: bool) -> bool {
    let tuple = if crosses { &work.target } else { &work.headers.tuple };
    let mut lookup = FibLookup::new(ifindex, tuple);
    match lookup.ask(context) {
        FIB_SUCCESS | FIB_NO_NEIGHBOUR if lookup.ifindex == uplink => {
            let [[a, b], [c, d]] = [halves(lookup.dst[0]), halves(lookup.dst[1])];
            work.next_hop = NextHop { family: u32::from(lookup.family), address: [a, b, c, d] };
            true
        }
        FIB_BLACKHOLE..=FIB_PROHIBIT => false,
        _ => true,
    }
}

/// The two halves of a word as they lie in memory.
#[inline(always)]
const fn halves(word: u64) -> [u32; 2] {
    let (low, high) = (word as u32, (word >> 32) as u32);
    if cfg!(target_endian = "little") { [low, high] } else { [high, low] }
}

/// Removes an entry; `false`: there is none, or another CPU was faster.
#[inline(always)]
fn remove_from(table: &LruHashMap<FlowKey, Flow>, key: &FlowKey) -> bool {
    let is_removed = table.remove(key).is_ok();
    if is_removed {
        tell(FlowEvent::Removed);
    }
    is_removed
}

/// Counts what became of a flow's entry.
#[inline(always)]
fn tell(event: FlowEvent) {
    add(maps::COUNTER.get_ptr_mut(flow_index(event)), 0);
}

/// Counts in a per-CPU counter: no other CPU writes it, so it needs no atomic.
#[inline(always)]
fn add(counter: Option<*mut Count>, length: u32) {
    if let Some(counter) = counter {
        // SAFETY: an element of a per-CPU map.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += u64::from(length);
        }
    }
}
