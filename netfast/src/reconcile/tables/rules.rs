//! Rows of rules, many with one system call.

use anyhow::Result;
use netfast_common::policy::{RuleKey, RuleRow};

use crate::kernel::{Maps, Prefix};
use crate::store::fault;

/// Rules that are written or removed with one system call.
const AT_A_TIME: usize = 1024;

/// The key by which the map knows a rule.
pub(super) fn key((key, bits): &(RuleKey, u32)) -> Prefix<RuleKey> {
    Prefix { key: *key, bits: *bits }
}

/// Writes rules.
pub(super) fn insert(maps: &mut Maps, rules: &[(Prefix<RuleKey>, RuleRow)]) -> Result<()> {
    for rules in rules.chunks(AT_A_TIME) {
        fault::point("write rules");
        maps.rules.insert_all(rules)?;
    }
    Ok(())
}

/// Removes rules.
pub(super) fn remove(maps: &mut Maps, rules: &[Prefix<RuleKey>]) -> Result<()> {
    for rules in rules.chunks(AT_A_TIME) {
        fault::point("remove rules");
        maps.rules.remove_all(rules)?;
    }
    Ok(())
}
