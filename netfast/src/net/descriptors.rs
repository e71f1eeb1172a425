//! Open files that programs started by this process are not to have.

use std::io;

use nix::libc;

use super::Error;

/// Has all open files but the three standard ones close where another program is executed: also those that whoever
/// started this process left open.
pub fn close_on_exec() -> Result<(), Error> {
    // SAFETY: the call changes flags of descriptors and takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(Error::system("mark", "open files", io::Error::last_os_error())) }
}
