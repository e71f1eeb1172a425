//! Giving up what a process may do beyond its user's own rights.

use std::io;

use caps::{CapSet, CapsHashSet};

use super::error::Error;

/// Gives up every capability of the calling thread, which should be the only one, and of whatever it executes.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_capabilities() -> Result<(), Error> {
    // Else a program executed by root would have them all again.
    nix::sys::prctl::set_no_new_privs().map_err(|errno| Error::system("give up", "privileges", errno))?;
    keep_capabilities(&CapsHashSet::new())?;
    caps::clear(None, CapSet::Inheritable).map_err(failed)
}

/// Gives up the capabilities of the calling thread that are not in `needed`; returns what it keeps. What it executes as
/// root gets them all again.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_capabilities(needed: &CapsHashSet) -> Result<CapsHashSet, Error> {
    let has = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let kept: CapsHashSet = has.intersection(needed).copied().collect();
    // Effective ones must be permitted ones at any time.
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).map_err(failed)?;
    }
    Ok(kept)
}

fn failed(error: caps::errors::CapsError) -> Error {
    Error::system("give up", "capabilities", io::Error::other(error))
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_left() {
        std::thread::spawn(|| {
            super::drop_capabilities().unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            for set in ["CapInh", "CapPrm", "CapEff"] {
                assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
            }
        })
        .join()
        .unwrap();
    }
}
