//! How long something must lie behind for no program to run any more that began before it.
//!
//! To wait for a grace period is the same without a clock, and takes 10 to 20 ms.

use nix::time::{ClockId, clock_gettime};

/// How long no program runs, by far, in milliseconds.
pub(super) const LONG: i64 = 1000;

/// Milliseconds of the clock that counts on while the machine sleeps.
pub(super) fn now() -> i64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000)
}
