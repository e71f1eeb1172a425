//! Finds maps whose pins somebody removed, through the programs that still use them.

use std::collections::BTreeSet;

use aya::maps::{MapData, MapInfo};
use aya::programs::{ProgramInfo, loaded_programs};

use super::bpffs::{Pins, list};
use super::object::MAPS;
use super::{KernelError, Result, link};
use crate::store::fault;

/// Pins again what pins are missing of maps that a program uses: one that is pinned, or in a link that is. Returns the
/// maps that could not be found.
pub(super) fn maps(pins: &Pins) -> Result<Vec<&'static str>> {
    let mut missing = missing(pins)?;
    if missing.is_empty() {
        return Ok(missing);
    }
    for id in map_ids(pins)? {
        // Gone in the meantime, with the last program that used it.
        let Ok(info) = MapInfo::from_id(id) else { continue };
        let Some(at) = missing.iter().position(|name| info.name() == name.as_bytes()) else { continue };
        let Ok(map) = MapData::from_id(id) else { continue };
        let name = missing.swap_remove(at);
        fault::point("pin a map again");
        map.pin(pins.maps().join(name)).map_err(|e| {
            KernelError::file("pin a map at", pins.maps().join(name), std::io::Error::other(e))
        })?;
        tracing::warn!(map = name, "a map's pin was missing: the map was found and pinned again");
    }
    Ok(missing)
}

/// The maps that are not pinned.
pub(super) fn missing(pins: &Pins) -> Result<Vec<&'static str>> {
    let there = list(&pins.maps())?;
    Ok(MAPS.iter().copied().filter(|name| !there.iter().any(|other| other == name)).collect())
}

/// The maps of all programs of these pins.
fn map_ids(pins: &Pins) -> Result<BTreeSet<u32>> {
    let mut maps = BTreeSet::new();
    let mut collect = |program: &ProgramInfo| {
        maps.extend(program.map_ids().ok().flatten().unwrap_or_default());
    };
    for digest in pins.digests()? {
        let directory = pins.programs_of(&digest);
        for name in list(&directory)? {
            if let Ok(program) = ProgramInfo::from_pin(directory.join(name)) {
                collect(&program);
            }
        }
    }
    let mut linked = BTreeSet::new();
    for name in list(&pins.links())? {
        let path = pins.links().join(&name);
        // What stands for a clsact filter is its program.
        if name.contains("-clsact") {
            if let Ok(program) = ProgramInfo::from_pin(path) {
                collect(&program);
            }
        } else if let Ok(Some(state)) = link::pinned(&path) {
            linked.insert(state.program_id);
        }
    }
    if !linked.is_empty() {
        for program in loaded_programs().flatten().filter(|program| linked.contains(&program.id())) {
            collect(&program);
        }
    }
    Ok(maps)
}
