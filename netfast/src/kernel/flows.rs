//! The two tables of flows, read as a whole, and what became of their entries.

use std::collections::HashMap;
use std::os::fd::AsFd as _;

use aya::maps::MapError;
use netfast_common::conntrack::Flow;
use netfast_common::counter::{FlowEvent, flow_index};
use netfast_common::flow::FlowKey;
use netfast_common::maps;
use nix::time::{ClockId, clock_gettime};

use super::{Datapath, KernelError, Result, batch, link};

/// Rows of a table.
type Rows = Vec<(FlowKey, Flow)>;

/// Entries of both tables, main ones and aliases.
#[derive(Clone, Debug, Default)]
pub struct FlowRows {
    /// By key; of an entry that settled while it was read, the settled one.
    pub entries: HashMap<FlowKey, Flow>,
    /// What became of entries.
    pub counts: FlowCounts,
}

/// What became of the entries of both tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Entries of settled flows.
    pub settled: u64,
    /// Most entries of settled flows.
    pub settled_size: u32,
    /// Entries of flows whose originator has not answered yet.
    pub new: u64,
    /// Most entries of such flows.
    pub new_size: u32,
    /// Entries that were ever made.
    pub made: u64,
    /// Entries that programs removed.
    pub removed: u64,
    /// Entries that commands removed.
    pub flushed: u64,
}

impl FlowCounts {
    /// Entries that gave way to others.
    pub const fn evicted(&self) -> u64 {
        let gone = self.removed.saturating_add(self.flushed);
        self.made.saturating_sub(gone).saturating_sub(self.settled).saturating_sub(self.new)
    }
}

impl Datapath {
    /// Reads all flows.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn flows(&self) -> Result<FlowRows> {
        let (rows, counts) = self.flow_tables()?;
        Ok(FlowRows { entries: rows.into_iter().flatten().collect(), counts })
    }

    /// Counts the entries of all flows.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn flow_counts(&self) -> Result<FlowCounts> {
        Ok(self.flow_tables()?.1)
    }

    /// Rows of the nursery, then of the settled flows, and what became of all.
    ///
    /// While programs make and remove entries the counters and the tables are of slightly different moments. They are
    /// read in such an order that no eviction is told that did not happen.
    fn flow_tables(&self) -> Result<([Rows; 2], FlowCounts)> {
        let count = |event| Ok(self.maps.counters.get(flow_index(event))?.packets);
        let made = count(FlowEvent::Made)?;
        // In this order: an entry moves from the one to the other.
        let new = self.flow_table(maps::NURSERY)?;
        let settled = self.flow_table(maps::FLOW)?;
        let counts = FlowCounts {
            settled: settled.len() as u64,
            settled_size: self.maps.flows.max_entries()?,
            new: new.len() as u64,
            new_size: self.maps.nursery.max_entries()?,
            made,
            removed: count(FlowEvent::Removed)?,
            flushed: count(FlowEvent::Flushed)?,
        };
        Ok(([new, settled], counts))
    }

    /// Removes an entry from both tables, if it is of the flow that began at `created`. Returns how many there were.
    /// The caller holds the instance's lock, and counts them ([`Datapath::count_flushed`]).
    ///
    /// # Errors
    /// When a map cannot be changed.
    pub fn remove_flow_entry(&mut self, key: &FlowKey, created: u64) -> Result<u64> {
        let mut removed = 0;
        // A flow that settles meanwhile is written to the second before it is removed from the first.
        for table in [&mut self.maps.nursery, &mut self.maps.flows] {
            if table.get(key)?.is_some_and(|flow| flow.created == created) && table.remove(key)? {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Counts entries that were removed by a command. The caller holds the instance's lock.
    ///
    /// # Errors
    /// When the map cannot be changed.
    pub fn count_flushed(&mut self, entries: u64) -> Result<()> {
        self.maps.counters.add(flow_index(FlowEvent::Flushed), entries)
    }

    fn flow_table(&self, name: &'static str) -> Result<Rows> {
        link::get(&self.pins.maps().join(name))
            .and_then(|map| batch::rows(map.as_fd()))
            .map_err(|e| KernelError::map("list", name, MapError::IoError(e)))
    }
}

/// The time by the clock of the programs, in nanoseconds.
///
/// # Errors
/// When there is no such clock.
pub fn now() -> std::io::Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use netfast_common::addr::Addr;
    use netfast_common::protocol;

    use super::super::testing::loaded;
    use super::*;

    fn key(number: u32) -> FlowKey {
        let [a, b, c, d] = number.to_be_bytes();
        let (from, to) = (Addr::from_v4([a, b, c, d]), Addr::from_v4([192, 0, 2, 1]));
        FlowKey { a: from, b: to, a_port: 1, b_port: 2, protocol: protocol::TCP, pad: [0; 3] }
    }

    #[test]
    fn every_entry_is_read_once() {
        loaded(|_, mut datapath| {
            assert!(datapath.flows().unwrap().entries.is_empty());
            for number in 0..20_000 {
                let flow = Flow { created: u64::from(number), ..Flow::default() };
                datapath.maps.nursery.insert(key(number), flow).unwrap();
                if number < 10_000 {
                    datapath.maps.flows.insert(key(number), Flow { flags: 1, ..flow }).unwrap();
                }
            }
            let FlowRows { entries, counts } = datapath.flows().unwrap();
            assert_eq!((counts.new, counts.settled), (20_000, 10_000));
            assert_eq!(entries.len(), 20_000);
            for number in 0..20_000 {
                let flow = entries[&key(number)];
                assert_eq!((flow.created, flow.flags == 1), (u64::from(number), number < 10_000));
            }
        });
    }

    #[test]
    fn what_is_removed_is_counted() {
        loaded(|_, mut datapath| {
            datapath.maps.nursery.insert(key(1), Flow { created: 7, ..Flow::default() }).unwrap();
            datapath.maps.flows.insert(key(1), Flow { created: 7, ..Flow::default() }).unwrap();
            datapath.maps.flows.insert(key(2), Flow { created: 8, ..Flow::default() }).unwrap();
            assert_eq!(datapath.remove_flow_entry(&key(1), 7).unwrap(), 2);
            assert_eq!(datapath.remove_flow_entry(&key(1), 7).unwrap(), 0);
            assert_eq!(datapath.remove_flow_entry(&key(2), 7).unwrap(), 0, "a later flow");
            datapath.count_flushed(2).unwrap();
            datapath.count_flushed(3).unwrap();
            let counts = datapath.flows().unwrap().counts;
            assert_eq!((counts.flushed, counts.settled, counts.new), (5, 1, 0));
        });
    }

    #[test]
    fn evictions_are_what_is_missing() {
        let counts =
            FlowCounts { made: 10, removed: 2, flushed: 1, settled: 3, new: 1, ..FlowCounts::default() };
        assert_eq!(counts.evicted(), 3);
        let behind = FlowCounts { made: 3, settled: 4, ..FlowCounts::default() };
        assert_eq!(behind.evicted(), 0, "made while the tables were read");
    }
}
