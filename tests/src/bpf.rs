//! What somebody else's programs are made of, without a compiler or an object file.

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use nix::libc;

/// From `<linux/bpf.h>`: commands.
pub(crate) const MAP_CREATE: c_int = 0;
pub(crate) const MAP_LOOKUP: c_int = 1;
const PROG_LOAD: c_int = 5;
pub(crate) const LINK_CREATE: c_int = 28;

/// The first fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    rest: [u64; 6],
}

/// Loads a program of a type of `<linux/bpf.h>`.
pub(crate) fn load(kind: u32, instructions: &[u64]) -> io::Result<OwnedFd> {
    let load = ProgLoad {
        kind,
        instruction_count: u32::try_from(instructions.len()).unwrap_or(0),
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        rest: [0; 6],
    };
    open(PROG_LOAD, &load)
}

/// A `bpf` call that answers with a file descriptor.
pub(crate) fn open<T>(command: c_int, attributes: &T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A `bpf` call. What the attributes point to must fit the command.
pub(crate) fn call<T>(command: c_int, attributes: &T) -> io::Result<c_int> {
    let (pointer, size): (*const T, usize) = (attributes, size_of::<T>());
    // SAFETY: the attributes, and what they point to, live until the call returns.
    let answer: c_long = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size) };
    match c_int::try_from(answer) {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}
