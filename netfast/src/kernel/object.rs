//! The embedded eBPF object: what it must hold, and what its maps look like.

use std::collections::HashMap;

use aya::include_bytes_aligned;
use netfast_common::maps;

use super::{KernelError, Result};

/// The object as the build script left it; empty where the eBPF toolchain was missing.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/netfast-ebpf.o"));

/// Every map that is pinned. The programs' working memory is not: each set of programs has its own.
pub(super) const MAPS: &[&str] = &[
    maps::CONFIG,
    maps::ENDPOINT,
    maps::ADDRESS,
    maps::SLOT,
    maps::CIDR,
    maps::RULE,
    maps::FLOW,
    maps::NURSERY,
    maps::FRAGMENT,
    maps::DIVERTED,
    maps::PUBLISH[0],
    maps::PUBLISH[1],
    maps::SOURCE,
    maps::UPLINK,
    maps::DENY,
    maps::COUNTER,
    maps::ENDPOINT_DROP,
    maps::RULE_HIT,
    maps::SOCKET,
    maps::READERS,
    maps::EVENT,
    maps::RINGS[0],
    maps::RINGS[1],
    maps::RINGS[2],
    maps::RINGS[3],
];

/// The programs of the devices.
pub(super) const TC_PROGRAMS: [&str; 5] =
    ["from_endpoint", "to_endpoint", "from_uplink", "from_defrag", "to_network"];
/// The program of the uplinks' XDP slot.
pub(super) const XDP_PROGRAM: &str = "deny_xdp";
/// The programs of the host's sockets.
pub(super) const SOCKET_PROGRAMS: [&str; 10] = [
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
    "post_bind4",
    "post_bind6",
];
/// Those of them that look at what has been bound.
pub(super) const BIND_PROGRAMS: [&str; 2] = ["post_bind4", "post_bind6"];
/// The global by which the loader tells programs of sockets that they may choose the errno.
pub(super) const ERRNO: &str = "NF_ERRNO";

/// Every program that is pinned.
pub(super) fn programs() -> impl DoubleEndedIterator<Item = &'static str> {
    TC_PROGRAMS.into_iter().chain([XDP_PROGRAM]).chain(SOCKET_PROGRAMS)
}

/// The type of a program, as the kernel's headers call it.
pub(super) fn kind(name: &str) -> &'static str {
    match name {
        XDP_PROGRAM => "xdp",
        name if BIND_PROGRAMS.contains(&name) => "cgroup_sock",
        name if SOCKET_PROGRAMS.contains(&name) => "cgroup_sock_addr",
        _ => "sched_cls",
    }
}

/// What a map looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) kind: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
}

/// Tells one object from another; the build script has it from the object's bytes.
pub(super) const fn digest() -> &'static str {
    env!("NETFAST_OBJECT_DIGEST")
}

/// The object's bytes.
pub(super) fn bytes() -> Result<&'static [u8]> {
    if OBJECT.is_empty() { Err(KernelError::NotBuilt) } else { Ok(OBJECT) }
}

/// The shapes of the object's maps, having checked that it holds every map and program of the contract.
pub(super) fn shapes() -> Result<HashMap<&'static str, Shape>> {
    let bad = |what: String| KernelError::BadObject { what };
    let object = aya_obj::Object::parse(bytes()?).map_err(|e| bad(e.to_string()))?;
    if let Some(missing) = programs().find(|name| !object.programs.contains_key(*name)) {
        return Err(bad(format!("it has no program {missing}")));
    }
    let shape = |name: &'static str| {
        let map = object.maps.get(name).ok_or_else(|| bad(format!("it has no map {name}")))?;
        let shape = Shape {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            flags: map.map_flags(),
        };
        Ok((name, shape))
    };
    MAPS.iter().copied().map(shape).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// aya-obj 0.3 knows the functions it has linked by their address within a section, whichever section that is: with two of
    /// them, a call may end up in another function. `#[cold]` makes a second one; `core::hint::cold_path` does not.
    #[test]
    fn functions_stand_in_one_section() {
        let object = aya_obj::Object::parse(bytes().unwrap()).unwrap();
        let programs: BTreeSet<_> = object.programs.values().map(|program| program.section_index).collect();
        let sections: BTreeSet<_> =
            object.functions.keys().map(|(section, _)| section).filter(|s| !programs.contains(s)).collect();
        assert_eq!(sections.len(), 1, "{sections:?}");
    }
}
