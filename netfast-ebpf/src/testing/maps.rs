//! A world that is maps in memory.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ptr::NonNull;

use netfast_common::addr::Addr;
use netfast_common::conntrack::Flow;
use netfast_common::counter::Path;
use netfast_common::flow::{FlowKey, Tuple};
use netfast_common::policy::{RuleKey, RuleRow};
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    AddressRow, CidrRow, Config, DivertedKey, DivertedRow, EndpointRow, FragmentKey, FragmentRow, PublishKey,
    PublishRow, SlotRow, SourceKey, UplinkRow,
};

use crate::flow_ref::FlowRef;
use crate::work::Work;
use crate::world::{Taken, World};

/// What the kernel's maps hold.
#[derive(Default)]
pub(super) struct Maps {
    pub(super) config: Config,
    pub(super) now: u64,
    /// Nanoseconds of a tick; 0: one.
    pub(super) tick: u64,
    /// How often the clock was read.
    pub(super) clock_reads: Cell<u32>,
    pub(super) endpoints: BTreeMap<u32, EndpointRow>,
    pub(super) addresses: BTreeMap<Addr, AddressRow>,
    pub(super) slots: BTreeMap<u32, SlotRow>,
    pub(super) cidrs: BTreeMap<Addr, CidrRow>,
    /// With the number of bits that count.
    pub(super) rules: BTreeMap<(u32, RuleKey), RuleRow>,
    /// By generation.
    pub(super) published: [BTreeMap<PublishKey, PublishRow>; 2],
    pub(super) sources: BTreeSet<SourceKey>,
    pub(super) uplinks: BTreeMap<u32, UplinkRow>,
    pub(super) denied: Vec<Addr>,
    /// Destinations without a route, and those whose route leads elsewhere than to the uplink.
    pub(super) routes: BTreeMap<Addr, Result<u32, DropReason>>,
    /// Where all else goes.
    pub(super) default_route: u32,
    /// No flow can be written.
    pub(super) is_full: bool,
    /// Settled flows.
    pub(super) flows: RefCell<BTreeMap<FlowKey, NonNull<Flow>>>,
    /// Flows whose originator has not answered yet.
    pub(super) nursery: RefCell<BTreeMap<FlowKey, NonNull<Flow>>>,
    /// All flows there ever were: one that is removed may still be in use, as in the kernel.
    made: RefCell<Vec<NonNull<Flow>>>,
    pub(super) fragments: RefCell<HashMap<FragmentKey, FragmentRow>>,
    pub(super) diverted: RefCell<HashMap<DivertedKey, DivertedRow>>,
    pub(super) paths: RefCell<Vec<Path>>,
    /// How many packets policies under audit would have dropped, by endpoint.
    pub(super) audited: RefCell<BTreeMap<(u32, DropReason), u32>>,
    /// Flows that each rule allowed.
    pub(super) rule_hits: RefCell<BTreeMap<u32, u64>>,
    pub(super) randoms: Cell<u32>,
}

impl Drop for Maps {
    fn drop(&mut self) {
        for flow in self.made.get_mut().drain(..) {
            // SAFETY: it is from `Box::leak`, is here once, and nobody looks at flows of maps that are gone.
            drop(unsafe { Box::from_raw(flow.as_ptr()) });
        }
    }
}

impl Maps {
    /// How many entries were ever written.
    pub(super) fn made(&self) -> usize {
        self.made.borrow().len()
    }

    /// A flow in memory of its own.
    fn make(&self, flow: &Flow) -> NonNull<Flow> {
        let flow = NonNull::from(Box::leak(Box::new(*flow)));
        self.made.borrow_mut().push(flow);
        flow
    }

    /// Evicts an entry, as the kernel does when a table is full.
    pub(super) fn forget(&self, key: &FlowKey) {
        let is_gone =
            self.flows.borrow_mut().remove(key).is_some() || self.nursery.borrow_mut().remove(key).is_some();
        assert!(is_gone, "there was none");
    }

    /// The rules that match a key, by longest prefix, as the kernel's trie does it.
    fn longest(&self, key: &RuleKey) -> Option<RuleRow> {
        let covers = |bits: u32, row: &RuleKey| {
            let (row, key) = (bytemuck::bytes_of(row), bytemuck::bytes_of(key));
            (0..bits as usize).all(|bit| (row[bit / 8] ^ key[bit / 8]) & (0x80 >> (bit % 8)) == 0)
        };
        let matching = self.rules.iter().filter(|((bits, row), _)| covers(*bits, row));
        matching.max_by_key(|((bits, _), _)| *bits).map(|(_, row)| *row)
    }
}

