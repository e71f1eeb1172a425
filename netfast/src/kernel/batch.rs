//! Reading whole hashes, many rows with one system call.
//!
//! Row by row, each takes two calls, and the walk starts over whenever a program has removed the row it stands at. A
//! batch goes by the hash's buckets: a row that stays is read exactly once (`kernel/bpf/hashtab.c`,
//! `__htab_map_lookup_and_delete_batch`; Linux 5.6 and newer).

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use aya::Pod;
use nix::libc;

use super::link;

/// `BPF_MAP_LOOKUP_BATCH` of `linux/bpf.h`.
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;

/// Rows asked for with one call. A bucket must fit in, and has a row or two.
const ROWS: usize = 4096;

/// The part of `union bpf_attr` for batches.
#[repr(C)]
struct Batch {
    start: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// All rows of the hash that is pinned at `path`, in no order. Its keys and values are of these types.
pub(super) fn rows<K: Pod + Default, V: Pod + Default>(path: &Path) -> io::Result<Vec<(K, V)>> {
    let map = link::get(path)?;
    let mut all = Vec::new();
    let mut keys = vec![K::default(); ROWS];
    let mut values = vec![V::default(); ROWS];
    // Where the next batch begins: the number of a bucket.
    let mut position = 0_u32;
    let mut is_first = true;
    loop {
        let start = if is_first { 0 } else { (&raw const position) as u64 };
        let (count, is_last) = read(&map, start, &mut position, &mut keys, &mut values)?;
        all.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if is_last {
            return Ok(all);
        }
        is_first = false;
    }
}

/// Reads a batch; returns how many rows it has, and whether it was the last one.
fn read<K, V>(
    map: &OwnedFd,
    start: u64,
    position: &mut u32,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, bool)> {
    let mut batch = Batch {
        start,
        next: (&raw mut *position) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(keys.len().min(values.len())).unwrap_or(u32::MAX),
        map_fd: u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?,
        elem_flags: 0,
        flags: 0,
    };
    let is_last = match link::bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) {
        Ok(_) => false,
        // The end of the table; rows may have come with it.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => true,
        Err(e) => return Err(e),
    };
    Ok((usize::try_from(batch.count).unwrap_or(0), is_last))
}
