//! Loads the object and pins it; everybody else opens the pins.
//!
//! The directory of the programs is called after the object they are from: where a binary does not find its own, the
//! programs in force are another netfast's, or gone.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use aya::maps::{MapData, MapError};
use aya::programs::{Program, ProgramError, ProgramInfo, ProgramType, SchedClassifier, TcAttachType};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfError, EbpfLoader};
use netfast_common::maps;
use nix::libc;

use super::bpffs::{Bpffs, Pins, list, make_directory};
use super::error::{errno, map_errno};
use super::maps::Maps;
use super::object::{self, MAPS, Shape};
use super::remove::{remove_pins, remove_pins_in};
use super::{KernelError, Result, recover, sizes};
use crate::model::Limits;
use crate::store::fault;

/// Lines of the verifier's log that an error shows.
const LOG_LINES: usize = 4;

/// A loaded program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its name.
    pub name: &'static str,
    /// The kernel's number for it.
    pub id: u32,
    /// Its type, as the kernel's headers call it.
    pub kind: &'static str,
}

/// Which object the programs in force are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectState {
    /// Digests of the objects whose programs are pinned: one, but for a replacement that is not finished.
    pub pinned: Vec<String>,
    /// Digest of the object that this binary carries.
    pub own: &'static str,
}

/// The loaded programs and maps of an instance.
#[derive(Debug)]
pub struct Datapath {
    /// The maps.
    pub maps: Maps,
    pub(super) pins: Pins,
    is_new: bool,
}

impl Datapath {
    /// Opens the pinned maps, to look at them; `None` where there are none. Sizes are taken as they are, and the programs
    /// may be another netfast's.
    ///
    /// # Errors
    /// When pins are missing or of another version or shape than this netfast's.
    pub fn open(bpffs: &Bpffs) -> Result<Option<Self>> {
        bpffs.check_version()?;
        let pins = bpffs.version();
        if !pins.0.exists() {
            return Ok(None);
        }
        if let Some(missing) = recover::missing(&pins)?.first() {
            return Err(KernelError::Incomplete { directory: pins.0, missing });
        }
        check_shapes(&pins, None)?;
        Ok(Some(Self { maps: Maps::at(&pins.maps()), pins, is_new: false }))
    }

    /// Opens the pinned maps, where nothing but this binary's programs is pinned beside them: as [`Self::open_or_load`]
    /// left it. `None`: something else is there, or a map is missing.
    ///
    /// # Errors
    /// When the pins cannot be listed.
    pub fn open_own(bpffs: &Bpffs) -> Result<Option<Self>> {
        let pins = bpffs.version();
        if !pins.0.exists() || pins.digests()? != [object::digest()] || !recover::missing(&pins)?.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { maps: Maps::at(&pins.maps()), pins, is_new: false }))
    }

    /// Opens the pinned maps, having seen to it that this binary's programs are pinned beside them: makes everything
    /// where there is nothing, finds maps whose pins were removed, and loads the programs where they are missing or are
    /// another netfast's. Those go on running until [`Self::attach`] and its like replace them, and
    /// [`Self::retire`] removes their pins.
    ///
    /// What is new is made beside its place and moved there whole, so that a crash leaves none or all of it. The
    /// caller holds the instance's lock.
    ///
    /// # Errors
    /// When the object was not built, the kernel refuses it, or the pins that are there do not fit.
    pub fn open_or_load(bpffs: &Bpffs, limits: &Limits) -> Result<Self> {
        // Before the kernel is asked for anything, so that a bad object is told apart from a refused one.
        object::shapes()?;
        bpffs.check_version()?;
        let pins = bpffs.version();
        let mut is_new = true;
        if pins.0.exists() {
            pins.create()?;
            let lost = recover::maps(&pins)?;
            check_shapes(&pins, Some(limits))?;
            is_new = lost.contains(&maps::FLOW);
            if !lost.is_empty() || !has_all_programs(&pins)? {
                load_programs(&pins, limits)?;
            }
        } else {
            load(bpffs, limits)?;
        }
        Ok(Self { maps: Maps::at(&pins.maps()), pins, is_new })
    }

    /// Whether the flows' map was just made, so that nothing is known of earlier flows.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Removes the pins of programs that are not this binary's. To be called when nothing is attached to them any more.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn retire(&self) -> Result<()> {
        for digest in self.pins.digests()? {
            if digest != object::digest() {
                fault::point("remove replaced programs");
                remove_pins_in(&self.pins.programs_of(&digest))?;
                tracing::info!(by = object::digest(), replaced = digest, "replaced the programs");
            }
        }
        Ok(())
    }

    /// Which object the programs in force are from.
    ///
    /// # Errors
    /// When the directory of the pins cannot be read.
    pub fn object(&self) -> Result<ObjectState> {
        Ok(ObjectState { pinned: self.pins.digests()?, own: object::digest() })
    }

    /// The loaded programs: this binary's, or, where those are not loaded, another one's.
    ///
    /// # Errors
    /// When a pin cannot be read.
    pub fn programs(&self) -> Result<Vec<Loaded>> {
        let own = self.pins.programs();
        let other = self.pins.digests()?.into_iter().next().map(|digest| self.pins.programs_of(&digest));
        let directory = if own.exists() { own } else { other.unwrap_or(own) };
        let mut loaded = Vec::new();
        for name in object::programs() {
            match ProgramInfo::from_pin(directory.join(name)) {
                Ok(info) => loaded.push(Loaded { name, id: info.id(), kind: object::kind(name) }),
                Err(e) if errno(&e) == Some(libc::ENOENT) => {}
                Err(e) => return Err(KernelError::program("read the pin of", name, e)),
            }
        }
        Ok(loaded)
    }

    /// The directory of the pins.
    pub fn directory(&self) -> &Path {
        &self.pins.0
    }
}