impl World for Maps {
    fn config(&self) -> Config {
        self.config
    }

    fn now(&self) -> u64 {
        self.clock_reads.set(self.clock_reads.get() + 1);
        self.now
    }

    fn tick(&self) -> u64 {
        self.now / self.tick.max(1)
    }

    fn random(&self) -> u32 {
        self.randoms.set(self.randoms.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        self.randoms.get()
    }

    fn endpoint(&self, ifindex: u32) -> Option<&EndpointRow> {
        self.endpoints.get(&ifindex)
    }

    fn address(&self, addr: &Addr) -> Option<&AddressRow> {
        self.addresses.get(addr)
    }

    fn slot(&self, slot: u32) -> Option<&SlotRow> {
        self.slots.get(&slot)
    }

    fn cidr(&self, addr: &Addr) -> Option<&CidrRow> {
        self.cidrs.get(addr)
    }

    fn rule(&self, key: &RuleKey) -> Option<RuleRow> {
        self.longest(key)
    }

    fn published(&self, generation: u32, key: &PublishKey) -> Option<&PublishRow> {
        self.published[generation as usize & 1].get(key)
    }

    fn is_source(&self, key: &SourceKey) -> bool {
        self.sources.contains(key)
    }

    fn uplink(&self, ifindex: u32) -> Option<&UplinkRow> {
        self.uplinks.get(&ifindex)
    }

    fn is_denied(&self, addr: &Addr) -> bool {
        self.denied.contains(addr)
    }

    fn flow(&self, key: &FlowKey) -> Option<FlowRef> {
        let at = |table: &RefCell<BTreeMap<_, _>>| table.borrow().get(key).copied();
        // SAFETY: entries stay where they are as long as the maps are there.
        at(&self.flows).or_else(|| at(&self.nursery)).map(|entry| unsafe { FlowRef::new(entry) })
    }

    fn new_flow(&self, key: &FlowKey) -> Option<FlowRef> {
        self.flow(key)
    }

    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Taken> {
        if self.is_full || self.flow(key).is_some() {
            return Err(Taken);
        }
        self.nursery.borrow_mut().insert(*key, self.make(flow));
        Ok(())
    }

    fn settle_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Taken> {
        let mut flows = self.flows.borrow_mut();
        if self.is_full || flows.contains_key(key) {
            return Err(Taken);
        }
        flows.insert(*key, self.make(flow));
        self.nursery.borrow_mut().remove(key);
        Ok(())
    }

    fn remove_flow(&self, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
        self.nursery.borrow_mut().remove(key);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentRow> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, row: &FragmentRow) {
        self.fragments.borrow_mut().insert(*key, *row);
    }

    fn claim_fragment(&self, key: &FragmentKey, row: &FragmentRow) -> Result<(), Taken> {
        if self.fragment(key).is_some() {
            return Err(Taken);
        }
        self.remember_fragment(key, row);
        Ok(())
    }

    fn diverted(&self, key: &DivertedKey) -> Option<DivertedRow> {
        self.diverted.borrow().get(key).copied()
    }

    fn remember_diverted(&self, key: &DivertedKey, row: &DivertedRow) {
        self.diverted.borrow_mut().insert(*key, *row);
    }

    fn route(&self, _: u32, tuple: &Tuple) -> Result<u32, DropReason> {
        self.routes.get(&tuple.dst).copied().unwrap_or(Ok(self.default_route))
    }

    fn next_hop(&self, _: u32, _: u32, work: &mut Work, crosses: bool) -> Result<(), DropReason> {
        let tuple = if crosses { &work.target } else { &work.headers.tuple };
        self.routes.get(&tuple.dst).map_or(Ok(()), |route| route.map(drop))
    }

    fn count(&self, path: Path, _: u32) {
        self.paths.borrow_mut().push(path);
    }

    fn count_audited(&self, reason: DropReason, incarnation: u32, _length: u32) {
        *self.audited.borrow_mut().entry((incarnation, reason)).or_default() += 1;
    }

    fn count_drop(&self, _: DropReason, _: u32, _: u32) {}

    fn count_rule(&self, rule: u32) {
        *self.rule_hits.borrow_mut().entry(rule).or_default() += 1;
    }
}
