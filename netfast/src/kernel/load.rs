//! Loads the object once and pins it; everybody else opens the pins.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use aya::maps::{MapData, MapError};
use aya::programs::{Program, ProgramError, ProgramInfo, ProgramType, SchedClassifier, TcAttachType};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfError, EbpfLoader};
use nix::libc;

use super::bpffs::{Bpffs, Pins, list};
use super::error::map_errno;
use super::maps::Maps;
use super::object::{self, MAPS, Shape};
use super::remove::remove_pins;
use super::sizes::Sizes;
use super::{KernelError, Result};

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

/// The loaded programs and maps of an instance.
#[derive(Debug)]
pub struct Datapath {
    /// The maps.
    pub maps: Maps,
    pub(super) pins: Pins,
}

impl Datapath {
    /// Opens the pinned programs and maps; `None` where there are none. Sizes are taken as they are.
    ///
    /// # Errors
    /// When pins are missing or of another shape than this netfast's.
    pub fn open(bpffs: &Bpffs) -> Result<Option<Self>> {
        let pins = bpffs.version();
        if !pins.0.exists() {
            return Ok(None);
        }
        if let Some(missing) = missing(&pins)? {
            return Err(KernelError::Incomplete { directory: pins.0, missing });
        }
        check_shapes(&pins, None)?;
        let maps = Maps::open(&pins.maps())?;
        Ok(Some(Self { maps, pins }))
    }

    /// Opens the pinned programs and maps, or loads and pins them where there are none.
    ///
    /// The new set is made beside its place and moved there whole, so that a crash leaves none or all of it. The
    /// caller holds the instance's lock.
    ///
    /// # Errors
    /// When the object was not built, the kernel refuses it, or the pins that are there do not fit.
    pub fn open_or_load(bpffs: &Bpffs, sizes: &Sizes) -> Result<Self> {
        let pins = bpffs.version();
        if pins.0.exists() {
            match missing(&pins)? {
                None => {
                    check_shapes(&pins, Some(sizes))?;
                    return Ok(Self { maps: Maps::open(&pins.maps())?, pins });
                }
                Some(missing) if !list(&pins.links())?.is_empty() => {
                    return Err(KernelError::Incomplete { directory: pins.0, missing });
                }
                Some(missing) => {
                    tracing::warn!(directory = %pins.0.display(), missing, "pins are incomplete and unused: loading anew");
                    remove_pins(&pins)?;
                }
            }
        }
        load(bpffs, sizes)?;
        Ok(Self { maps: Maps::open(&pins.maps())?, pins })
    }

    /// The loaded programs.
    ///
    /// # Errors
    /// When a pin cannot be read.
    pub fn programs(&self) -> Result<Vec<Loaded>> {
        object::programs()
            .map(|name| {
                let info = ProgramInfo::from_pin(self.pins.program(name))
                    .map_err(|e| KernelError::program("read the pin of", name, e))?;
                Ok(Loaded { name, id: info.id(), kind: object::kind(name) })
            })
            .collect()
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

/// The first pin that is not there.
fn missing(pins: &Pins) -> Result<Option<String>> {
    let maps = list(&pins.maps())?;
    let programs = list(&pins.programs())?;
    let map = MAPS.into_iter().find(|name| !maps.iter().any(|m| m == name));
    let program = object::programs().find(|name| !programs.iter().any(|p| p == name));
    Ok(map
        .map(|name| format!("the map {name}"))
        .or_else(|| program.map(|name| format!("the program {name}"))))
}

/// Compares the pinned maps with those of the object: aya would take a pin of the right name whatever it is, and
/// the verifier's complaint about it is a riddle.
fn check_shapes(pins: &Pins, sizes: Option<&Sizes>) -> Result<()> {
    let shapes = object::shapes()?;
    for (name, mut wanted) in shapes {
        let pinned = pinned_shape(&pins.maps(), name)?;
        match sizes.and_then(|s| s.by_map().into_iter().find(|(map, _)| *map == name)) {
            Some((_, size)) => wanted.max_entries = size,
            None if sizes.is_none() => wanted.max_entries = pinned.max_entries,
            None => {}
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

fn load(bpffs: &Bpffs, sizes: &Sizes) -> Result<()> {
    let loading = bpffs.loading();
    // What a crash left: nothing can be attached from there.
    remove_pins(&loading)?;
    // Before the kernel is asked for anything, so that a bad object is told apart from a refused one.
    object::shapes()?;
    loading.create()?;
    let made = load_into(&loading, sizes).and_then(|()| {
        let place = bpffs.version().0;
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

fn load_into(pins: &Pins, sizes: &Sizes) -> Result<()> {
    let maps = pins.maps();
    let mut loader = EbpfLoader::new();
    for name in MAPS {
        loader.map_pin_path(name, maps.join(name));
    }
    for (name, size) in sizes.by_map() {
        loader.map_max_entries(name, size);
    }
    let chooses_errno = is_helper_supported(ProgramType::CgroupSock, BpfHelper::BPF_FUNC_set_retval);
    let bind_errno = u8::from(chooses_errno.unwrap_or(false));
    loader.override_global(object::BIND_ERRNO, &bind_errno, true);
    let mut ebpf = loader.load(object::bytes()?).map_err(explain)?;
    for name in object::programs() {
        load_program(&mut ebpf, name, &pins.program(name))?;
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
mod tests {
    use super::super::testing::loaded;
    use super::*;

    #[test]
    fn a_second_opening_finds_the_first_ones_maps() {
        loaded(|bpffs, mut datapath| {
            let config = netfast_common::rows::Config { generation: 3, ..Default::default() };
            datapath.maps.config.set(0, config).unwrap();
            let again = Datapath::open_or_load(bpffs, &Sizes::default()).unwrap();
            assert_eq!(again.maps.config.get(0).unwrap(), config);
            assert!(Datapath::open(bpffs).unwrap().is_some());
        });
    }

    #[test]
    fn other_sizes_are_refused_and_opening_takes_any() {
        loaded(|bpffs, _| {
            let sizes = Sizes { flows: 1024, ..Sizes::default() };
            let error = Datapath::open_or_load(bpffs, &sizes).unwrap_err();
            assert!(matches!(error, KernelError::MapMismatch { field: "size", wanted: 1024, .. }), "{error}");
            Datapath::open(bpffs).unwrap().unwrap();
        });
    }

    #[test]
    fn an_incomplete_unused_set_is_loaded_anew() {
        loaded(|bpffs, datapath| {
            let pin = datapath.pins.program("connect4");
            fs::remove_file(&pin).unwrap();
            assert!(matches!(Datapath::open(bpffs), Err(KernelError::Incomplete { .. })));
            Datapath::open_or_load(bpffs, &Sizes::default()).unwrap();
            assert!(pin.exists());
        });
    }

    #[test]
    fn what_a_crash_left_half_loaded_is_in_nobodys_way() {
        loaded(|bpffs, _| {
            Datapath::remove(bpffs).unwrap();
            bpffs.loading().create().unwrap();
            Datapath::open_or_load(bpffs, &Sizes::default()).unwrap();
            assert!(!bpffs.loading().0.exists());
        });
    }

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        assert_eq!(last_lines("1\n2\n3\n\n4\n5\n"), "2; 3; 4; 5");
        assert_eq!(last_lines("\n"), "the verifier said nothing");
    }
}
