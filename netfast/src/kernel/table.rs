//! Typed access to maps, one wrapper for each kind.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd as _;

use aya::Pod;
use aya::maps::lpm_trie::Key;
use aya::maps::{self, MapData, MapError, PerCpuValues};
use netfast_common::counter::Count;
use nix::libc;

use super::error::map_errno;
use super::pinned_map::{Opened, PinnedMap};
use super::{KernelError, Result, batch};

/// A map's name and size, for what is said of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) max_entries: u32,
}

impl About {
    fn failed(self, operation: &'static str, source: MapError) -> KernelError {
        // A full hash says E2BIG, a full trie ENOSPC; a hash whose per-CPU caches hold the last free elements
        // says ENOMEM on some kernels, which is left as it is.
        if let MapError::OutOfBounds { .. } = source {
            // An array is full when an index is asked for that it does not have.
            return KernelError::MapFull { map: self.name, max_entries: self.max_entries };
        }
        match map_errno(&source) {
            Some(libc::E2BIG | libc::ENOSPC) => {
                KernelError::MapFull { map: self.name, max_entries: self.max_entries }
            }
            _ => KernelError::map(operation, self.name, source),
        }
    }

    fn did<T>(self, operation: &'static str, result: io::Result<T>) -> Result<T> {
        result.map_err(|e| self.failed(operation, MapError::IoError(e)))
    }

    fn removed(self, result: Result<(), MapError>) -> Result<bool> {
        match result {
            Ok(()) => Ok(true),
            Err(e) if is_absent(&e) => Ok(false),
            Err(e) => Err(self.failed("remove from", e)),
        }
    }

    fn got<T>(self, result: Result<T, MapError>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(self.failed("read", e)),
        }
    }

    /// Collects what an iteration yields. A walk through a map that programs write at the same time starts over
    /// when its current key is removed, without end in the worst case: it is cut at twice the size.
    fn collect<T>(self, rows: impl Iterator<Item = Result<T, MapError>>) -> Result<Vec<T>> {
        let limit = usize::try_from(self.max_entries).unwrap_or(usize::MAX).saturating_mul(2);
        rows.take(limit).map(|row| row.map_err(|e| self.failed("list", e))).collect()
    }
}

