//! What devices do with packets before the stack sees them.

use std::ffi::CString;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::Error;
use super::sysctl::check_device_name;

const ETHTOOL_SGRO: u32 = 0x2c;

/// What an `ethtool` command with one value is given.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Switches generic receive offload on, for a device of the calling thread's namespace. A veth device polls for packets
/// from then on, and takes frames that XDP sends it.
///
/// # Errors
/// When there is no such device, or it cannot.
pub fn receive_in_batches(device: &str) -> Result<(), Error> {
    check_device_name(device)?;
    let failed = |e: io::Error| Error::system("switch on receive offload of", device, e);
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|e| failed(e.into()))?;
    let name = CString::new(device).map_err(|e| failed(e.into()))?;
    let mut value = Value { command: ETHTOOL_SGRO, data: 1 };
    // SAFETY: a structure of plain numbers and pointers may be all zero.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes_with_nul()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names a command of eight bytes, which live through the call; the name ends with a zero, as the
    // check lets it have at most 15 bytes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(failed(io::Error::last_os_error())) }
}
