//! Times in words.

use std::mem::MaybeUninit;

use nix::libc;

const SECOND: u64 = 1_000_000_000;

/// The time of day where the user is, to a microsecond: `15:04:05.123456`.
pub(super) fn of_day(nanoseconds: u64) -> String {
    let time = broken_down(nanoseconds, libc::localtime_r);
    let micros = nanoseconds % SECOND / 1000;
    format!("{:02}:{:02}:{:02}.{micros:06}", time.tm_hour, time.tm_min, time.tm_sec)
}

/// Date and time in UTC, to a nanosecond, as RFC 3339 has it.
pub(super) fn rfc3339(nanoseconds: u64) -> String {
    let time = broken_down(nanoseconds, libc::gmtime_r);
    let (year, month) = (time.tm_year + 1900, time.tm_mon + 1);
    let rest = nanoseconds % SECOND;
    let (day, hour, minute, second) = (time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:09}Z")
}

fn broken_down(
    nanoseconds: u64,
    convert: unsafe extern "C" fn(*const libc::time_t, *mut libc::tm) -> *mut libc::tm,
) -> libc::tm {
    let seconds = libc::time_t::try_from(nanoseconds / SECOND).unwrap_or(0);
    let mut time = MaybeUninit::zeroed();
    // SAFETY: both pointers are valid for the call; all zeroes are a `tm`, should it fail.
    unsafe {
        convert(&raw const seconds, time.as_mut_ptr());
        time.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_a_date() {
        assert_eq!(rfc3339(1_709_210_096_000_000_007), "2024-02-29T12:34:56.000000007Z");
        assert!(of_day(1_709_210_096_123_456_789).ends_with(":56.123456"));
    }
}
