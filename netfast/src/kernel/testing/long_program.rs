//! A program of the kind that sees packets, which takes milliseconds and tells when it has begun and ended.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::thread;

use super::super::link::bpf;
use nix::libc;

/// Commands of `linux/bpf.h`, a type of maps and one of programs.
const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const ARRAY: u32 = 2;
const SCHED_CLS: u32 = 3;

/// Checksums that it makes of its stack; the verifier follows each, up to a million instructions.
const CHECKSUMS: i32 = 60_000;

/// What it writes into its map.
const BEGUN: i32 = 1;
const ENDED: i32 = 2;

/// The program, and the map it writes to.
pub(in crate::kernel) struct LongProgram {
    map: OwnedFd,
    program: OwnedFd,
}

/// Instruction of an operation, registers, an offset and a number.
const fn insn(operation: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    operation as u64
        | (to as u64) << 8
        | (from as u64) << 12
        | (offset.cast_unsigned() as u64) << 16
        | (number.cast_unsigned() as u64) << 32
}

impl LongProgram {
    /// Loads it, or says why it cannot.
    pub(in crate::kernel) fn load() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let map = descriptor(MAP_CREATE, [u64::from(ARRAY) | 4 << 32, 8 | 1 << 32, 0, 0, 0, 0]);
        let code = [
            insn(0x18, 6, 2, 0, map.as_raw_fd()), // r6 = the map's value
            insn(0, 0, 0, 0, 0),
            insn(0x7a, 6, 0, 0, BEGUN),     // *r6 = BEGUN
            insn(0x7a, 10, 0, -8, 0),       // a word of the stack
            insn(0xb7, 7, 0, 0, CHECKSUMS), // r7 = CHECKSUMS
            insn(0xb7, 1, 0, 0, 0),         // from nothing
            insn(0xb7, 2, 0, 0, 0),
            insn(0xbf, 3, 10, 0, 0), // to that word
            insn(0x07, 3, 0, 0, -8),
            insn(0xb7, 4, 0, 0, 8),
            insn(0xb7, 5, 0, 0, 0),
            insn(0x85, 0, 0, 0, 28),    // bpf_csum_diff
            insn(0x07, 7, 0, 0, -1),    // r7 -= 1
            insn(0x55, 7, 0, -9, 0),    // again unless it is 0
            insn(0x7a, 6, 0, 0, ENDED), // *r6 = ENDED
            insn(0xb7, 0, 0, 0, 0),
            insn(0x95, 0, 0, 0, 0),
        ];
        let license = c"GPL";
        let length = code.len() as u64;
        let program = descriptor(
            PROG_LOAD,
            [u64::from(SCHED_CLS) | length << 32, code.as_ptr() as u64, license.as_ptr() as u64, 0, 0, 0],
        );
        Some(Self { map, program })
    }

    /// Runs it once, and `meanwhile` beside it.
    pub(in crate::kernel) fn run<T>(&self, meanwhile: impl FnOnce(&Self) -> T) -> T {
        self.set(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let packet = [0_u8; 64];
                let fd: u64 = self.program.as_raw_fd().cast_unsigned().into();
                let mut test = [fd, packet.len() as u64, packet.as_ptr() as u64, 0, 0, 0, 0, 0, 0, 0];
                bpf(PROG_TEST_RUN, &mut test).unwrap();
            });
            meanwhile(self)
        })
    }

    pub(in crate::kernel) fn has_begun(&self) -> bool {
        self.get() >= i64::from(BEGUN)
    }

    pub(in crate::kernel) fn has_ended(&self) -> bool {
        self.get() >= i64::from(ENDED)
    }

    fn get(&self) -> i64 {
        let mut value = 0_i64;
        self.row(MAP_LOOKUP, &mut value);
        value
    }

    fn set(&self, mut value: i64) {
        self.row(MAP_UPDATE, &mut value);
    }

    fn row(&self, command: libc::c_int, value: &mut i64) {
        let key = 0_u32;
        let mut row: [u64; 4] = [
            self.map.as_raw_fd().cast_unsigned().into(),
            (&raw const key) as u64,
            (&raw mut *value) as u64,
            0,
        ];
        bpf(command, &mut row).unwrap();
    }
}

/// A call that answers with a descriptor.
fn descriptor(command: libc::c_int, mut words: [u64; 6]) -> OwnedFd {
    let fd = bpf(command, &mut words).and_then(|fd| RawFd::try_from(fd).map_err(io::Error::other)).unwrap();
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
