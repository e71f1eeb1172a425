//! Measures netfast and others side by side, on the machine it runs on.
//!
//! Every peer is a host with two containers and a world outside, in namespaces that only this process knows
//! ([`in_sandbox`]); so nothing is left of them, however it ends. A test does the same work on several of them, one after
//! the other, round by round, each for a fraction of a second: what the machine does besides hits all of them alike, and
//! what is compared was measured within the same second.
//!
//! ```text
//! Settings (plan) --run--> Stage (peers) --Workload--> Values --report--> Report --> table, JSON, HTML
//! ```

mod cpu;
mod drops;
mod machine;
mod metric;
pub mod peers;
pub mod plan;
mod programs;
pub mod report;
mod run;
mod setup;
mod stats;
pub mod workloads;

pub use self::machine::Machine;
pub use self::metric::Metric;
pub use self::run::{Progress, Watcher, run};
pub use self::stats::Spread;

#[cfg(doc)]
use crate::net::in_sandbox;
