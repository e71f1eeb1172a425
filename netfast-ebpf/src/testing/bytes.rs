//! A packet that is a vector of bytes.

use netfast_common::checksum::{fold, patch};
use netfast_common::reason::DropReason;

use crate::packet::{Checksum, Packet, Wire};
use crate::parse::ethertype;

/// A packet at a device.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are what a socket buffer tells, each independent of the others"
)]
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    pub(super) frame: Vec<u8>,
    pub(super) ifindex: u32,
    pub(super) has_vlan_tag: bool,
    /// The transport checksum is left to the network card: its field holds the sum of the pseudo-header only.
    pub(super) is_offloaded: bool,
    /// Payload of each piece it will be cut into; 0: it is one.
    pub(super) segment: u32,
    /// It comes from another of netfast's programs.
    pub(super) is_decided: bool,
    /// It was put in order and comes by once more.
    pub(super) is_returned: bool,
}

impl Bytes {
    pub(super) fn new(frame: Vec<u8>, ifindex: u32) -> Self {
        Self {
            frame,
            ifindex,
            has_vlan_tag: false,
            is_offloaded: false,
            segment: 0,
            is_decided: false,
            is_returned: false,
        }
    }
}

impl Packet for Bytes {
    fn len(&self) -> u32 {
        self.frame.len() as u32
    }

    fn segment(&self) -> u32 {
        self.segment
    }

    fn resize(&mut self, length: u32) -> Result<(), DropReason> {
        self.frame.resize(length as usize, 0);
        self.segment = 0;
        Ok(())
    }

    fn is_decided(&self) -> bool {
        self.is_decided
    }

    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn has_vlan_tag(&self) -> bool {
        self.has_vlan_tag
    }

    fn load<T: Wire>(&self, offset: u32) -> Result<T, DropReason> {
        let at = offset as usize;
        let bytes = self.frame.get(at..at + size_of::<T>()).ok_or(DropReason::BadHeader)?;
        // SAFETY: as many bytes as `T` has, and every bit pattern is a `Wire`.
        Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    fn store<T: Wire>(&mut self, offset: u32, value: &T) -> Result<(), DropReason> {
        let at = offset as usize;
        let bytes = self.frame.get_mut(at..at + size_of::<T>()).ok_or(DropReason::DatapathError)?;
        // SAFETY: as many bytes as `T` has, and a `Wire` has no padding.
        unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(*value) };
        Ok(())
    }

    fn exchange<T: Wire>(&mut self, ether_type: u16, header: &T) -> Result<(), DropReason> {
        let old = if ether_type == ethertype::IPV4 { 40 } else { 20 };
        if self.frame.len() < 14 + old {
            return Err(DropReason::DatapathError);
        }
        self.store(12, &ether_type)?;
        self.frame.splice(14..14 + old, vec![0; size_of::<T>()]);
        self.store(14, header)
    }

    fn patch_checksum(
        &mut self,
        offset: u32,
        kind: Checksum,
        optional: bool,
        difference: u32,
    ) -> Result<(), DropReason> {
        let field: [u8; 2] = self.load(offset).or(Err(DropReason::DatapathError))?;
        if optional && field == [0; 2] {
            return Ok(());
        }
        let patched = match kind {
            Checksum::Segment if self.is_offloaded => return Ok(()),
            // The sum itself, where a finished checksum is its complement.
            Checksum::PseudoHeader if self.is_offloaded => {
                fold(u32::from(u16::from_ne_bytes(field)) + u32::from(fold(difference))).to_ne_bytes()
            }
            _ => patch(field, difference),
        };
        self.store(offset, if optional && patched == [0; 2] { &[0xff; 2] } else { &patched })
    }
}
