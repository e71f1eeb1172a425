//! A packet as the stages see it: bytes at offsets, counted from the Ethernet header.

use netfast_common::addr::{Addr, Mac};
use netfast_common::reason::DropReason;
use network_types::eth::EthHdr;

/// Types that may be read from and written to a packet.
///
/// They are words rather than bytes wherever more than a few are read: the BPF target has no unaligned access, so
/// byte arrays are handled a byte at a time.
///
/// # Safety
/// Every bit pattern must be valid and there must be no padding.
pub unsafe trait Wire: Copy {}

// SAFETY: plain words.
unsafe impl Wire for Addr {}
// SAFETY: plain words.
unsafe impl Wire for [Addr; 2] {}
// SAFETY: plain words.
unsafe impl Wire for Mac {}
// SAFETY: plain words.
unsafe impl Wire for [Mac; 2] {}
// SAFETY: a plain word.
unsafe impl Wire for u16 {}
// SAFETY: a plain word.
unsafe impl Wire for u32 {}
// SAFETY: bytes.
unsafe impl<const N: usize> Wire for [u8; N] {}
// SAFETY: plain words.
unsafe impl<const N: usize> Wire for [u16; N] {}
// SAFETY: plain words.
unsafe impl<const N: usize> Wire for [u32; N] {}

/// The Ethernet header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// To whom.
    pub dst: Mac,
    /// From whom.
    pub src: Mac,
    /// What it carries, in network byte order.
    pub ether_type: u16,
}

const _: () = assert!(size_of::<Frame>() == EthHdr::LEN);

// SAFETY: seven words of 16 bits.
unsafe impl Wire for Frame {}

/// Which kind of checksum a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// That of an IPv4 header.
    Header,
    /// Of a transport protocol, and what changed is in its pseudo-header: an address.
    PseudoHeader,
    /// Of a transport protocol, and what changed is in the segment: a port or an identifier.
    Segment,
}

/// One packet.
///
/// In the kernel the methods are helper calls, which know of checksums the network card has still to fill in;
/// on the host it is a vector of bytes.
#[expect(clippy::len_without_is_empty, reason = "no packet is empty")]
pub trait Packet {
    /// Length in bytes, the Ethernet header included. A segmentation-offload packet counts whole.
    fn len(&self) -> u32;

    /// Payload of each piece that a segmentation-offload packet will be cut into, in bytes; 0 for others.
    fn segment(&self) -> u32;

    /// Cuts it or lengthens it to `length` bytes. What is cut in such a way is one packet from then on.
    ///
    /// # Errors
    /// [`DropReason::DatapathError`] when the kernel cannot.
    fn resize(&mut self, length: u32) -> Result<(), DropReason>;

    /// Whether another of netfast's programs has decided that it goes out of this device.
    fn is_decided(&self) -> bool;

    /// Index of the device the program runs at.
    fn ifindex(&self) -> u32;

    /// Whether it carries a VLAN tag, in the frame or beside it.
    fn has_vlan_tag(&self) -> bool;

    /// Reads at `offset`.
    ///
    /// # Errors
    /// [`DropReason::BadHeader`] when the packet ends before.
    fn load<T: Wire>(&self, offset: u32) -> Result<T, DropReason>;

    /// Reads what is read of every packet, at an `offset` that is a constant. Where it lies in the packet's first piece of
    /// memory, as headers nearly always do, that takes a few instructions and no call. `T` is made of words of 16 bits, as
    /// nothing longer is aligned behind an Ethernet header.
    ///
    /// # Errors
    /// [`DropReason::BadHeader`] when the packet ends before.
    #[inline(always)]
    fn peek<T: Wire>(&self, offset: u32) -> Result<T, DropReason> {
        self.load(offset)
    }

    /// The Ethernet header, which the kernel keeps in the packet's first piece of memory.
    ///
    /// # Errors
    /// [`DropReason::BadHeader`] when the packet ends before.
    #[inline(always)]
    fn frame(&self) -> Result<Frame, DropReason> {
        self.load(0)
    }

    /// Writes at `offset`.
    ///
    /// # Errors
    /// [`DropReason::DatapathError`] when the kernel cannot make the packet writable there.
    fn store<T: Wire>(&mut self, offset: u32, value: &T) -> Result<(), DropReason>;

    /// Exchanges the IP header for `header`, which is of the other family: 20 bytes of IPv4, or 40 of IPv6.
    ///
    /// # Errors
    /// [`DropReason::DatapathError`] when the kernel cannot.
    fn exchange<T: Wire>(&mut self, ether_type: u16, header: &T) -> Result<(), DropReason>;

    /// Adjusts the checksum field at `offset` by a difference as [`netfast_common::checksum`] computes it. Where
    /// `optional`, a field of zero means there is none, and stays.
    ///
    /// # Errors
    /// [`DropReason::DatapathError`] when the kernel cannot make the packet writable there.
    fn patch_checksum(
        &mut self,
        offset: u32,
        kind: Checksum,
        optional: bool,
        difference: u32,
    ) -> Result<(), DropReason>;
}
