//! Attaches the programs of the devices: pinned tcx links, or clsact filters before Linux 6.6 and where time matters.
//!
//! A tcx link is pinned as `links/<ifindex>-<hook>`. A filter cannot be pinned; in its stead the program it runs is
//! pinned as `links/<ifindex>-<hook>-clsact`, which is how others learn of the filter. While a filter gets another
//! program, that one is pinned as `links/<ifindex>-<hook>-clsact-new`.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use aya::programs::links::{FdLink, LinkOrder, PinnedLink};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{ProgramError, ProgramInfo, SchedClassifier, TcAttachType};
use nix::libc;
use nix::net::if_::if_nametoindex;

use super::bpffs::{Pins, list};
use super::error::errno;
use super::load::{Datapath, has_tcx};
use super::{KernelError, Result, filter, link};
use crate::store::fault;

/// What ends the name of a pin that is to take another one's place.
const NEW: &str = "-new";

/// A place in a device's path at which a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// What an endpoint sends: ingress of its host veth.
    EndpointIngress,
    /// What an endpoint is sent by the host's stack: egress of its host veth.
    EndpointEgress,
    /// What comes from outside: ingress of an uplink.
    UplinkIngress,
    /// What comes back in order: ingress of the device behind which fragments are put in order.
    DefragIngress,
    /// What the host sends into a network: egress of its bridge, if some endpoints there are no ports of it.
    NetworkEgress,
}

impl Hook {
    /// All hooks.
    pub const ALL: [Self; 5] = [
        Self::EndpointIngress,
        Self::EndpointEgress,
        Self::UplinkIngress,
        Self::DefragIngress,
        Self::NetworkEgress,
    ];

    /// Name of the program that runs there, which also names the hook in pins and JSON.
    pub const fn program(self) -> &'static str {
        match self {
            Self::EndpointIngress => "from_endpoint",
            Self::EndpointEgress => "to_endpoint",
            Self::UplinkIngress => "from_uplink",
            Self::DefragIngress => "from_defrag",
            Self::NetworkEgress => "to_network",
        }
    }

    const fn direction(self) -> TcAttachType {
        match self {
            Self::EndpointIngress | Self::UplinkIngress | Self::DefragIngress => TcAttachType::Ingress,
            Self::EndpointEgress | Self::NetworkEgress => TcAttachType::Egress,
        }
    }

    /// Whether it is on the way out of its device.
    pub fn is_egress(self) -> bool {
        self.direction() == TcAttachType::Egress
    }
}

/// How programs are to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By tcx where the kernel has it.
    #[default]
    Auto,
    /// By clsact though the kernel may have tcx.
    Clsact,
    /// By whichever is attached and detached soonest: clsact, and tcx where the kernel has no filters. A tcx program waits
    /// for a grace period when it comes and for another one when its device goes, 5 to 20 ms each (seen on 6.18).
    Soon,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By a pinned tcx link.
    Tcx,
    /// By a clsact filter.
    Clsact,
}

impl Kind {
    /// The name used in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// A program at a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Where.
    pub hook: Hook,
    /// Index of the device.
    pub ifindex: u32,
    /// Number of the program.
    pub program_id: u32,
    /// How.
    pub kind: Kind,
    /// It still runs. Not so when the device is gone; of a clsact filter it is known only in the device's network
    /// namespace.
    pub alive: bool,
}

impl Datapath {
    /// Attaches a hook's program to a device of the current network namespace, in front of what others attached.
    /// Does nothing where it is attached already, replaces an older program without a gap, and attaches anew
    /// where the device of that index has been replaced.
    ///
    /// # Errors
    /// When the device does not exist or the kernel refuses.
    pub fn attach(&self, hook: Hook, device: &str, mode: Mode) -> Result<Kind> {
        let ifindex = if_nametoindex(device)
            .map_err(|e| KernelError::NoDevice { device: device.to_owned(), source: e.into() })?;
        let target = Target { hook, device, ifindex, pins: &self.pins };
        let links = self.pins.links();
        if mode == Mode::Soon {
            match target.attach_clsact() {
                Ok(()) => return Ok(Kind::Clsact),
                Err(error) => tracing::debug!(%error, device, "no filter; a link may do"),
            }
        }
        if mode != Mode::Clsact && has_tcx() {
            target.attach_tcx()?;
            // tcx runs first, so there is no gap in going over to it.
            for filter in clsact_names(ifindex, hook) {
                detach_filter(&links, &filter);
                link::remove(&links.join(filter))?;
            }
            Ok(Kind::Tcx)
        } else {
            target.attach_clsact()?;
            link::remove(&links.join(tcx_name(ifindex, hook)))?;
            Ok(Kind::Clsact)
        }
    }

