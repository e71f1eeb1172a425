//! Makes frames faster than any socket: an XDP program that redirects to a device, run on frames that are really sent
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::libc;

use super::link::bpf;
use super::{KernelError, Result};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 2;
/// The helper `bpf_redirect`.
const BPF_REDIRECT: i32 = 23;

/// An instruction: operation, registers, offset, number.
#[repr(C)]
struct Instruction(u8, u8, i16, i32);

/// The part of `union bpf_attr` that [`BPF_PROG_LOAD`] reads, as far as it is not zero.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
}

/// The part of `union bpf_attr` that [`BPF_PROG_TEST_RUN`] reads.
#[repr(C)]
#[derive(Default)]
struct Run {
    program: u32,
    answer: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    pad: u32,
}

/// Sends frames out of a device of the namespace it is used in.
#[derive(Debug)]
pub struct FrameSource(OwnedFd);

impl FrameSource {
    /// A source for the device with that index.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn new(ifindex: u32) -> Result<Self> {
        let failed = |e| KernelError::file("load", Path::new("a program that sends frames"), e);
        let device = i32::try_from(ifindex).map_err(|e| failed(io::Error::other(e)))?;
        // return bpf_redirect(device, 0)
        let code = [
            Instruction(0xb7, 1, 0, device),
            Instruction(0xb7, 2, 0, 0),
            Instruction(0x85, 0, 0, BPF_REDIRECT),
            Instruction(0x95, 0, 0, 0),
        ];
        let license = c"GPL";
        let mut attr = Load {
            kind: BPF_PROG_TYPE_XDP,
            instructions: 4,
            code: code.as_ptr() as u64,
            license: license.as_ptr() as u64,
        };
        let fd = bpf(BPF_PROG_LOAD, &mut attr).map_err(failed)?;
        let fd = RawFd::try_from(fd).map_err(|e| failed(io::Error::other(e)))?;
        // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends a frame so many times, and returns when all have left.
    ///
    /// # Errors
    /// When the kernel refuses the frame.
    pub fn send(&self, frame: &[u8], count: u32) -> Result<()> {
        /// Frames that are sent at once: what a driver takes from its ring.
        const BATCH: u32 = 64;
        let failed = |e| KernelError::file("send", Path::new("frames"), e);
        let number = |n: usize| u32::try_from(n).map_err(|e| failed(io::Error::other(e)));
        let mut attr = Run {
            program: u32::try_from(self.0.as_raw_fd()).map_err(|e| failed(io::Error::other(e)))?,
            size_in: number(frame.len())?,
            data_in: frame.as_ptr() as u64,
            repeat: count,
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            batch: BATCH,
            ..Run::default()
        };
        bpf(BPF_PROG_TEST_RUN, &mut attr).map(drop).map_err(failed)
    }
}
