//! The contract between netfast's eBPF programs and its userspace.
//!
//! Everything both sides must agree on lives here and nowhere else: the names and layouts of the maps, the
//! list of drop reasons, and the pure logic both sides run (flow keys, the conntrack state machine, the policy
//! look-up, checksums). Nothing here does I/O; all of it is tested on the host.
//!
//! Conventions: integers are in host byte order unless a name says otherwise, since both sides run on one
//! machine. Times are nanoseconds of `CLOCK_BOOTTIME`. *Ingress* and *egress* are always meant from the
//! endpoint's point of view.

#![cfg_attr(not(any(test, feature = "user")), no_std)]

pub mod addr;
pub mod checksum;
pub mod conntrack;
pub mod counter;
pub mod event;
pub mod flow;
pub mod maps;
pub mod policy;
pub mod protocol;
pub mod reason;
pub mod rows;
#[cfg(feature = "user")]
mod user;

/// Version of every layout in this crate. It is part of the pin directory's name, so that programs and maps of
/// another version are never reinterpreted.
pub const LAYOUT_VERSION: u32 = 1;
