//! What only a trial tells: netfast's own programs are loaded and attached to devices, in a sandbox.

use std::path::Path;

use super::Check;
use super::features::told;
use crate::kernel::{Bpffs, Datapath, Hook, KernelError, Kind, Mode, XdpMode, XdpOutcome};
use crate::model::Limits;
use crate::net::{BridgeSpec, Netlink, Netns, VethSpec, defragment, in_sandbox};

/// Maps of a trial hold next to nothing.
const LIMITS: Limits = Limits {
    endpoints: 1,
    addresses: 1,
    cidrs: 1,
    rules: 1,
    flows: 1,
    new_flows: 1,
    fragments: 1,
    published: 1,
    sources: 1,
    uplinks: 1,
    denied: 1,
    sockets: 1,
};

/// The host's end of the sandbox's veth pair.
const VETH: &str = "nfd1";

pub(super) fn run() -> Vec<Check> {
    in_sandbox(all).unwrap_or_else(|error| {
        vec![Check::missing("namespaces", format!("{}: netfast isolates with them", told(&error))).needed()]
    })
}

fn all(directory: &Path) -> Vec<Check> {
    let (mut checks, has_devices) = devices();
    checks.push(defrag());
    let bpffs = match Bpffs::ensure(directory.join("bpf")) {
        Ok(bpffs) => bpffs,
        Err(error) => {
            checks.push(Check::missing("bpffs", told(&error)).needed());
            return checks;
        }
    };
    checks.push(Check::ok("bpffs", "the BPF file system can be mounted").needed());
    match Datapath::open_or_load(&bpffs, &LIMITS) {
        Ok(datapath) => {
            checks.push(Check::ok("programs", "the kernel takes every one of them").needed());
            if has_devices {
                checks.extend(hooks(&datapath));
            }
        }
        // That has its own line.
        Err(KernelError::NotBuilt) => {}
        Err(error) => checks.push(Check::missing("programs", told(&error)).needed()),
    }
    checks
}

/// Whether the kernel puts fragments in order.
fn defrag() -> Check {
    match Netns::current().and_then(|netns| defragment(&netns)) {
        Ok(()) => Check::ok("defrag", "the kernel puts fragments in order"),
        Err(error) => Check::missing(
            "defrag",
            format!(
                "{}; fragments that overtake the first one of their packet are dropped (try `modprobe nf_tables nft_ct`)",
                told(&error)
            ),
        ),
    }
}

/// Makes a bridge and a veth pair. Says whether both are there.
fn devices() -> (Vec<Check>, bool) {
    let made = |name: &'static str, result: Result<(), crate::net::Error>| match result {
        Ok(()) => Check::ok(name, "can be made").needed(),
        Err(error) => Check::missing(name, format!("{} (try `modprobe {name}`)", told(&error))).needed(),
    };
    let opened = Netns::current().and_then(|netns| Ok((Netlink::open(&netns)?, netns)));
    let (netlink, netns) = match opened {
        Ok(opened) => opened,
        Err(error) => return (vec![made("bridge", Err(error))], false),
    };
    let bridge = netlink.create_bridge(&BridgeSpec {
        name: "nfd0".to_owned(),
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        addresses: Vec::new(),
        alias: "netfast doctor".to_owned(),
    });
    let bridge = match bridge {
        Ok(bridge) => bridge,
        Err(error) => return (vec![made("bridge", Err(error))], false),
    };
    let veth = netlink.create_veth(&VethSpec {
        host_name: VETH,
        host_mac: None,
        bridge: Some(bridge),
        alias: "netfast doctor",
        container_netns: &netns,
        container_name: "nfd2",
        container_mac: [2, 0, 0, 0, 0, 2],
        mtu: 1500,
    });
    let has_both = veth.is_ok();
    (vec![made("bridge", Ok(())), made("veth", veth.map(drop))], has_both)
}

fn hooks(datapath: &Datapath) -> Vec<Check> {
    let attach = |mode| datapath.attach(Hook::EndpointIngress, VETH, mode);
    let tcx = match attach(Mode::Auto) {
        Ok(kind) => Check::whether(
            kind == Kind::Tcx,
            "tcx",
            "programs are attached by links",
            "netfast attaches clsact filters instead, which other tools can remove unnoticed",
        ),
        Err(error) => Check::missing("tcx", told(&error)),
    };
    let has_tcx = tcx.state == super::State::Ok;
    let clsact = match attach(Mode::Clsact) {
        Ok(_) => Check::ok("clsact", "filters can be attached"),
        Err(error) => {
            Check::missing("clsact", format!("{} (try `modprobe sch_ingress cls_bpf`)", told(&error)))
        }
    };
    // One of the two it takes.
    let clsact = if has_tcx { clsact } else { clsact.needed() };
    let slow = "the deny list is asked after the stack has seen the packet, which costs more";
    let xdp = match datapath.attach_deny(VETH) {
        Ok(outcome) => Check::whether(
            outcome == XdpOutcome::Attached(XdpMode::Driver),
            "xdp",
            "veth runs XDP in the driver (an uplink's driver may differ)",
            slow,
        ),
        Err(error) => Check::missing("xdp", format!("{}; {slow}", told(&error))),
    };
    vec![tcx.since("6.6"), clsact.since("4.5"), xdp.since("4.19")]
}
