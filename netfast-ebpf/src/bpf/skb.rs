//! A socket buffer as a [`Packet`].

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM};
use aya_ebpf::helpers::generated::{
    bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_change_proto, bpf_skb_change_tail, bpf_skb_load_bytes,
    bpf_skb_store_bytes,
};
use netfast_common::reason::DropReason;
use netfast_ebpf::packet::{Checksum, Frame, Packet, Wire};
use netfast_ebpf::parse::L3;

/// Mark of a packet on its way from one of netfast's programs to the egress of a host veth. No endpoint can set it: the
/// kernel clears marks where a packet leaves its namespace.
const DECIDED: u32 = 0x6e66_7674;

/// Mark of a fragment on its way back to where it was diverted from. Whoever sets it gets nothing but that its fragments
/// are not put in order.
const RETURNED: u32 = 0x6e66_6672;

/// Offset of the ethertype.
const ETHER_TYPE: u32 = L3 - 2;

/// A socket buffer at a tc hook.
pub(super) struct Skb {
    skb: *mut __sk_buff,
}

impl Skb {
    pub(super) const fn new(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }

    /// Marks the packet as decided on.
    #[inline(always)]
    pub(super) fn decide(&mut self) {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).mark = DECIDED };
    }

    /// Marks the packet as put in order.
    #[inline(always)]
    pub(super) fn mark_returned(&mut self) {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).mark = RETURNED };
    }

    /// What stands at a constant offset of the first piece of memory; `None`: that ends before.
    #[inline(always)]
    fn in_place<T: Wire>(&self, offset: u32) -> Option<T> {
        const { assert!(align_of::<T>() <= 2) };
        // SAFETY: as in `len`.
        let (start, end) = unsafe { ((*self.skb).data as usize, (*self.skb).data_end as usize) };
        let at = start + offset as usize;
        if at + size_of::<T>() > end {
            return None;
        }
        // SAFETY: within the packet, and every bit pattern is a `Wire`.
        Some(unsafe { (at as *const T).read() })
    }

    /// Whether the packet was put in order. Takes the mark off: it means nothing to others.
    #[inline(always)]
    pub(super) fn take_returned(&mut self) -> bool {
        // SAFETY: as in `len`.
        unsafe {
            let is_returned = (*self.skb).mark == RETURNED;
            if is_returned {
                (*self.skb).mark = 0;
            }
            is_returned
        }
    }
}

/// Turns a helper's error into the one reason it has here.
#[inline(always)]
const fn done(result: i64, reason: DropReason) -> Result<(), DropReason> {
    if result == 0 { Ok(()) } else { Err(reason) }
}

impl Packet for Skb {
    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: the context of a tc program is valid, and the verifier checks the access.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    fn segment(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).gso_size }
    }

    #[inline(always)]
    fn resize(&mut self, length: u32) -> Result<(), DropReason> {
        // SAFETY: a plain helper call.
        done(unsafe { bpf_skb_change_tail(self.skb, length, 0) }, DropReason::DatapathError)
    }

    #[inline(always)]
    fn is_decided(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).mark == DECIDED }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).ifindex }
    }

    #[inline(always)]
    fn has_vlan_tag(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).vlan_present != 0 }
    }

    #[inline(always)]
    fn load<T: Wire>(&self, offset: u32) -> Result<T, DropReason> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes all `size_of::<T>()` bytes or fails.
        let result = unsafe {
            bpf_skb_load_bytes(
                self.skb.cast::<c_void>(),
                offset,
                value.as_mut_ptr().cast::<c_void>(),
                size_of::<T>() as u32,
            )
        };
        done(result, DropReason::BadHeader)?;
        // SAFETY: written above; every bit pattern is a `Wire`.
        Ok(unsafe { value.assume_init() })
    }

    #[inline(always)]
    fn peek<T: Wire>(&self, offset: u32) -> Result<T, DropReason> {
        match self.in_place(offset) {
            Some(value) => Ok(value),
            None => self.load(offset),
        }
    }

    #[inline(always)]
    fn frame(&self) -> Result<Frame, DropReason> {
        self.in_place(0).ok_or(DropReason::BadHeader)
    }

    #[inline(always)]
    fn store<T: Wire>(&mut self, offset: u32, value: &T) -> Result<(), DropReason> {
        // SAFETY: the helper reads `size_of::<T>()` bytes of `value`, which has no padding.
        let result = unsafe {
            bpf_skb_store_bytes(
                self.skb,
                offset,
                core::ptr::from_ref(value).cast::<c_void>(),
                size_of::<T>() as u32,
                0,
            )
        };
        done(result, DropReason::DatapathError)
    }

    #[inline(always)]
    fn exchange<T: Wire>(&mut self, ether_type: u16, header: &T) -> Result<(), DropReason> {
        // It makes room or takes it away behind the Ethernet header, and knows of segmentation offload. What stands there
        // then is the rest of the old header, or zeroes (Linux 6.18, `bpf_skb_proto_4_to_6`).
        // SAFETY: a plain helper call.
        done(unsafe { bpf_skb_change_proto(self.skb, ether_type, 0) }, DropReason::DatapathError)?;
        self.store(ETHER_TYPE, &ether_type)?;
        // Where the network card has added up the whole packet, its sum follows.
        // SAFETY: the helper reads `size_of::<T>()` bytes of `header`, which has no padding.
        let result = unsafe {
            bpf_skb_store_bytes(
                self.skb,
                L3,
                core::ptr::from_ref(header).cast::<c_void>(),
                size_of::<T>() as u32,
                u64::from(BPF_F_RECOMPUTE_CSUM),
            )
        };
        done(result, DropReason::DatapathError)
    }

    #[inline(always)]
    fn patch_checksum(
        &mut self,
        offset: u32,
        kind: Checksum,
        optional: bool,
        difference: u32,
    ) -> Result<(), DropReason> {
        let optional = if optional { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        let difference = u64::from(difference);
        // SAFETY: plain helper calls; a size of 0 in the flags says that a difference is given.
        let result = unsafe {
            match kind {
                Checksum::Header => bpf_l3_csum_replace(self.skb, offset, 0, difference, 0),
                Checksum::PseudoHeader => bpf_l4_csum_replace(
                    self.skb,
                    offset,
                    0,
                    difference,
                    u64::from(BPF_F_PSEUDO_HDR) | optional,
                ),
                Checksum::Segment => bpf_l4_csum_replace(self.skb, offset, 0, difference, optional),
            }
        };
        done(result, DropReason::DatapathError)
    }
}
