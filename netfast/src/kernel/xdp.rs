//! Attaches the deny list to uplinks, as early as the driver lets it.
//!
//! A link is pinned as `links/<ifindex>-xdp-driver` or `-xdp-generic`, since the kernel does not tell the mode of a
//! link.

use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp};
use nix::libc;
use nix::net::if_::if_nametoindex;

use super::bpffs::list;
use super::error::errno;
use super::load::Datapath;
use super::object::XDP_PROGRAM;
use super::{KernelError, Result, link};
use crate::store::fault;

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Driver,
    /// In the stack, where the driver does not support it.
    Generic,
}

impl XdpMode {
    const ALL: [Self; 2] = [Self::Driver, Self::Generic];

    /// The name used in pins.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Generic => "generic",
        }
    }
}

/// What came of attaching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpOutcome {
    /// It is attached.
    Attached(XdpMode),
    /// Somebody else's program has the device's slot: the tc program has to look the deny list up.
    SlotTaken,
}

/// The deny list at a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpAttached {
    /// Index of the device.
    pub ifindex: u32,
    /// Where it runs.
    pub mode: XdpMode,
    /// Number of the program.
    pub program_id: u32,
    /// The device is still there.
    pub alive: bool,
}

impl Datapath {
    /// Attaches the deny list to a device of the current network namespace, in the driver if it can be. Does
    /// nothing where it is attached already.
    ///
    /// # Errors
    /// When the device does not exist or the kernel refuses for another reason than a taken slot.
    pub fn attach_deny(&self, device: &str) -> Result<XdpOutcome> {
        let ifindex = if_nametoindex(device)
            .map_err(|e| KernelError::NoDevice { device: device.to_owned(), source: e.into() })?;
        let failed = |e| KernelError::program("open", XDP_PROGRAM, e);
        let path = self.pins.program(XDP_PROGRAM);
        let mut program = Xdp::from_pin(path, aya_obj::programs::XdpAttachType::Interface).map_err(failed)?;
        let id = program.info().map_err(failed)?.id();
        for mode in XdpMode::ALL {
            let pin = self.pins.links().join(pin_name(ifindex, mode));
            match link::pinned(&pin)? {
                Some(state) if state.ifindex() == ifindex && state.program_id == id => {
                    return Ok(XdpOutcome::Attached(mode));
                }
                Some(state) if state.ifindex() == ifindex => {
                    let replaced = replace(&mut program, &pin);
                    if replaced.map_err(|e| KernelError::attach("replace", XDP_PROGRAM, device, e))? {
                        return Ok(XdpOutcome::Attached(mode));
                    }
                    link::remove(&pin)?;
                }
                // The device is gone.
                Some(_) => link::remove(&pin)?,
                None => {}
            }
        }
        for mode in XdpMode::ALL {
            match attach(&mut program, ifindex, mode) {
                Ok(fd) => {
                    link::pin(fd, &self.pins.links().join(pin_name(ifindex, mode)))?;
                    return Ok(XdpOutcome::Attached(mode));
                }
                // Taken in this mode, or in the other one.
                Err(e) if matches!(errno(&e), Some(libc::EBUSY | libc::EEXIST)) => {
                    return Ok(XdpOutcome::SlotTaken);
                }
                Err(error) if mode == XdpMode::Driver => {
                    tracing::debug!(device, %error, "no XDP in the driver: taking the generic one");
                }
                Err(e) => return Err(KernelError::attach("attach", XDP_PROGRAM, device, e)),
            }
        }
        Ok(XdpOutcome::SlotTaken)
    }

