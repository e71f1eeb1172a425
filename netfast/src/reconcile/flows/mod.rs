//! The flows of an instance: listed, and forgotten.

mod filter;
mod view;

use std::collections::HashMap;

use anyhow::{Context, Result};
use netfast_common::conntrack::{
    self, FLOW_ALIAS, FLOW_DESTINATION_NAT, FLOW_ORIGINATOR_IS_A, FLOW_SOURCE_NAT, Flow,
};
use netfast_common::flow::{FlowKey, Side, Tuple};

pub use self::filter::{FlowFilter, FlowState};
pub use self::view::{CountsView, EndView, FlowView, FlowsView, SocketView, TableView};

use super::instance::Options;
use crate::kernel::{Bpffs, Datapath, FlowRows, Programs, grace_period, now};
use crate::store::{LockedStore, Paths, Store};

const NOT_UP: &str = "not up (netfast up -f FILE brings it up)";

/// A flow: its main entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    key: FlowKey,
    flow: Flow,
}

impl Entry {
    /// The tuple as the originator sends it.
    fn original(&self) -> Tuple {
        let is_a = self.flow.flags & FLOW_ORIGINATOR_IS_A != 0;
        self.key.tuple_from(if is_a { Side::A } else { Side::B })
    }

    /// The tuple as the responder sees it.
    fn seen(&self) -> Tuple {
        let FlowKey { a, b, a_port, b_port, protocol, pad } = self.flow.key;
        Tuple { src: a, dst: b, sport: a_port, dport: b_port, protocol, pad }
    }

    fn is_translated(&self) -> bool {
        self.flow.flags & (FLOW_SOURCE_NAT | FLOW_DESTINATION_NAT) != 0
    }

    fn is_over(&self, now: u64) -> bool {
        conntrack::is_over(self.key.protocol, self.flow.flags, self.flow.seen, now)
    }
}

/// The flows that a filter selects; those that are over only with `with_over`. Takes no lock.
///
/// # Errors
/// When the instance is not up, there is no such endpoint, or the kernel cannot be read.
pub fn list(options: &Options, filter: &FlowFilter, with_over: bool) -> Result<FlowsView> {
    let store = Store::new(Paths::resolve(options.paths.clone())?);
    let datapath = Datapath::open(&Bpffs::at(&store.paths().bpffs))?.context(NOT_UP)?;
    let filter = filter.resolve(&store)?;
    let generation = datapath.maps.config.get(0)?.generation;
    let rows = datapath.flows()?;
    let now = now().context("read the clock")?;
    let endpoints: HashMap<_, _> =
        store.endpoints()?.into_iter().map(|(id, record)| (record.incarnation, id.to_string())).collect();
    let shown =
        main_entries(&rows).filter(|entry| (with_over || !entry.is_over(now)) && filter.selects(entry));
    let mut flows: Vec<_> = shown.map(|entry| view::flow(&entry, &endpoints, generation, now)).collect();
    flows.sort_by(view::order);
    Ok(FlowsView { flows, table: TableView::from(rows.counts) })
}

/// Forgets the flows that a filter selects, and says how many there were. Their next packets are first ones.
///
/// # Errors
/// When the instance is not up, there is no such endpoint, or the kernel refuses.
pub(super) fn flush(store: &LockedStore, filter: &FlowFilter) -> Result<usize> {
    let mut datapath = Datapath::open(&Bpffs::at(&store.paths().bpffs))?.context(NOT_UP)?;
    let filter = filter.resolve(store)?;
    let rows = datapath.flows()?;
    let selected: Vec<_> = main_entries(&rows).filter(|entry| filter.selects(entry)).collect();
    let mut entries = 0;
    let mut removed = Ok(());
    // A program that holds an entry may write it anew while it settles; after the grace period none does.
    for _ in 0..2 {
        removed = removed.and_then(|()| {
            selected.iter().try_for_each(|entry| remove(&mut datapath, entry).map(|count| entries += count))
        });
        grace_period(Programs::OfPackets);
    }
    // Also after a failure: what is gone is not to be taken for evicted.
    datapath.count_flushed(entries)?;
    removed?;
    Ok(selected.len())
}

/// Removes both entries of a flow. Entries are told from those of a later flow of the same tuple by their beginning.
fn remove(datapath: &mut Datapath, entry: &Entry) -> Result<u64> {
    let created = entry.flow.created;
    let mut removed = 0;
    if entry.is_translated() {
        removed += datapath.remove_flow_entry(&entry.seen().key().0, created)?;
    }
    Ok(removed + datapath.remove_flow_entry(&entry.key, created)?)
}

fn main_entries(rows: &FlowRows) -> impl Iterator<Item = Entry> {
    let entries = rows.entries.iter().filter(|(_, flow)| flow.flags & FLOW_ALIAS == 0);
    entries.map(|(key, flow)| Entry { key: *key, flow: *flow })
}
