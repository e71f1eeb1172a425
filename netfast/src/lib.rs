//! netfast: container networking moved by eBPF.
//!
//! One core with several faces. Dependencies point one way:
//! `manifest -> model -> compile -> reconcile -> kernel, net, store`; `model` and `compile` do no I/O and know
//! neither aya, nor rtnetlink, nor tokio. `kernel` is the only user of aya, `net` the only one of rtnetlink and
//! setns, `store` the only one of the state files. A face translates; it decides nothing.

pub mod bench;
pub mod cases;
pub mod compile;
pub mod faces;
pub mod kernel;
pub mod manifest;
pub mod model;
pub mod net;
pub mod reconcile;
pub mod store;