/// Whether the kernel takes tcx links (Linux 6.6 and newer), asked of the loopback device of the current network
/// namespace.
pub fn has_tcx() -> bool {
    SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok()
}

fn has_all_programs(pins: &Pins) -> Result<bool> {
    let there = list(&pins.programs())?;
    Ok(object::programs().all(|name| there.iter().any(|other| other == name)))
}

/// Compares the pinned maps with those of the object: aya would take a pin of the right name whatever it is, and
/// the verifier's complaint about it is a riddle.
fn check_shapes(pins: &Pins, limits: Option<&Limits>) -> Result<()> {
    let there = list(&pins.maps())?;
    for (name, mut wanted) in object::shapes()? {
        if !there.iter().any(|other| other == name) {
            continue;
        }
        let pinned = pinned_shape(&pins.maps(), name)?;
        // Whether its size fits is said in the words of netfast.yaml, after everything else.
        let limit =
            sizes::by_map(&limits.copied().unwrap_or_default()).into_iter().find(|(map, ..)| *map == name);
        if limit.is_some() {
            wanted.max_entries = pinned.max_entries;
        }
        let fields = [
            ("type", pinned.kind, wanted.kind),
            ("key size", pinned.key_size, wanted.key_size),
            ("value size", pinned.value_size, wanted.value_size),
            ("size", pinned.max_entries, wanted.max_entries),
            ("flags", pinned.flags, wanted.flags),
        ];
        if let Some((field, pinned, wanted)) = fields.into_iter().find(|(_, pinned, wanted)| pinned != wanted)
        {
            let directory = pins.0.clone();
            return Err(KernelError::MapMismatch { map: name, directory, field, pinned, wanted });
        }
        if let (Some(_), Some((_, limit, wanted))) = (limits, limit)
            && pinned.max_entries != wanted
        {
            return Err(KernelError::LimitChanged { limit, pinned: pinned.max_entries, wanted });
        }
    }
    Ok(())
}

fn pinned_shape(directory: &Path, name: &'static str) -> Result<Shape> {
    let info = MapData::from_pin(directory.join(name))
        .and_then(|data| data.info())
        .map_err(|e| KernelError::map("open", name, e))?;
    let kind = match info.map_type() {
        Ok(kind) => kind as u32,
        Err(MapError::InvalidMapType { map_type }) => map_type,
        Err(e) => return Err(KernelError::map("open", name, e)),
    };
    Ok(Shape {
        kind,
        key_size: info.key_size(),
        value_size: info.value_size(),
        max_entries: info.max_entries(),
        flags: info.map_flags(),
    })
}

/// Makes the whole set of pins.
fn load(bpffs: &Bpffs, limits: &Limits) -> Result<()> {
    let loading = bpffs.loading();
    // What a crash left: nothing can be attached from there.
    remove_pins(&loading)?;
    loading.create()?;
    let made = load_into(&loading.maps(), &loading.programs(), limits).and_then(|()| {
        let place = bpffs.version().0;
        fault::point("move what was loaded");
        // bpffs moves directories (tried on 6.18): the whole set appears at once.
        fs::rename(&loading.0, &place).map_err(|e| KernelError::file("rename to", place, e))
    });
    if made.is_err()
        && let Err(e) = remove_pins(&loading)
    {
        tracing::warn!(error = %e, "cannot remove what was loaded in part");
    }
    made
}

