//! Giving up what a process may do beyond its user's own rights.

use nix::libc;

use super::error::Error;

/// `struct __user_cap_header_struct` of `<linux/capability.h>`.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct`, of which version 3 takes two.
#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION_3: u32 = 0x2008_0522;

/// Gives up every capability of the calling thread, which should be the only one, and of whatever it executes.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_capabilities() -> Result<(), Error> {
    let failed = |errno: nix::errno::Errno| Error::system("give up", "all capabilities", errno);
    // Else a program executed by root would have them all again.
    nix::sys::prctl::set_no_new_privs().map_err(failed)?;
    let header = Header { version: VERSION_3, pid: 0 };
    let none = [Data { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: both are as the kernel's headers declare them, and live until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    nix::errno::Errno::result(result).map(drop).map_err(failed)
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
