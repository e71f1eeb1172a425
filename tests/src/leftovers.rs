//! What an instance has left behind: after `netfast down` that must be nothing.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::libc;

use crate::disk::SOURCE;
use crate::lab::Lab;

/// `BPF_PROG_QUERY` of bpf(2).
const PROG_QUERY: libc::c_long = 16;
/// Attach types there are, and some to come.
const ATTACH_TYPES: std::ops::Range<u32> = 0..70;
/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS`.
const TCX: [u32; 2] = [46, 47];

impl Lab {
    /// Everything of netfast's that is still there, one line each: devices, mounts, files, programs, processes.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let mut left: Vec<_> =
            self.host.links()?.into_iter().filter(|l| l != "lo" && l != "uplink0").collect();
        let dir = self.dir().display().to_string();
        // Not the others, where runtimes mount what is theirs, and go on to after their last command has ended.
        let directories = ["state", "run", "bpffs"].map(|name| self.dir().join(name));
        let root = fs::File::open(self.cgroup())?;
        left.extend(self.host.run(|| {
            let mut left = Vec::new();
            let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
            let is_ours = |line: &&str| {
                let point = Path::new(line.split(' ').nth(4).unwrap_or_default());
                directories.iter().any(|directory| point.starts_with(directory)) && !line.contains(SOURCE)
            };
            left.extend(mounts.lines().filter(is_ours).map(|line| format!("mount {line}")));
            for directory in &directories {
                list(directory, &mut left)?;
            }
            let uplink = nix::net::if_::if_nametoindex("uplink0")?;
            for kind in TCX {
                if attached(uplink.cast_signed(), kind).is_ok_and(|count| count > 0) {
                    left.push(format!("a program at uplink0 (attach type {kind})"));
                }
            }
            Ok(left)
        })?);
        for kind in ATTACH_TYPES {
            if attached(root.as_raw_fd(), kind).is_ok_and(|count| count > 0) {
                left.push(format!("a program at the cgroup (attach type {kind})"));
            }
        }
        for word in ["xdp", "qdisc clsact"] {
            if self.host.ip("-d link show dev uplink0")?.contains(word) {
                left.push(format!("{word} at uplink0"));
            }
        }
        left.extend(processes(&dir)?.into_iter().map(|pid| format!("process {pid}")));
        Ok(left)
    }
}

/// Commands that netfast started: the mark in their environment names the run directory.
fn processes(dir: &str) -> Result<Vec<u32>> {
    let mark = format!("NETFAST_COMMAND={dir}/");
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids
        .filter(|pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
        })
        .collect())
}

/// The files and directories in `directory`, which need not exist.
fn list(directory: &Path, found: &mut Vec<String>) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("list {}", directory.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        found.push(path.display().to_string());
        if path.is_dir() && !path.is_symlink() {
            list(&path, found)?;
        }
    }
    Ok(())
}

/// The start of the kernel's `union bpf_attr` for a query.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: RawFd,
    attach_type: u32,
    flags: u32,
    flags_of_attachment: u32,
    program_ids: u64,
    count: u32,
    padding: u32,
    // What later kernels read.
    rest: [u64; 4],
}

/// How many programs are attached to a cgroup (by descriptor) or to a device (by index).
fn attached(target: i32, attach_type: u32) -> io::Result<u32> {
    let mut query = Query { target, attach_type, ..Query::default() };
    // SAFETY: the structure is a whole attribute of a query without room for ids, and lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(query.count)
}
