//! Runs cases, the unit tests of network policies: judges them by the compiled tables, or builds each and sends packets.
//!
//! ```text
//! Case --world--> Scene --compile--> Tables --judge--> Judgement --report--> Report
//!                   +--live: namespaces, listeners, packets--> what arrived --^
//! ```

mod judge;
pub mod live;
pub mod report;
mod select;
mod world;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::judge::judge;
pub use self::report::{CaseReport, Outcome, ProbeReport, Report};
pub use self::select::{Pattern, PatternError};
use crate::manifest::cases::Case;

/// Cases that share a world: one, or the snapshots of a sequence in their order.
pub type Group<'a> = Vec<&'a Case>;

/// Puts the snapshots of each sequence together, where the first of them stands.
pub fn groups(cases: &[Case]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut sequences: BTreeMap<_, usize> = BTreeMap::new();
    for case in cases {
        let Some(step) = &case.sequence else {
            groups.push(vec![case]);
            continue;
        };
        let key = (&case.source.file, &step.id);
        if let Some(index) = sequences.get(&key) {
            groups[*index].push(case);
        } else {
            sequences.insert(key, groups.len());
            groups.push(vec![case]);
        }
    }
    for group in &mut groups {
        group.sort_by_key(|case| case.sequence.as_ref().map(|step| step.step));
    }
    groups
}
