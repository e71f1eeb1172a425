//! Somebody else's XDP program.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

use crate::bpf;
use crate::ns::Ns;

/// From `<linux/bpf.h>`: program and attach type.
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
/// From `<linux/if_link.h>`: run in the driver.
const DRIVER_MODE: u32 = 1 << 2;

/// `r0 = XDP_PASS; exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

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
            let program = bpf::load(PROG_TYPE_XDP, &PASS).context("load an XDP program")?;
            let link = LinkCreate {
                program: u32::try_from(program.as_raw_fd())?,
                ifindex: nix::net::if_::if_nametoindex(device)?,
                attach_type: ATTACH_XDP,
                flags: DRIVER_MODE,
            };
            bpf::open(bpf::LINK_CREATE, &link).with_context(|| format!("attach an XDP program to {device}"))
        })
    }
}
