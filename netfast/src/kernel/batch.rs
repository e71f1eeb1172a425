//! Many rows of a map with one system call.
//!
//! Row by row, a row that is read takes two calls, and the walk starts over whenever a program has removed the row it
//! stands at. A batch goes by a hash's buckets: a row that stays is read exactly once (`kernel/bpf/hashtab.c`,
//! `__htab_map_lookup_and_delete_batch`; Linux 5.6 and newer, tries 5.13).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya::Pod;
use nix::libc;

use super::link;

/// Commands of `linux/bpf.h`.
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;
const BPF_MAP_DELETE_BATCH: libc::c_int = 27;

/// Rows asked for with one call. A bucket must fit in, and has a row or two.
const ROWS: usize = 4096;
/// Room for the kernel's note of how far it got: the number of a bucket, or a key.
const POSITION: usize = 128;

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

/// All rows of a map, in no order. Its keys and values are of these types.
pub(super) fn rows<K: Pod, V: Pod>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let mut all = Vec::new();
    let mut keys = vec![zero::<K>(); ROWS];
    let mut values = vec![zero::<V>(); ROWS];
    let mut position = [0_u8; POSITION];
    let mut is_first = true;
    loop {
        let start = if is_first { 0 } else { position.as_ptr() as u64 };
        let mut batch = Batch {
            start,
            next: position.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            ..empty(map, ROWS)?
        };
        let is_last = match link::bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) {
            Ok(_) => false,
            // The end of the map; rows may have come with it.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => true,
            Err(e) => return Err(e),
        };
        let count = usize::try_from(batch.count).unwrap_or(0);
        all.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if is_last {
            return Ok(all);
        }
        is_first = false;
    }
}

/// Makes or replaces rows, in their order. Where it fails, those before the one that failed are written.
pub(super) fn write<K: Pod, V: Pod>(map: BorrowedFd<'_>, rows: &[(K, V)]) -> io::Result<()> {
    let (keys, values): (Vec<K>, Vec<V>) = rows.iter().copied().unzip();
    let mut batch =
        Batch { keys: keys.as_ptr() as u64, values: values.as_ptr() as u64, ..empty(map, keys.len())? };
    link::bpf(BPF_MAP_UPDATE_BATCH, &mut batch).map(drop)
}

/// Removes rows, in their order, up to the first that is not there.
pub(super) fn remove<K: Pod>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    let mut batch = Batch { keys: keys.as_ptr() as u64, ..empty(map, keys.len())? };
    link::bpf(BPF_MAP_DELETE_BATCH, &mut batch).map(drop)
}

fn empty(map: BorrowedFd<'_>, rows: usize) -> io::Result<Batch> {
    Ok(Batch {
        start: 0,
        next: 0,
        keys: 0,
        values: 0,
        count: u32::try_from(rows).map_err(io::Error::other)?,
        map_fd: u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?,
        elem_flags: 0,
        flags: 0,
    })
}

/// A value to be written over.
fn zero<T: Pod>() -> T {
    // SAFETY: whatever its bytes are, zero too, they are a value of it (`aya::Pod`).
    unsafe { MaybeUninit::zeroed().assume_init() }
}
