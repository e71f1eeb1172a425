//! What the kernel says of a pinned link.
//!
//! aya tells a link's program only. What it is attached to is asked here with two commands of `bpf(2)`: that alone
//! shows, from any network namespace, whether the device or cgroup is still there.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::programs::ProgramError;
use aya::programs::links::{FdLink, LinkError};
use nix::libc;

use super::bpffs::unlink;
use super::error::errno;
use super::{KernelError, Result};

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_DETACH: libc::c_int = 34;

/// The part of `union bpf_attr` that [`BPF_OBJ_PIN`] and [`BPF_OBJ_GET`] read.
#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that [`BPF_OBJ_GET_INFO_BY_FD`] reads.
#[repr(C)]
struct GetInfo {
    fd: u32,
    length: u32,
    info: u64,
}

/// The head of `struct bpf_link_info`, which has only grown since Linux 5.8.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Info {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    /// Of tcx (6.6) and XDP (5.9) links the device's index and, of tcx, the attach type; of cgroup links the
    /// cgroup's number.
    target: u64,
    rest: [u64; 4],
}

/// A pinned link's program and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkState {
    /// Number of the program that runs.
    pub(super) program_id: u32,
    target: u64,
}

impl LinkState {
    /// Index of the device of a tcx or XDP link; 0 when the device is gone.
    pub(super) const fn ifindex(self) -> u32 {
        let [a, b, c, d, ..] = self.target.to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }

    /// Number of the cgroup of a cgroup link; 0 when it is gone.
    pub(super) const fn cgroup(self) -> u64 {
        self.target
    }
}

/// What is pinned at `path`; `None` where nothing is.
pub(super) fn pinned(path: &Path) -> Result<Option<LinkState>> {
    match get(path).and_then(|fd| info(&fd)) {
        Ok(Info { program, target, .. }) => Ok(Some(LinkState { program_id: program, target })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(KernelError::file("read the link", path, e)),
    }
}

/// Pins a link; it outlives this process from then on.
pub(super) fn pin(link: FdLink, path: &Path) -> Result<()> {
    use aya::pin::PinError;
    let failed = |e| KernelError::file("pin a link at", path, e);
    match link.pin(path) {
        // Closes a file descriptor; the pin holds the link.
        Ok(pinned) => {
            drop(pinned);
            Ok(())
        }
        Err(PinError::SyscallError(e)) => Err(failed(e.io_error)),
        Err(other) => Err(failed(io::Error::other(other))),
    }
}

/// Detaches what is pinned at `path`, if there is anything, and removes the pin.
///
/// Removing the pin alone would do, but some time later: the kernel lets go of a link in a work queue, and until
/// then an XDP slot is taken and the same program cannot be attached again (seen on 6.18).
pub(super) fn remove(path: &Path) -> Result<()> {
    if let Ok(link) = get(path)
        && let Ok(fd) = u32::try_from(link.as_raw_fd())
    {
        // Where it fails, the device is gone already, or the pin is that of a program.
        let detached = bpf(BPF_LINK_DETACH, &mut [fd]);
        tracing::trace!(path = %path.display(), ?detached, "detached a link");
    }
    unlink(path)
}

/// Whether a replacement of a link's program came to pass: not so where the device has gone, and severed the link.
pub(super) fn replaced(replace: impl FnOnce() -> Result<(), ProgramError>) -> Result<bool, ProgramError> {
    match replace() {
        Ok(()) => Ok(true),
        Err(e) if errno(&e) == Some(libc::ENOLINK) => Ok(false),
        Err(e) => Err(e),
    }
}

/// aya has no such conversion.
pub(super) fn program_error(error: LinkError) -> ProgramError {
    match error {
        LinkError::SyscallError(e) => e.into(),
        other => io::Error::other(other).into(),
    }
}

/// Opens a pin.
pub(super) fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = Object { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    let fd = bpf(BPF_OBJ_GET, &mut attr)?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins what is open once more.
pub(super) fn pin_open(fd: &OwnedFd, path: &Path) -> Result<()> {
    let pin = || {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let fd = u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)?;
        bpf(BPF_OBJ_PIN, &mut Object { path: path.as_ptr() as u64, fd, flags: 0 })
    };
    pin().map(drop).map_err(|e| KernelError::file("pin a program at", path, e))
}

fn info(fd: &OwnedFd) -> io::Result<Info> {
    let mut info = Info::default();
    let mut attr = GetInfo {
        fd: u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)?,
        length: u32::try_from(size_of::<Info>()).map_err(io::Error::other)?,
        info: (&raw mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// The system call `bpf`.
pub(super) fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is the command's part of `union bpf_attr`, of the size that is told; the pointers in it are
    // to memory that the callers keep until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
