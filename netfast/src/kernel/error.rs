//! Why an operation on the kernel failed.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::programs::tc::TcError;
use aya::programs::xdp::XdpError;
use netfast_common::LAYOUT_VERSION;

use super::sizes;

/// Why an operation on the kernel failed. The cause, where there is one, is the error's source and not repeated
/// in its own text.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The binary carries no eBPF object.
    #[error("this netfast was built without its eBPF programs (run `cargo xtask setup` and build again)")]
    NotBuilt,
    /// The embedded object cannot be read, which is a fault of the build.
    #[error("the embedded eBPF object is not usable: {what} (run `cargo xtask setup` and build again)")]
    BadObject {
        /// What is wrong with it.
        what: String,
    },
    /// The caller may not use eBPF.
    #[error("{operation} is not permitted (run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN)")]
    NotPermitted {
        /// What was tried.
        operation: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel has no type information.
    #[error(
        "this kernel has no BTF: /sys/kernel/btf/vmlinux is missing (use one built with CONFIG_DEBUG_INFO_BTF)"
    )]
    NoBtf {
        /// What failed for want of it.
        source: Box<EbpfError>,
    },
    /// The verifier refused a program.
    #[error("the kernel refused the program {program}: {log} (the whole log is shown with RUST_LOG=debug)")]
    Verifier {
        /// Name of the program.
        program: &'static str,
        /// Last lines of the verifier's log.
        log: String,
        /// What the system call returned.
        source: io::Error,
    },
    /// The object could not be loaded for another reason.
    #[error("cannot load the eBPF object")]
    Load {
        /// What aya said.
        source: Box<EbpfError>,
    },
    /// What is pinned is of another layout version.
    #[error(
        "{directory} was made by a netfast of layout version {found}, this one has version {LAYOUT_VERSION} (go on with the netfast that made it, or remove it with `netfast down` and run `netfast up` again)"
    )]
    OtherVersion {
        /// Directory of the pins.
        directory: PathBuf,
        /// Its version.
        found: String,
    },
    /// A size was changed while the instance is up.
    #[error(
        "limits.{limit} cannot become {wanted} while the instance is up: it was made with {pinned} (run `netfast down` first)"
    )]
    LimitChanged {
        /// Name of the limit.
        limit: &'static str,
        /// What the instance has.
        pinned: u32,
        /// The one asked for.
        wanted: u32,
    },
    /// A pinned map is not what this netfast would make.
    #[error(
        "the pinned map {map} in {directory} has {field} {pinned}, this netfast's has {wanted}, though both say layout version {LAYOUT_VERSION} (go on with the netfast that made it, or remove it with `netfast down` and run `netfast up` again)"
    )]
    MapMismatch {
        /// Name of the map.
        map: &'static str,
        /// Directory of the pins.
        directory: PathBuf,
        /// Which property differs.
        field: &'static str,
        /// The pinned map's.
        pinned: u32,
        /// The one asked for.
        wanted: u32,
    },
    /// Maps are not pinned any more.
    #[error("{directory} lacks the map {missing} (the next change repairs that: try `netfast up`)")]
    Incomplete {
        /// Directory of the pins.
        directory: PathBuf,
        /// The first map that is missing.
        missing: &'static str,
    },
    /// A file operation failed.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// An operation on a map failed.
    #[error("cannot {operation} the map {map}")]
    Map {
        /// What was tried.
        operation: &'static str,
        /// Name of the map.
        map: &'static str,
        /// What aya said.
        source: Box<MapError>,
    },
    /// A map has no room for another row.
    #[error("the map {map} is full: it holds {max_entries} rows{}", advice(.map))]
    MapFull {
        /// Name of the map.
        map: &'static str,
        /// Its size.
        max_entries: u32,
    },
    /// An operation on a program failed.
    #[error("cannot {operation} the program {program}")]
    Program {
        /// What was tried.
        operation: &'static str,
        /// Name of the program.
        program: &'static str,
        /// What aya said.
        source: Box<ProgramError>,
    },
    /// A program could not be attached or detached.
    #[error("cannot {operation} {program} at {target}")]
    Attach {
        /// What was tried.
        operation: &'static str,
        /// Name of the program.
        program: &'static str,
        /// The device or cgroup.
        target: String,
        /// What aya said.
        source: Box<ProgramError>,
    },
    /// A cgroup has no room for another program.
    #[error(
        "{cgroup} already has 64 programs of the kind of {program}, as many as the kernel allows (remove other instances, or name another cgroup with --cgroup)"
    )]
    CgroupFull {
        /// The cgroup.
        cgroup: PathBuf,
        /// Name of the program.
        program: &'static str,
    },
    /// A device does not exist in the current network namespace.
    #[error("there is no device {device} in this network namespace")]
    NoDevice {
        /// Its name or index.
        device: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The device was replaced by another one in the meantime.
    #[error("the device {device} changed while {program} was being attached (try again)")]
    DeviceChanged {
        /// Its name.
        device: String,
        /// Name of the program.
        program: &'static str,
    },
    /// No cgroup2 is mounted.
    #[error("no cgroup2 file system is mounted (mount one, or name a cgroup with --cgroup)")]
    NoCgroup2,
    /// A netlink request failed.
    #[error("cannot {operation} at the device with index {ifindex}")]
    Netlink {
        /// What was tried.
        operation: &'static str,
        /// Index of the device.
        ifindex: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

fn advice(map: &str) -> String {
    let limit = sizes::limit_of(map);
    limit.map_or_else(String::new, |limit| {
        format!(" (raise limits.{limit} in netfast.yaml, which takes a `netfast down` first)")
    })
}

impl KernelError {
    pub(super) fn file(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { operation, path: path.into(), source }
    }

    pub(super) fn map(operation: &'static str, map: &'static str, source: MapError) -> Self {
        Self::Map { operation, map, source: Box::new(source) }
    }

    pub(super) fn program(operation: &'static str, program: &'static str, source: ProgramError) -> Self {
        Self::Program { operation, program, source: Box::new(source) }
    }

    pub(super) fn attach(
        operation: &'static str,
        program: &'static str,
        target: impl Into<String>,
        source: ProgramError,
    ) -> Self {
        Self::Attach { operation, program, target: target.into(), source: Box::new(source) }
    }
}

/// The number of the system error at the bottom of `error`, if there is one.
pub(super) fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(e) => e.io_error.raw_os_error(),
        ProgramError::TcError(e) => tc_errno(e),
        ProgramError::NetlinkError(e) | ProgramError::XdpError(XdpError::NetlinkError(e)) => e.raw_os_error(),
        ProgramError::IOError(e) | ProgramError::LoadError { io_error: e, .. } => e.raw_os_error(),
        ProgramError::MapError(e) => map_errno(e),
        _ => None,
    }
}

/// As [`errno`], of an error of the traffic control calls.
fn tc_errno(error: &TcError) -> Option<i32> {
    match error {
        TcError::NetlinkError(e) => e.raw_os_error(),
        TcError::IoError(e) => e.raw_os_error(),
        _ => None,
    }
}

/// As [`errno`], of an error of a map.
pub(super) fn map_errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::IoError(e) | MapError::CreateError { io_error: e, .. } => e.raw_os_error(),
        MapError::SyscallError(e) | MapError::PinError { error: PinError::SyscallError(e), .. } => {
            e.io_error.raw_os_error()
        }
        _ => None,
    }
}
