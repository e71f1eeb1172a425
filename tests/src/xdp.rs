//! Somebody else's XDP program, without a compiler or an object file.

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::libc;

use crate::ns::Ns;

/// From `<linux/bpf.h>`: commands, program and attach types.
const PROG_LOAD: c_int = 5;
const LINK_CREATE: c_int = 28;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
/// From `<linux/if_link.h>`: run in the driver.
const DRIVER_MODE: u32 = 1 << 2;

/// `r0 = XDP_PASS; exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

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

/// The first fields of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

impl Ns {
    /// Attaches an XDP program that passes everything to a device; it goes when the answer is dropped.
    pub fn occupy_xdp(&self, device: &str) -> Result<OwnedFd> {
        self.run(|| {
            let load = ProgLoad {
                kind: PROG_TYPE_XDP,
                instruction_count: 2,
                instructions: PASS.as_ptr() as u64,
                license: c"GPL".as_ptr() as u64,
                rest: [0; 6],
            };
            let program = bpf(PROG_LOAD, &load).context("load an XDP program")?;
            let ifindex = nix::net::if_::if_nametoindex(device)?;
            let link = LinkCreate {
                program: u32::try_from(program.as_raw_fd())?,
                ifindex,
                attach_type: ATTACH_XDP,
                flags: DRIVER_MODE,
            };
            bpf(LINK_CREATE, &link).with_context(|| format!("attach an XDP program to {device}"))
        })
    }
}

/// A `bpf` call that answers with a file descriptor.
fn bpf<T>(command: c_int, attributes: &T) -> io::Result<OwnedFd> {
    let (pointer, size): (*const T, usize) = (attributes, size_of::<T>());
    // SAFETY: the attributes, and what they point to, live until the call returns; it writes to none of them.
    let answer: c_long = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size) };
    match c_int::try_from(answer) {
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
