//! Reading events: a ring, and the word by which programs are told what to write into it.

use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::maps::{Map, MapData, MapError, RingBuf};
use netfast_common::event::{Event, MAX_SNAP, READERS, Reader, Readers, of_reader};
use netfast_common::maps as name;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::bpffs::Bpffs;
use super::load::Datapath;
use super::{KernelError, Programs, Result, grace_period};

/// What a reader wants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// `WANT_*` bits.
    pub wants: u32,
    /// Bit `1 << reason` for each drop reason.
    pub reasons: u32,
    /// Index of the host veth whose packets are wanted; 0: those of all endpoints.
    pub ifindex: u32,
    /// Bytes wanted of each packet.
    pub snap: u32,
}

/// An event and the bytes of its packet.
#[derive(Clone, Debug)]
pub struct Told {
    /// The event.
    pub event: Event,
    /// The first bytes of the packet.
    pub bytes: Vec<u8>,
}

/// A reader of events. Once opened it needs no rights any more. Dropped, it tells the programs to stop.
pub struct EventReader {
    number: usize,
    ring: RingBuf<MapData>,
    shared: Shared,
    pin: PathBuf,
    pin_id: (u64, u64),
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReader").field("number", &self.number).finish_non_exhaustive()
    }
}

impl EventReader {
    /// Opens the ring of the reader `number`, whose place the caller holds, and forgets what an earlier reader left.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(datapath: &Datapath, number: usize) -> Result<Self> {
        let maps = datapath.pins.maps();
        let shared = Shared::open(&maps)?;
        shared.set_wants(number, 0);
        grace_period(Programs::OfPackets);
        let ring_name = name::RINGS[number];
        let failed = |e: MapError| KernelError::map("open", ring_name, e);
        let data = MapData::from_pin(maps.join(ring_name)).map_err(failed)?;
        let mut ring = RingBuf::try_from(Map::from_map_data(data).map_err(failed)?).map_err(failed)?;
        while ring.next().is_some() {}
        shared.lost(number).store(0, Ordering::Relaxed);
        let pin = maps.join(name::READERS);
        let pin_id = id(&pin).ok_or_else(|| {
            KernelError::file("look at", &pin, std::io::Error::from(std::io::ErrorKind::NotFound))
        })?;
        Ok(Self { number, ring, shared, pin, pin_id })
    }

    /// Has the programs write what is wanted from now on.
    pub fn start(&mut self, wishes: &Wishes) {
        let Wishes { wants, reasons, ifindex, snap } = *wishes;
        let reader = self.shared.reader(self.number);
        // SAFETY: fields of the mapped map that only this reader writes, and programs read while its bits are set in the
        // gate, which are not set yet.
        unsafe {
            (&raw mut (*reader).reasons).write_volatile(reasons);
            (&raw mut (*reader).ifindex).write_volatile(ifindex);
            (&raw mut (*reader).snap).write_volatile(snap.min(MAX_SNAP));
        }
        self.shared.set_wants(self.number, wants);
    }

    /// Has the programs write no more. What they have written can still be read, and nothing comes after.
    pub fn stop(&mut self) {
        self.shared.set_wants(self.number, 0);
        grace_period(Programs::OfPackets);
    }

    /// The next event, if there is one. Its descriptor is readable while there are any.
    pub fn read(&mut self) -> Option<Told> {
        loop {
            let item = self.ring.next()?;
            // Whatever is too short was not written by our programs.
            if let Some((event, rest)) = item.split_at_checked(size_of::<Event>()) {
                let event: Event = bytemuck::pod_read_unaligned(event);
                let captured = usize::try_from(event.captured).unwrap_or(0).min(rest.len());
                return Some(Told { event, bytes: rest[..captured].to_vec() });
            }
        }
    }

    /// Events that found no room in the ring so far.
    pub fn lost(&self) -> u64 {
        self.shared.lost(self.number).load(Ordering::Relaxed)
    }

    /// Whether the instance it was opened of is still up.
    pub fn is_current(&self) -> bool {
        id(&self.pin) == Some(self.pin_id)
    }
}

impl AsFd for EventReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        self.shared.set_wants(self.number, 0);
    }
}

/// The readers that the programs write for; none where nothing is loaded.
///
/// # Errors
/// When the map cannot be read.
pub fn active_readers(bpffs: &Bpffs) -> Result<Vec<usize>> {
    let maps = bpffs.version().maps();
    if !maps.join(name::READERS).exists() {
        return Ok(Vec::new());
    }
    let gate = Shared::open(&maps)?.gate().load(Ordering::Relaxed);
    Ok((0..READERS).filter(|number| gate & of_reader(*number, 0xff) != 0).collect())
}

/// Has the programs write no more for the reader `number`, whose place the caller holds: the one that had it is dead.
///
/// # Errors
/// When the map cannot be written.
pub fn silence_reader(bpffs: &Bpffs, number: usize) -> Result<()> {
    Shared::open(&bpffs.version().maps())?.set_wants(number, 0);
    Ok(())
}

/// Device and inode of a pin.
fn id(pin: &Path) -> Option<(u64, u64)> {
    fs::metadata(pin).ok().map(|about| (about.dev(), about.ino()))
}

/// The map of the readers in this process's memory.
struct Shared {
    readers: NonNull<Readers>,
}

const SIZE: NonZeroUsize = NonZeroUsize::new(size_of::<Readers>()).expect("it is not empty");