/// aya's maps have no `Debug` of their own; a map's rows would be too much anyway.
macro_rules! debug {
    ($($wrapper:ident $(<$($parameter:ident),+>)?),+) => {$(
        impl$(<$($parameter: Pod),+>)? fmt::Debug for $wrapper$(<$($parameter),+>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

debug!(Table<K, V>, Trie<K, V>, Array<V>, CounterArray, CounterTable<K>);

fn is_absent(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound | MapError::ElementNotFound)
        || map_errno(error) == Some(libc::ENOENT)
}

/// A hash, LRU or not.
pub struct Table<K: Pod, V: Pod>(pub(super) PinnedMap<maps::HashMap<MapData, K, V>>);

impl<K: Pod, V: Pod> Table<K, V> {
    /// The value under `key`.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        let Opened { map, about, .. } = self.0.get()?;
        about.got(map.get(key, 0))
    }

    /// Makes or replaces a row.
    pub fn insert(&mut self, key: impl Borrow<K>, value: impl Borrow<V>) -> Result<()> {
        let Opened { map, about, .. } = self.0.get_mut()?;
        map.insert(key, value, 0).map_err(|e| about.failed("write", e))
    }

    /// Removes a row and says whether it was there.
    pub fn remove(&mut self, key: &K) -> Result<bool> {
        let Opened { map, about, .. } = self.0.get_mut()?;
        about.removed(map.remove(key))
    }

    /// All rows in no order. Where programs write at the same time, a row that comes or goes may be there or not.
    pub fn rows(&self) -> Result<Vec<(K, V)>> {
        let Opened { about, fd, .. } = self.0.get()?;
        about.did("list", batch::rows(fd.as_fd()))
    }

    /// All rows by key.
    pub fn to_map(&self) -> Result<BTreeMap<K, V>>
    where
        K: Ord,
    {
        Ok(self.rows()?.into_iter().collect())
    }

    /// Removes all rows.
    pub fn clear(&mut self) -> Result<()> {
        self.rows()?.iter().try_for_each(|(key, _)| self.remove(key).map(drop))
    }

    /// Most rows it may hold; of an LRU map, after which the oldest give way.
    pub fn max_entries(&self) -> Result<u32> {
        Ok(self.0.get()?.about.max_entries)
    }
}

/// The first bits of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix<K> {
    /// The key; its bits after the first `bits` are zero.
    pub key: K,
    /// How many bits count.
    pub bits: u32,
}

impl<K: Pod> Prefix<K> {
    fn as_key(&self) -> Key<K> {
        Key::new(self.bits, self.key)
    }
}

/// A longest-prefix trie.
pub struct Trie<K: Pod, V: Pod>(pub(super) PinnedMap<maps::lpm_trie::LpmTrie<MapData, K, V>>);

impl<K: Pod, V: Pod> Trie<K, V> {
    /// The value of the longest prefix that holds `prefix`.
    pub fn lookup(&self, prefix: &Prefix<K>) -> Result<Option<V>> {
        let Opened { map, about, .. } = self.0.get()?;
        about.got(map.get(&prefix.as_key(), 0))
    }

    /// Makes or replaces a row.
    pub fn insert(&mut self, prefix: &Prefix<K>, value: impl Borrow<V>) -> Result<()> {
        let Opened { map, about, .. } = self.0.get_mut()?;
        map.insert(&prefix.as_key(), value, 0).map_err(|e| about.failed("write", e))
    }

    /// Removes the row of exactly this prefix and says whether it was there.
    pub fn remove(&mut self, prefix: &Prefix<K>) -> Result<bool> {
        let Opened { map, about, .. } = self.0.get_mut()?;
        about.removed(map.remove(&prefix.as_key()))
    }

    /// All rows by prefix.
    pub fn to_map(&self) -> Result<BTreeMap<Prefix<K>, V>>
    where
        K: Ord,
    {
        let Opened { about, fd, .. } = self.0.get()?;
        let rows = about.did("list", batch::rows::<Key<K>, V>(fd.as_fd()))?;
        Ok(rows.into_iter().map(|(key, v)| (Prefix { key: key.data(), bits: key.prefix_len() }, v)).collect())
    }

    /// Makes or replaces many rows. Where it fails, some of them are written.
    pub fn insert_all(&mut self, rows: &[(Prefix<K>, V)]) -> Result<()> {
        let rows: Vec<_> = rows.iter().map(|(prefix, value)| (prefix.as_key(), *value)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let Opened { about, fd, .. } = self.0.get()?;
        about.did("write", batch::write(fd.as_fd(), &rows))
    }

    /// Removes many rows, where they are there.
    pub fn remove_all(&mut self, prefixes: &[Prefix<K>]) -> Result<()> {
        let keys: Vec<_> = prefixes.iter().map(Prefix::as_key).collect();
        if keys.is_empty() || batch::remove(self.0.get()?.fd.as_fd(), &keys).is_ok() {
            return Ok(());
        }
        // One is not there, and the rest still is.
        prefixes.iter().try_for_each(|prefix| self.remove(prefix).map(drop))
    }

    /// Removes all rows.
    pub fn clear(&mut self) -> Result<()>
    where
        K: Ord,
    {
        self.to_map()?.keys().try_for_each(|prefix| self.remove(prefix).map(drop))
    }

    /// Most rows it may hold.
    pub fn max_entries(&self) -> Result<u32> {
        Ok(self.0.get()?.about.max_entries)
    }
}

/// An array. Its rows are always there; unwritten ones are zero.
pub struct Array<V: Pod>(pub(super) PinnedMap<maps::Array<MapData, V>>);

impl<V: Pod> Array<V> {
    /// The value at `index`.
    pub fn get(&self, index: u32) -> Result<V> {
        let Opened { map, about, .. } = self.0.get()?;
        map.get(&index, 0).map_err(|e| about.failed("read", e))
    }

    /// All values, by index.
    pub fn all(&self) -> Result<Vec<V>> {
        let Opened { about, fd, .. } = self.0.get()?;
        let mut rows = about.did("list", batch::rows::<u32, V>(fd.as_fd()))?;
        rows.sort_unstable_by_key(|(index, _)| *index);
        Ok(rows.into_iter().map(|(_, value)| value).collect())
    }

    /// Replaces the value at `index`.
    pub fn set(&mut self, index: u32, value: impl Borrow<V>) -> Result<()> {
        let Opened { map, about, .. } = self.0.get_mut()?;
        map.set(index, value, 0).map_err(|e| about.failed("write", e))
    }

    /// How many rows it has.
    pub fn max_entries(&self) -> Result<u32> {
        Ok(self.0.get()?.about.max_entries)
    }
}

/// Counters by index, each with a value on every CPU.
pub struct CounterArray(pub(super) PinnedMap<maps::PerCpuArray<MapData, Count>>);

impl CounterArray {
    /// A counter, summed over the CPUs.
    pub fn get(&self, index: u32) -> Result<Count> {
        let Opened { map, about, .. } = self.0.get()?;
        let values = map.get(&index, 0).map_err(|e| about.failed("read", e))?;
        Ok(sum(&values))
    }

    /// Adds packets to a counter that no program writes. The caller holds the instance's lock.
    pub fn add(&mut self, index: u32, packets: u64) -> Result<()> {
        let Opened { map, about, .. } = self.0.get_mut()?;
        let mut values = map.get(&index, 0).map_err(|e| about.failed("read", e))?.to_vec();
        if let Some(first) = values.first_mut() {
            first.packets = first.packets.wrapping_add(packets);
        }
        let values =
            PerCpuValues::try_from(values).map_err(|e| about.failed("write", MapError::IoError(e)))?;
        map.set(index, values, 0).map_err(|e| about.failed("write", e))
    }

    /// All counters in the order of their indices, summed over the CPUs.
    pub fn all(&self) -> Result<Vec<Count>> {
        (0..self.0.get()?.about.max_entries).map(|index| self.get(index)).collect()
    }
}

/// Counters by key, each with a value on every CPU.
pub struct CounterTable<K: Pod>(pub(super) PinnedMap<maps::PerCpuHashMap<MapData, K, Count>>);

impl<K: Pod + Ord> CounterTable<K> {
    /// A counter, summed over the CPUs; zero where it was never counted.
    pub fn get(&self, key: &K) -> Result<Count> {
        let Opened { map, about, .. } = self.0.get()?;
        let values = about.got(map.get(key, 0))?;
        Ok(values.map_or_else(Count::default, |values| sum(&values)))
    }

    /// All counters by key, summed over the CPUs.
    pub fn to_map(&self) -> Result<BTreeMap<K, Count>> {
        let Opened { map, about, .. } = self.0.get()?;
        let rows = about.collect(map.iter())?;
        Ok(rows.into_iter().map(|(key, values)| (key, sum(&values))).collect())
    }

    /// Removes a counter and says whether it was there.
    pub fn remove(&mut self, key: &K) -> Result<bool> {
        let Opened { map, about, .. } = self.0.get_mut()?;
        about.removed(map.remove(key))
    }
}

fn sum(values: &[Count]) -> Count {
    values.iter().fold(Count::default(), |sum, value| Count {
        packets: sum.packets.wrapping_add(value.packets),
        bytes: sum.bytes.wrapping_add(value.bytes),
    })
}
