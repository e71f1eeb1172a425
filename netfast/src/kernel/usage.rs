//! How full the maps are, and what they cost.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aya::maps::{MapData, MapInfo, MapType};
use nix::libc;

use super::link::bpf;
use super::load::Datapath;
use super::object::MAPS;
use super::{KernelError, Result, sizes};

const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
/// Rows asked for at a time.
const BATCH: u32 = 1024;
/// Room for the kernel's note of how far it got: a number, or a key.
const TOKEN: usize = 128;

/// How full a map is, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapUsage {
    /// Name of the map.
    pub name: &'static str,
    /// The limit that is its size, where it can be set.
    pub limit: Option<&'static str>,
    /// Rows it may hold.
    pub size: u32,
    /// Rows it holds; `None` of an array, whose rows are always there.
    pub used: Option<u32>,
    /// Kernel memory in bytes, as the kernel accounts for it.
    pub bytes: u64,
}

/// The part of `union bpf_attr` that [`BPF_MAP_LOOKUP_BATCH`] reads.
#[repr(C)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    fd: u32,
    element_flags: u64,
    flags: u64,
}

impl Datapath {
    /// How full the pinned maps are, and what they cost.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn usage(&self) -> Result<Vec<MapUsage>> {
        MAPS.iter().map(|name| self.usage_of(name)).collect()
    }

    fn usage_of(&self, name: &'static str) -> Result<MapUsage> {
        let failed = |e| KernelError::map("look at", name, e);
        let path = self.pins.maps().join(name);
        let map = MapData::from_pin(&path).map_err(failed)?;
        let info = map.info().map_err(failed)?;
        let fd = map.fd().as_fd();
        let bytes = memory(fd).map_err(|e| KernelError::file("ask for the memory of", &path, e))?;
        let used = count(fd, &info).map_err(|e| KernelError::file("count the rows of", &path, e))?;
        Ok(MapUsage { name, limit: sizes::limit_of(name), size: info.max_entries(), used, bytes })
    }
}

fn memory(map: BorrowedFd<'_>) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", map.as_raw_fd()))?;
    let value = text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok());
    value.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Counts rows by bucket, so that a row removed meanwhile does not start it over.
fn count(map: BorrowedFd<'_>, info: &MapInfo) -> io::Result<Option<u32>> {
    let size = |bytes: u32| usize::try_from(bytes).map_err(io::Error::other);
    let value = match info.map_type() {
        Ok(MapType::Hash | MapType::LruHash | MapType::LpmTrie) => size(info.value_size())?,
        Ok(MapType::PerCpuHash | MapType::LruPerCpuHash) => {
            size(info.value_size())?.next_multiple_of(8) * aya::util::nr_cpus().map_err(|(_, e)| e)?
        }
        _ => return Ok(None),
    };
    let key = size(info.key_size())?;
    let fd = u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?;
    let (mut token, mut next) = ([0_u8; TOKEN], [0_u8; TOKEN]);
    let (mut total, mut batch, mut is_first) = (0, BATCH, true);
    loop {
        let rows = size(batch)?;
        let (mut keys, mut values) = (vec![0_u8; rows * key], vec![0_u8; rows * value]);
        let mut attr = Batch {
            from: if is_first { 0 } else { token.as_mut_ptr() as u64 },
            to: next.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: batch,
            fd,
            element_flags: 0,
            flags: 0,
        };
        match bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) {
            Ok(_) => {
                total += attr.count;
                (token, is_first) = (next, false);
            }
            // The end.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(Some(total + attr.count)),
            // A bucket holds more.
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && batch < info.max_entries() => batch *= 2,
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use netfast_common::addr::Addr;
    use netfast_common::maps;
    use netfast_common::rows::AddressRow;

    use super::super::Prefix;
    use super::super::testing::loaded;
    use super::*;
    use crate::model::{LIMITS, Limits};

    fn of(datapath: &Datapath, name: &str) -> MapUsage {
        datapath.usage().unwrap().into_iter().find(|map| map.name == name).unwrap()
    }

    #[test]
    fn rows_are_counted() {
        loaded(|_, mut datapath| {
            let rows = 3 * BATCH + 7;
            for (index, rows) in [0, 1, rows].into_iter().enumerate() {
                for i in 0..rows {
                    let addr = Addr::from_v4((0x0a00_0000 | i).to_be_bytes());
                    datapath.maps.addresses.insert(addr, AddressRow::default()).unwrap();
                    datapath.maps.denied.insert(&Prefix { key: addr, bits: 128 }, 1).unwrap();
                }
                for name in [maps::ADDRESS, maps::DENY] {
                    assert_eq!(of(&datapath, name).used, Some(rows), "{name}, {index}");
                }
            }
            assert_eq!(of(&datapath, maps::ENDPOINT_DROP).used, Some(0));
            assert_eq!(of(&datapath, maps::CONFIG).used, None);
        });
    }

    #[test]
    fn a_default_instance_stays_below_64_mib() {
        loaded(|_, datapath| {
            let usage = datapath.usage().unwrap();
            let flows = of(&datapath, maps::FLOW);
            assert_eq!((flows.limit, flows.size), (Some("flows"), maps::MAX_FLOWS));
            assert!(flows.bytes > u64::from(maps::MAX_FLOWS) * 100, "{flows:?}");
            let total: u64 = usage.iter().map(|map| map.bytes).sum();
            assert!(total < 64 << 20, "{total}: {usage:#?}");
        });
    }

    #[test]
    fn limits_decide_about_memory() {
        loaded(|bpffs, datapath| {
            let total =
                |datapath: &Datapath| datapath.usage().unwrap().iter().map(|map| map.bytes).sum::<u64>();
            let before = total(&datapath);
            // Kernels count the rows of a table otherwise, so what they come to is told by what they came to before.
            let most_flows = before / 10 * 36..400 << 20;
            for (is_smallest, expected) in [(true, 0..6 << 20), (false, most_flows)] {
                let mut limits = Limits { flows: 1 << 20, ..Limits::default() };
                for limit in LIMITS.iter().filter(|_| is_smallest) {
                    *(limit.field)(&mut limits) = limit.least;
                }
                Datapath::remove(bpffs).unwrap();
                let bytes = total(&Datapath::open_or_load(bpffs, &limits).unwrap());
                eprintln!("{before} bytes by default, {bytes} with {limits:?}");
                assert!(expected.contains(&bytes), "{bytes} with {limits:?}");
            }
        });
    }
}