impl Shared {
    fn open(maps: &Path) -> Result<Self> {
        let data = MapData::from_pin(maps.join(name::READERS))
            .map_err(|e| KernelError::map("open", name::READERS, e))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; its page is the map's only element.
        let memory = unsafe { mmap(None, SIZE, protection, MapFlags::MAP_SHARED, data.fd(), 0) };
        let memory =
            memory.map_err(|e| KernelError::file("map into memory", maps.join(name::READERS), e.into()))?;
        Ok(Self { readers: memory.cast() })
    }

    fn gate(&self) -> &AtomicU32 {
        // SAFETY: an aligned word of the mapping; everybody changes it atomically.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.readers.as_ptr()).gate) }
    }

    fn reader(&self, number: usize) -> *mut Reader {
        // SAFETY: inside the mapping; the index is checked.
        unsafe { &raw mut (*self.readers.as_ptr()).readers[number] }
    }

    fn lost(&self, number: usize) -> &AtomicU64 {
        // SAFETY: an aligned word of the mapping; everybody changes it atomically.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.reader(number)).lost) }
    }

    /// Replaces what one reader wants.
    fn set_wants(&self, number: usize, wants: u32) {
        self.gate().fetch_and(!of_reader(number, 0xff), Ordering::AcqRel);
        self.gate().fetch_or(of_reader(number, wants), Ordering::AcqRel);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping of `open`, which nothing refers to any more.
        let _ = unsafe { munmap(self.readers.cast(), SIZE.get()) };
    }
}

#[cfg(test)]
mod tests {
    use netfast_common::event::{EventKind, Program, RING_BYTES, WANT_DROPS, WANT_PACKETS};
    use netfast_common::reason::DropReason;

    use super::super::testing::loaded;
    use super::super::{Hook, Packet};
    use super::*;

    const FRAME: [u8; 300] = [7; 300];

    /// Has a program drop frames, as the device belongs to no endpoint.
    fn drop_frames(datapath: &Datapath, count: u32) {
        let packet = Packet { bytes: &FRAME, repeat: count, ..Packet::default() };
        datapath.test_hook(Hook::EndpointIngress, packet).unwrap();
    }

    fn everything(reader: &mut EventReader) -> Vec<Told> {
        std::iter::from_fn(|| reader.read()).collect()
    }

    const DROPS: Wishes = Wishes { wants: WANT_DROPS, reasons: u32::MAX, ifindex: 0, snap: 0 };

    #[test]
    fn each_reader_gets_what_it_wants_while_it_reads() {
        loaded(|bpffs, datapath| {
            drop_frames(&datapath, 1);
            let [mut all, mut none, mut packets] =
                [0, 1, 3].map(|number| EventReader::open(&datapath, number).unwrap());
            drop_frames(&datapath, 1);
            all.start(&DROPS);
            none.start(&Wishes { reasons: 1 << DropReason::Martian as u32, ..DROPS });
            packets.start(&Wishes { wants: WANT_PACKETS, reasons: 0, ifindex: 1, snap: 100 });
            assert_eq!(active_readers(bpffs).unwrap(), [0, 1, 3]);
            drop_frames(&datapath, 3);
            assert!(everything(&mut none).is_empty());
            let (drops, packets) = (everything(&mut all), everything(&mut packets));
            assert_eq!((drops.len(), packets.len()), (3, 3));
            let Told { event, bytes } = &drops[0];
            assert_eq!((event.kind, event.program), (EventKind::Drop as u8, Program::FromEndpoint as u8));
            assert_eq!((event.reason, event.flags), (DropReason::NotReady as u8, 0));
            assert_eq!((event.ifindex, event.length, bytes.as_slice()), (1, 300, &FRAME[..128]));
            assert_eq!((packets[0].event.length, packets[0].bytes.as_slice()), (300, &FRAME[..100]));
            all.stop();
            drop(none);
            drop_frames(&datapath, 1);
            assert!(everything(&mut all).is_empty());
            assert_eq!((all.lost(), active_readers(bpffs).unwrap()), (0, vec![3]));
        });
    }

    #[test]
    fn what_finds_no_room_is_counted_and_no_heir_reads_it() {
        loaded(|bpffs, datapath| {
            let mut reader = EventReader::open(&datapath, 2).unwrap();
            reader.start(&DROPS);
            let count = RING_BYTES / 128;
            drop_frames(&datapath, count);
            let lost = reader.lost();
            let read = everything(&mut reader).len() as u64;
            assert!(lost > 0 && read > 0, "{lost} lost");
            assert_eq!(read + lost, u64::from(count));
            // Killed, with something unread.
            drop_frames(&datapath, 5);
            std::mem::forget(reader);
            assert_eq!(active_readers(bpffs).unwrap(), [2]);
            silence_reader(bpffs, 2).unwrap();
            assert!(active_readers(bpffs).unwrap().is_empty());
            let mut heir = EventReader::open(&datapath, 2).unwrap();
            heir.start(&DROPS);
            drop_frames(&datapath, 1);
            assert_eq!((everything(&mut heir).len(), heir.lost()), (1, 0));
        });
    }

    #[test]
    fn a_removed_datapath_is_noticed() {
        loaded(|bpffs, datapath| {
            let reader = EventReader::open(&datapath, 0).unwrap();
            assert!(reader.is_current());
            Datapath::remove(bpffs).unwrap();
            assert!(!reader.is_current());
            let _again = Datapath::open_or_load(bpffs, &crate::model::Limits::default()).unwrap();
            assert!(!reader.is_current());
        });
    }
}
