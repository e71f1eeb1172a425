//! The only user of aya: loads and pins the programs, attaches them, reads and writes the maps.
//!
//! Everything here blocks and holds no background state: what lives on is pinned in the bpf file system of the
//! instance. Devices are resolved in the network namespace of the calling thread.

mod attach;
mod batch;
mod bpffs;
mod cgroup;
mod error;
mod events;
mod filter;
mod flows;
mod frames;
#[cfg(test)]
mod gate_tests;
mod grace;
#[cfg(test)]
mod journeys;
mod link;
mod load;
#[cfg(feature = "log")]
mod log;
mod maps;
mod mounts;
mod object;
mod pinned_map;
mod probe;
mod recover;
mod remove;
mod sizes;
mod table;
mod test_run;
#[cfg(test)]
pub(crate) mod testing;
mod usage;
mod xdp;

/// What may be a key or a row of a map: plain words without padding.
pub use aya::Pod as Row;

pub use self::attach::{Attached, Hook, Kind, Mode};
pub use self::bpffs::Bpffs;
pub use self::cgroup::{default_cgroup, own_cgroup};
pub use self::error::KernelError;
pub use self::events::{EventReader, Told, Wishes, active_readers, silence_reader};
pub use self::flows::{FlowCounts, FlowRows, now};
pub use self::frames::FrameSource;
pub use self::grace::{Programs, grace_period};
pub use self::load::{Datapath, Loaded, ObjectState, has_tcx};
#[cfg(feature = "log")]
pub use self::log::follow;
pub use self::maps::Maps;
pub use self::probe::{
    HELPERS, Helper, SET_RETVAL, accounts_to_cgroup, check_object, has_btf, has_membarrier, has_ring_buffer,
};
pub use self::remove::pinned_devices;
pub use self::table::{Array, CounterArray, CounterTable, Prefix, Table, Trie};
pub use self::test_run::{Packet, TestOutput};
pub use self::usage::MapUsage;
pub use self::xdp::{XdpAttached, XdpMode, XdpOutcome};

/// Result of an operation on the kernel.
pub type Result<T, E = KernelError> = std::result::Result<T, E>;
