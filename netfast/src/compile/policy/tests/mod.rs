//! Tests of the whole compile: against a naive reading of the policies, over a sequence of worlds, by hand for known
//! traps, and for speed.

pub(super) mod build;
pub(super) mod generate;
mod properties;
mod reference;
mod scale;
mod small;
mod tiers;
mod traps;