    /// Detaches the deny list from the device that has or had this index. Says whether it was attached.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn detach_deny(&self, ifindex: u32) -> Result<bool> {
        let mut found = false;
        for mode in XdpMode::ALL {
            let pin = self.pins.links().join(pin_name(ifindex, mode));
            found |= pin.exists();
            link::remove(&pin)?;
        }
        Ok(found)
    }

    /// The devices at which the deny list is attached.
    ///
    /// # Errors
    /// When a pin cannot be read.
    pub fn deny_attached(&self) -> Result<Vec<XdpAttached>> {
        let links = self.pins.links();
        let mut found = Vec::new();
        for name in list(&links)? {
            let Some((ifindex, mode)) = parse_name(&name) else { continue };
            if let Some(state) = link::pinned(&links.join(&name))? {
                let alive = state.ifindex() == ifindex;
                found.push(XdpAttached { ifindex, mode, program_id: state.program_id, alive });
            }
        }
        Ok(found)
    }
}

fn attach(program: &mut Xdp, ifindex: u32, mode: XdpMode) -> Result<FdLink, ProgramError> {
    let mode = match mode {
        XdpMode::Driver => aya::programs::XdpMode::Driver,
        XdpMode::Generic => aya::programs::XdpMode::Skb,
    };
    let id = program.attach_to_if_index(ifindex, mode)?;
    FdLink::try_from(program.take_link(id)?).map_err(link::program_error)
}

/// Puts another program into the link at `pin`. Says `false` where the device has gone meanwhile.
fn replace(program: &mut Xdp, pin: &Path) -> Result<bool, ProgramError> {
    fault::point("replace a link's program");
    link::replaced(|| {
        let old = PinnedLink::from_pin(pin).and_then(|old| XdpLink::try_from(FdLink::from(old)));
        let id = program.attach_to_link(old.map_err(link::program_error)?)?;
        // Closes a file descriptor; the pin holds the link.
        drop(program.take_link(id)?);
        Ok(())
    })
}

fn pin_name(ifindex: u32, mode: XdpMode) -> String {
    format!("{ifindex}-xdp-{}", mode.name())
}

fn parse_name(name: &str) -> Option<(u32, XdpMode)> {
    let (ifindex, mode) = name.split_once("-xdp-")?;
    let mode = XdpMode::ALL.into_iter().find(|m| m.name() == mode)?;
    Some((ifindex.parse().ok()?, mode))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ip, loaded};
    use super::*;

    #[test]
    fn the_driver_is_taken_where_it_can_be() {
        loaded(|bpffs, datapath| {
            ip("link add nf0 mtu 9000 type veth peer name nf1 mtu 9000");
            ip("link add nf2 type bridge");
            for _ in 0..2 {
                let attached = datapath.attach_deny("nf0").unwrap();
                assert_eq!(attached, XdpOutcome::Attached(XdpMode::Driver));
                let attached = datapath.attach_deny("nf2").unwrap();
                assert_eq!(attached, XdpOutcome::Attached(XdpMode::Generic));
            }
            drop(datapath);
            let datapath = Datapath::open(bpffs).unwrap().unwrap();
            let attached = datapath.deny_attached().unwrap();
            assert_eq!(attached.len(), 2);
            assert!(attached.iter().all(|a| a.alive));
            for XdpAttached { ifindex, .. } in attached {
                assert!(datapath.detach_deny(ifindex).unwrap());
                assert!(!datapath.detach_deny(ifindex).unwrap());
            }
            let attached = datapath.attach_deny("nf0").unwrap();
            assert_eq!(attached, XdpOutcome::Attached(XdpMode::Driver));
        });
    }

    #[test]
    fn a_taken_slot_is_reported() {
        loaded(|bpffs, datapath| {
            ip("link add nf0 type veth peer name nf1");
            for mode in XdpMode::ALL {
                let path = datapath.pins.program(XDP_PROGRAM);
                let interface = aya_obj::programs::XdpAttachType::Interface;
                let mut foreign = Xdp::from_pin(path, interface).unwrap();
                let index = if_nametoindex("nf0").unwrap();
                let link = attach(&mut foreign, index, mode).unwrap();
                assert_eq!(datapath.attach_deny("nf0").unwrap(), XdpOutcome::SlotTaken);
                drop(link);
            }
            assert!(datapath.deny_attached().unwrap().is_empty());
            assert!(bpffs.exists());
        });
    }
}