    /// Detaches a hook's program from the device that has or had this index. Says whether anything was attached.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn detach(&self, hook: Hook, ifindex: u32) -> Result<bool> {
        let links = self.pins.links();
        let mut found = false;
        let [filter, new_filter] = clsact_names(ifindex, hook);
        for name in [tcx_name(ifindex, hook), filter, new_filter] {
            let path = links.join(&name);
            if path.exists() {
                found = true;
                detach_filter(&links, &name);
                link::remove(&path)?;
            }
        }
        Ok(found)
    }

    /// Whether a hook's program, this binary's, runs at the device with this index.
    ///
    /// # Errors
    /// When a pin or the kernel cannot be read.
    pub fn runs(&self, hook: Hook, ifindex: u32) -> Result<bool> {
        let links = self.pins.links();
        let own = match ProgramInfo::from_pin(self.pins.program(hook.program())) {
            Ok(info) => info.id(),
            Err(e) => return Err(KernelError::program("open", hook.program(), e)),
        };
        let [filter, _] = clsact_names(ifindex, hook);
        for (name, kind) in [(filter, Kind::Clsact), (tcx_name(ifindex, hook), Kind::Tcx)] {
            let path = links.join(name);
            if path.exists()
                && look(&path, ifindex, hook, kind)?.is_some_and(|a| a.alive && a.program_id == own)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every attached program of the devices.
    ///
    /// # Errors
    /// When a pin cannot be read.
    pub fn attached(&self) -> Result<Vec<Attached>> {
        let links = self.pins.links();
        let mut found = Vec::new();
        for name in list(&links)? {
            if let Some((ifindex, hook, kind)) = parse_name(&name) {
                found.extend(look(&links.join(&name), ifindex, hook, kind)?);
            }
        }
        Ok(found)
    }
}

/// `None` where the pin was removed in the meantime.
fn look(path: &Path, ifindex: u32, hook: Hook, kind: Kind) -> Result<Option<Attached>> {
    let state = match kind {
        Kind::Tcx => link::pinned(path)?.map(|state| (state.program_id, state.ifindex() == ifindex)),
        Kind::Clsact => match ProgramInfo::from_pin(path) {
            Ok(info) => {
                let running = filter::program_id(ifindex, hook.direction())?;
                Some((info.id(), running == Some(info.id())))
            }
            Err(e) if errno(&e) == Some(libc::ENOENT) => None,
            Err(e) => return Err(KernelError::program("read the pin of", hook.program(), e)),
        },
    };
    Ok(state.map(|(program_id, alive)| Attached { hook, ifindex, program_id, kind, alive }))
}

fn tcx_name(ifindex: u32, hook: Hook) -> String {
    format!("{ifindex}-{}", hook.program())
}

/// The pin that stands for a filter, and the one that is to take its place.
fn clsact_names(ifindex: u32, hook: Hook) -> [String; 2] {
    ["", NEW].map(|new| format!("{ifindex}-{}-clsact{new}", hook.program()))
}

fn parse_name(name: &str) -> Option<(u32, Hook, Kind)> {
    let (ifindex, rest) = name.split_once('-')?;
    let (program, kind) = rest.strip_suffix("-clsact").map_or((rest, Kind::Tcx), |p| (p, Kind::Clsact));
    let hook = Hook::ALL.into_iter().find(|hook| hook.program() == program)?;
    Some((ifindex.parse().ok()?, hook, kind))
}

/// Index of the device that a pin of this name is about.
pub(super) fn device_of(name: &str) -> Option<u32> {
    parse_name(name.strip_suffix(NEW).unwrap_or(name)).map(|(ifindex, ..)| ifindex)
}

/// Removes the filter that the pin `name` stands for, if there is one and it runs the pinned program: in another
/// network namespace than the device's, the index may be somebody else's.
pub(super) fn detach_filter(links: &Path, name: &str) {
    let Some((ifindex, hook, Kind::Clsact)) = parse_name(name.strip_suffix(NEW).unwrap_or(name)) else {
        return;
    };
    let Ok(info) = ProgramInfo::from_pin(links.join(name)) else { return };
    if !matches!(filter::program_id(ifindex, hook.direction()), Ok(Some(id)) if id == info.id()) {
        return;
    }
    if let Err(error) = filter::remove(ifindex, hook.direction()) {
        tracing::warn!(ifindex, %error, "cannot remove a filter");
    }
}

struct Target<'a> {
    hook: Hook,
    device: &'a str,
    ifindex: u32,
    pins: &'a Pins,
}

