//! netfast's dataplane, as stages over a [`packet::Packet`] and a [`world::World`].
//!
//! The stages are ordinary code: in the kernel a packet is a socket buffer and the world is the maps, on the host
//! both are made by tests. `main.rs` holds the entry points and the one match from a verdict to what the kernel is
//! told. `docs/architecture.md` walks a packet through the functions named here.

#![cfg_attr(not(any(test, fuzzing)), no_std)]
#![cfg_attr(
    target_arch = "bpf",
    feature(core_intrinsics),
    allow(internal_features, reason = "see atomic.rs")
)]
#![expect(clippy::cast_possible_truncation, reason = "casts of constants and of halves of words")]

pub mod atomic;
pub mod budget;
mod cross;
mod cross_error;
mod error_message;
pub mod flow_ref;
mod forward;
mod fragment;
pub mod from_defrag;
pub mod from_endpoint;
pub mod from_uplink;
mod further;
mod header;
mod nat;
mod neighbour;
pub mod packet;
pub mod parse;
mod policy;
mod related;
mod repeat;
pub mod report;
#[cfg(all(fuzzing, not(test)))]
pub mod testing;
#[cfg(test)]
mod testing;
pub mod to_endpoint;
pub mod to_network;
mod track;
pub mod verdict;
pub mod work;
pub mod world;
