//! The version of the rows that is not in force: when it may be written, and how it comes into force.
//!
//! It was in force until the generation was last raised by one, and programs may be running that have begun before that.
//! When that was stands beside the generation, and so it is known to whichever process comes next.

use anyhow::Result;
use netfast_common::rows::Config;

use crate::kernel::{Maps, grace_period};
use crate::reconcile::settled::{LONG, now};
use crate::store::fault;

/// A moment that is not known, and a generation that was raised by nobody yet.
const UNKNOWN: u32 = 0;

/// Waits until no program runs that reads the version not in force, if one may. Returns whether it did.
pub(super) fn wait(config: &Config) -> bool {
    let is_read = may_be_read(config, now());
    if is_read {
        grace_period();
    }
    is_read
}

fn may_be_read(config: &Config, now: i64) -> bool {
    match config.switched {
        // Who raised it was killed over it, or is a netfast that does not note it.
        UNKNOWN => config.generation != 0,
        switched => i64::from(word(now).wrapping_sub(switched)) < LONG,
    }
}

/// Has `config` be in force, whose generation is the next one, and with it the version of the rows that was not.
///
/// # Errors
/// When the kernel refuses. What was in force before still is, unless only the moment could not be noted.
pub(super) fn switch(maps: &mut Maps, config: Config) -> Result<()> {
    fault::point("raise the generation");
    // A process may be stopped for long between a look at the clock and what it does next.
    maps.config.set(0, Config { switched: UNKNOWN, ..config })?;
    fault::point("note when the generation was raised");
    Ok(maps.config.set(0, Config { switched: word(now()), ..config })?)
}

/// Notes that a grace period has passed since the generation was raised.
pub(super) fn settle(maps: &mut Maps) -> Result<()> {
    let config = maps.config.get(0)?;
    Ok(maps.config.set(0, Config { switched: word(now() - LONG), ..config })?)
}

/// A moment as it stands in the map. It comes again after 49 days, and then costs a wait at worst.
fn word(moment: i64) -> u32 {
    u32::try_from(moment.rem_euclid(1 << u32::BITS)).unwrap_or(UNKNOWN).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_read(generation: u32, switched: u32, now: i64) -> bool {
        may_be_read(&Config { generation, switched, ..Config::default() }, now)
    }

    #[test]
    fn what_was_in_force_within_a_second_may_be_read() {
        for switched in [1_i64, 5_000, u32::MAX.into(), i64::from(u32::MAX) + 2, (1 << 40) + 77] {
            for (after, expected) in [(0, true), (1, true), (999, true), (1001, false), (3_600_000, false)] {
                assert_eq!(is_read(7, word(switched), switched + after), expected, "{switched} {after}");
            }
        }
    }

    #[test]
    fn nothing_may_be_read_before_there_was_anything() {
        assert!(!is_read(0, UNKNOWN, 1 << 40));
        assert!(!is_read(0, UNKNOWN, 10));
    }

    #[test]
    fn where_nobody_noted_when_it_may_be() {
        assert!(is_read(1, UNKNOWN, 1 << 40));
        assert!(is_read(8, UNKNOWN, 10));
    }

    #[test]
    fn no_moment_is_an_unknown_one() {
        for moment in [0, 1 << 32, -1, -(1 << 32), i64::from(u32::MAX)] {
            assert_ne!(word(moment), UNKNOWN, "{moment}");
        }
    }
}
