//! A pinned map that is opened when it is first used: most commands use a few of them, and opening all takes longer than that.

use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aya::maps::{Map, MapData, MapError};

use super::table::About;
use super::{KernelError, Result};

/// A map by the name of its pin.
pub(super) struct PinnedMap<M> {
    directory: Arc<Path>,
    name: &'static str,
    opened: OnceLock<Opened<M>>,
}

/// A map that is open.
pub(super) struct Opened<M> {
    pub(super) map: M,
    pub(super) about: About,
    /// aya's maps keep theirs to themselves.
    pub(super) fd: OwnedFd,
}

impl<M: TryFrom<Map, Error = MapError>> PinnedMap<M> {
    /// The map that is pinned in `directory` under that name.
    pub(super) fn new(directory: &Arc<Path>, name: &'static str) -> Self {
        Self { directory: Arc::clone(directory), name, opened: OnceLock::new() }
    }

    /// The map, to be read.
    pub(super) fn get(&self) -> Result<&Opened<M>> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = self.open()?;
        Ok(self.opened.get_or_init(|| opened))
    }

    /// The map, to be written.
    pub(super) fn get_mut(&mut self) -> Result<&mut Opened<M>> {
        self.get()?;
        let Self { opened, name, .. } = self;
        // It has just been opened.
        opened.get_mut().ok_or_else(|| failed(name, MapError::KeyNotFound))
    }

    fn open(&self) -> Result<Opened<M>> {
        let failed = |e| failed(self.name, e);
        let data = MapData::from_pin(self.directory.join(self.name)).map_err(failed)?;
        let max_entries = data.info().map_err(failed)?.max_entries();
        let fd = data.fd().as_fd().try_clone_to_owned().map_err(|e| failed(MapError::IoError(e)))?;
        let map = Map::from_map_data(data).and_then(M::try_from).map_err(failed)?;
        Ok(Opened { map, about: About { name: self.name, max_entries }, fd })
    }
}

fn failed(name: &'static str, error: MapError) -> KernelError {
    KernelError::map("open", name, error)
}

impl<M> fmt::Debug for PinnedMap<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
