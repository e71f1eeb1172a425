//! Somebody else's tcx program, which counts the packets it sees and passes them on.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

use crate::bpf;
use crate::ns::Ns;

/// From `<linux/bpf.h>`: map and program type, attach type, flags.
const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const TCX_INGRESS: u32 = 46;
const BEFORE: u32 = 1 << 3;
const AFTER: u32 = 1 << 4;

/// The first fields of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
}

/// Those for `BPF_MAP_LOOKUP_ELEM`.
#[repr(C)]
struct MapLookup {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Those for `BPF_LINK_CREATE` of a tcx program.
#[repr(C)]
struct LinkCreate {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    expected_revision: u64,
}

/// A program that counts packets; it is attached as long as this lives.
#[derive(Debug)]
pub struct Counting {
    map: OwnedFd,
    _link: OwnedFd,
}

impl Ns {
    /// Attaches a counting program to what comes in at a device: before all that are there, or after them.
    pub fn count_packets(&self, device: &str, is_first: bool) -> Result<Counting> {
        self.run(|| {
            let create = MapCreate { kind: MAP_TYPE_ARRAY, key_size: 4, value_size: 8, entries: 1 };
            let map = bpf::open(bpf::MAP_CREATE, &create).context("make a map")?;
            let fd = u64::try_from(map.as_raw_fd())?;
            let instructions = [
                // r1 = address of the map's value, in two words
                0x2118 | fd << 32,
                0,
                // r2 = 1; *r1 += r2, atomically
                0x0000_0001_0000_02b7,
                0x21db,
                // r0 = TCX_NEXT; exit
                0xffff_ffff_0000_00b7,
                0x95,
            ];
            let program = bpf::load(PROG_TYPE_SCHED_CLS, &instructions).context("load a tc program")?;
            let link = LinkCreate {
                program: u32::try_from(program.as_raw_fd())?,
                ifindex: nix::net::if_::if_nametoindex(device)?,
                attach_type: TCX_INGRESS,
                flags: if is_first { BEFORE } else { AFTER },
                relative: 0,
                pad: 0,
                expected_revision: 0,
            };
            let link = bpf::open(bpf::LINK_CREATE, &link)
                .with_context(|| format!("attach a tc program to {device}"))?;
            Ok(Counting { map, _link: link })
        })
    }
}

impl Counting {
    /// How many packets it has seen.
    pub fn seen(&self) -> io::Result<u64> {
        let (key, mut value) = (0_u32, 0_u64);
        let lookup = MapLookup {
            map: self.map.as_raw_fd().cast_unsigned(),
            pad: 0,
            key: (&raw const key) as u64,
            value: (&raw mut value) as u64,
            flags: 0,
        };
        bpf::call(bpf::MAP_LOOKUP, &lookup)?;
        Ok(value)
    }
}
