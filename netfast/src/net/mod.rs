//! The only user of rtnetlink and setns: devices, addresses, routes and neighbours, network namespaces, and commands
//! started inside them.
//!
//! It decides nothing: names, addresses and the order of steps come from the caller. Everything blocks. A thread never
//! changes its own namespace: whatever has to run inside another one gets a thread (or, for commands, a process) of its
//! own, so that no later work of a pooled thread lands in the wrong namespace. What runs in one already stays on its thread.

pub mod address;
pub mod bridge;
pub mod capabilities;
pub mod changes;
pub mod container;
pub mod defrag;
mod descriptors;
mod enter;
pub mod error;
pub mod exec;
pub mod fdb;
mod free_ports;
pub mod hosts;
pub mod link;
pub mod neighbour;
pub mod netlink;
pub mod netns;
mod netns_file;
mod nft;
mod offload;
pub mod pair;
pub mod process;
pub mod qdisc;
mod removal;
pub mod resolver;
mod route;
mod routes;
mod sandbox;
mod shaping;
pub mod sockets;
pub mod spawn;
pub mod sysctl;
pub mod veth;

#[cfg(test)]
mod tests;

pub use self::address::{Address, Scope};
pub use self::bridge::BridgeSpec;
pub use self::capabilities::{drop_capabilities, keep_capabilities};
pub use self::changes::Changes;
pub use self::container::{ContainerSpec, configure_container};
pub use self::defrag::{DefragSpec, defrag_state};
pub use self::descriptors::close_on_exec;
pub use self::error::Error;
pub use self::exec::{ExecError, enter_and_exec};
pub use self::fdb::{FdbEntry, FdbKind};
pub use self::link::{Link, PortFlags, wait_until_running};
pub use self::neighbour::Neighbour;
pub use self::netlink::Netlink;
pub use self::netns::Netns;
pub use self::nft::defragment;
pub use self::offload::receive_in_batches;
pub use self::pair::{Pair, PairError};
pub use self::process::{alive, marked, marked_below, stop};
pub use self::qdisc::Qdisc;
pub use self::routes::Route;
pub use self::sandbox::in_sandbox;
pub use self::sockets::{BoundSocket, Connection, holder};
pub use self::spawn::{Process, spawn_inside};
pub use self::veth::{VethPair, VethSpec};