/// Loads this binary's programs beside the pinned maps, and makes those maps that are missing.
fn load_programs(pins: &Pins, limits: &Limits) -> Result<()> {
    let (loading, place) = (pins.loading(), pins.programs());
    // What a crash left, and what somebody left of an earlier set: their maps may be others.
    remove_pins_in(&loading)?;
    remove_pins_in(&place)?;
    make_directory(&loading)?;
    let made = load_into(&pins.maps(), &loading, limits).and_then(|()| {
        fault::point("move what was loaded");
        fs::rename(&loading, &place).map_err(|e| KernelError::file("rename to", place, e))
    });
    if made.is_err()
        && let Err(e) = remove_pins_in(&loading)
    {
        tracing::warn!(error = %e, "cannot remove what was loaded in part");
    }
    made
}

fn load_into(maps: &Path, programs: &Path, limits: &Limits) -> Result<()> {
    let mut loader = EbpfLoader::new();
    for name in MAPS {
        loader.map_pin_path(name, maps.join(name));
    }
    for (name, _, size) in sizes::by_map(limits) {
        loader.map_max_entries(name, size);
    }
    let chooses_errno = is_helper_supported(ProgramType::CgroupSock, BpfHelper::BPF_FUNC_set_retval);
    let errno = u8::from(chooses_errno.unwrap_or(false));
    loader.override_global(object::ERRNO, &errno, true);
    fault::point("load the programs");
    let mut ebpf = loader.load(object::bytes()?).map_err(explain)?;
    // The one that most packets run comes last. The kernel puts one behind the other into pages of code, and what stands at the
    // beginning of these runs up to 7 % slower in TCP_RR (Linux 6.18; docs/performance.md).
    for name in object::programs().rev() {
        fault::point("load a program");
        load_program(&mut ebpf, name, &programs.join(name))?;
    }
    Ok(())
}

fn load_program(ebpf: &mut Ebpf, name: &'static str, pin: &Path) -> Result<()> {
    let wrong = || KernelError::BadObject { what: format!("{name} is a program of an unexpected type") };
    let program = ebpf.program_mut(name).ok_or_else(wrong)?;
    let start = Instant::now();
    let loaded = match program {
        Program::SchedClassifier(p) => p.load(),
        Program::Xdp(p) => p.load(),
        Program::CgroupSockAddr(p) => p.load(),
        Program::CgroupSock(p) => p.load(),
        _ => return Err(wrong()),
    };
    loaded.map_err(|e| refused(name, e))?;
    // What the verifier walked through is what loading costs.
    let instructions = program.info().ok().and_then(|info| info.verified_instruction_count());
    tracing::debug!(program = name, took = ?start.elapsed(), instructions, "loaded a program");
    program.pin(pin).map_err(|e| match e {
        aya::pin::PinError::SyscallError(e) => KernelError::file("pin a program at", pin, e.io_error),
        other => KernelError::file("pin a program at", pin, io::Error::other(other)),
    })
}

/// The last lines of a refusal are what helps; the rest, which may be megabytes, is for whoever asks.
fn refused(program: &'static str, error: ProgramError) -> KernelError {
    match error {
        ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EPERM) => {
            KernelError::NotPermitted {
                operation: format!("loading the program {program}"),
                source: io_error,
            }
        }
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            tracing::debug!(program, log, "the kernel refused a program");
            KernelError::Verifier { program, log: last_lines(&log), source: io_error }
        }
        other => KernelError::program("load", program, other),
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "the verifier said nothing".to_owned();
    }
    lines[lines.len().saturating_sub(LOG_LINES)..].join("; ")
}

/// Why the object as a whole, that is its maps and its type information, could not be loaded.
fn explain(error: EbpfError) -> KernelError {
    let denied = matches!(&error, EbpfError::MapError(e) if map_errno(e) == Some(libc::EPERM));
    if denied {
        return KernelError::NotPermitted {
            operation: "making a BPF map".to_owned(),
            source: io::Error::from_raw_os_error(libc::EPERM),
        };
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return KernelError::NoBtf { source: Box::new(error) };
    }
    KernelError::Load { source: Box::new(error) }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