impl Target<'_> {
    fn failed(&self, operation: &'static str, e: ProgramError) -> KernelError {
        KernelError::attach(operation, self.hook.program(), self.device, e)
    }

    fn program(&self) -> Result<(SchedClassifier, u32)> {
        let name = self.hook.program();
        let failed = |e| KernelError::program("open", name, e);
        let program = SchedClassifier::from_pin(self.pins.program(name)).map_err(failed)?;
        let id = program.info().map_err(failed)?.id();
        Ok((program, id))
    }

    fn attach_tcx(&self) -> Result<()> {
        let path = self.pins.links().join(tcx_name(self.ifindex, self.hook));
        let (mut program, id) = self.program()?;
        match link::pinned(&path)? {
            Some(state) if state.ifindex() == self.ifindex && state.program_id == id => return Ok(()),
            Some(state) if state.ifindex() == self.ifindex => {
                if self.replace_tcx(&mut program, &path)? {
                    return Ok(());
                }
                link::remove(&path)?;
            }
            // The device it was made for is gone, and the link is severed.
            Some(_) => link::remove(&path)?,
            None => {}
        }
        let attach = |program: &mut SchedClassifier| {
            let options = TcAttachOptions::TcxOrder(LinkOrder::first());
            let id = program.attach_with_options(self.device, self.hook.direction(), options)?;
            FdLink::try_from(program.take_link(id)?).map_err(link::program_error)
        };
        let fd = attach(&mut program).map_err(|e| self.failed("attach", e))?;
        link::pin(fd, &path)?;
        // The name was resolved twice: to the index in the pin's name and, by aya, to the device itself.
        if link::pinned(&path)?.is_some_and(|state| state.ifindex() == self.ifindex) {
            return Ok(());
        }
        link::remove(&path)?;
        Err(KernelError::DeviceChanged { device: self.device.to_owned(), program: self.hook.program() })
    }

    /// Puts another program into the link at `path`. Says `false` where the device has gone meanwhile.
    fn replace_tcx(&self, program: &mut SchedClassifier, path: &Path) -> Result<bool> {
        fault::point("replace a link's program");
        link::replaced(|| {
            let old = PinnedLink::from_pin(path).and_then(|old| FdLink::from(old).try_into());
            let id = program.attach_to_link(old.map_err(link::program_error)?)?;
            // Closes a file descriptor; the pin holds the link.
            drop(program.take_link(id)?);
            Ok(())
        })
        .map_err(|e| self.failed("replace", e))
    }

    fn attach_clsact(&self) -> Result<()> {
        let [marker, new] = clsact_names(self.ifindex, self.hook).map(|name| self.pins.links().join(name));
        let (program, id) = self.open()?;
        let running = filter::program_id(self.ifindex, self.hook.direction())?;
        let pinned = |path: &Path| ProgramInfo::from_pin(path).ok().map(|info| info.id());
        if running == Some(id) && pinned(&marker) == Some(id) {
            return link::remove(&new);
        }
        // The pin comes first, and the old one stays until the end: a filter nobody knows of would stay for ever.
        if pinned(&new) != Some(id) {
            link::remove(&new)?;
            link::pin_open(&program, &new)?;
        }
        if running != Some(id) {
            fault::point("set a filter");
            filter::set(self.ifindex, self.hook.direction(), program.as_fd(), self.hook.program())
                .map_err(|e| self.failed("attach", e.into()))?;
        }
        fault::point("note a filter");
        std::fs::rename(&new, &marker).map_err(|e| KernelError::file("rename to", marker, e))
    }

    /// The program as such, and its number.
    fn open(&self) -> Result<(OwnedFd, u32)> {
        let (name, pin) = (self.hook.program(), self.pins.program(self.hook.program()));
        let failed = |e| KernelError::program("open", name, e);
        let program = link::get(&pin).map_err(|e| failed(e.into()))?;
        let id = ProgramInfo::from_pin(&pin).map_err(failed)?.id();
        Ok((program, id))
    }
}

#[cfg(test)]
#[path = "attach_tests.rs"]
mod tests;
