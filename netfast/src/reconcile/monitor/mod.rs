//! Reading along with the programs: events with the names of what they are about.

mod names;
mod packet;
mod view;

use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use netfast_common::event::{EventKind, READERS};
use nix::time::{ClockId, clock_gettime};

use self::names::Names;
pub use self::view::{AnswerView, EventView, PolicyDropView, SeenView};
use super::instance::Options;
use crate::kernel::{Bpffs, Datapath, EventReader, Told, Wishes, active_readers, silence_reader};
use crate::net::{Netns, drop_capabilities};
use crate::store::{LockedStore, Paths, ReaderPlace, Store};

/// How often places are tried before all are said to be taken: another command may look whether they are.
const TRIES: u32 = 10;

/// A packet of an endpoint.
#[derive(Clone, Debug)]
pub struct Captured {
    /// When: nanoseconds since 1970.
    pub time: u64,
    /// The endpoint, by name.
    pub endpoint: String,
    /// The endpoint sent it; otherwise it received it.
    pub is_sent: bool,
    /// How long it is; there may be less of it.
    pub length: u32,
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// What it is, for filters.
    pub view: EventView,
}

/// What is read.
#[derive(Debug)]
pub enum Item {
    /// Something happened.
    Event(Box<EventView>),
    /// A packet of an endpoint.
    Packet(Box<Captured>),
}

/// A reader of an instance's events, without any capabilities.
#[derive(Debug)]
pub struct Monitor {
    // In this order: the programs stop before the place is free.
    reader: EventReader,
    _place: ReaderPlace,
    names: Names,
    /// What is added to the time since boot to get the time since 1970, in nanoseconds.
    epoch: u64,
}

impl Monitor {
    /// Takes a place among the readers and begins to read; `endpoint` is the one whose packets are wanted. From then
    /// on the process has no capabilities any more.
    ///
    /// # Errors
    /// When the instance is not up, there is no such endpoint, all places are taken, or the kernel refuses.
    pub fn start(options: &Options, endpoint: Option<&str>, mut wishes: Wishes) -> Result<Self> {
        let store = Store::new(Paths::resolve(options.paths.clone())?);
        let datapath = open(&store)?;
        let names = Names::load(store.clone())?;
        if let Some(endpoint) = endpoint {
            let id = store.definitions()?.world.find_endpoint(endpoint)?.id.clone();
            let record = store.endpoint(&id)?.with_context(|| format!("endpoint {id} is not up"))?;
            wishes.ifindex = record.host_ifindex.with_context(|| format!("endpoint {id} is not up"))?;
        }
        let place = take_place(&store)?;
        let mut reader = EventReader::open(&datapath, place.number)?;
        drop(datapath);
        drop_capabilities()?;
        reader.start(&wishes);
        Ok(Self { reader, _place: place, names, epoch: epoch()? })
    }

    /// Calls `each` with what there is to read, until that says `false`. Says whether it did not.
    ///
    /// # Errors
    /// When `each` fails.
    pub fn read(&mut self, mut each: impl FnMut(Item) -> Result<bool>) -> Result<bool> {
        let mut is_fresh = false;
        while let Some(told) = self.reader.read() {
            if !is_fresh {
                self.names.refresh();
                is_fresh = true;
            }
            if !each(self.item(told))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn item(&mut self, Told { event, bytes }: Told) -> Item {
        let time = event.time.saturating_add(self.epoch);
        let view = EventView::new(&event, &bytes, time, &mut self.names);
        if event.kind != EventKind::Packet as u8 {
            return Item::Event(Box::new(view));
        }
        Item::Packet(Box::new(Captured {
            time,
            endpoint: self.names.at(event.ifindex).unwrap_or_else(|| view.device.clone()),
            is_sent: event.flags & netfast_common::event::EVENT_SENT != 0,
            length: event.length,
            bytes,
            view,
        }))
    }

    /// Has the programs write no more; what was written can still be read.
    pub fn stop(&mut self) {
        self.reader.stop();
    }

    /// Events that found no room in the ring so far.
    pub fn lost(&self) -> u64 {
        self.reader.lost()
    }

    /// Whether the instance is still the one it was opened of.
    pub fn is_up(&self) -> bool {
        self.reader.is_current()
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// The datapath of a living instance of this namespace.
fn open(store: &Store) -> Result<Datapath> {
    let instance = match store.instance()? {
        Some(instance) if instance.is_of_this_boot()? => instance,
        _ => {
            bail!("nothing is up in {} (netfast up -f FILE brings it up)", store.paths().state_dir.display())
        }
    };
    if instance.netns.cookie != Netns::current()?.cookie()? {
        bail!(
            "the instance in {} belongs to another network namespace, net:[{}] (run netfast there)",
            store.paths().state_dir.display(),
            instance.netns.ino
        );
    }
    let datapath = Datapath::open(&Bpffs::at(&store.paths().bpffs))?;
    datapath.context("no programs are loaded (netfast up -f FILE brings everything up)")
}

fn take_place(store: &Store) -> Result<ReaderPlace> {
    for _ in 0..TRIES {
        for number in 0..READERS {
            if let Some(place) = store.take_reader_place(number)? {
                return Ok(place);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("{READERS} monitors are running already, and there is no place for more (end one of them)")
}

/// Has the programs write no more for readers that are dead.
///
/// # Errors
/// When the places cannot be looked at.
pub(super) fn sweep(store: &LockedStore) -> Result<()> {
    let bpffs = Bpffs::at(&store.paths().bpffs);
    for number in active_readers(&bpffs)? {
        // Who holds a place is alive.
        let Some(_place) = store.take_reader_place(number)? else { continue };
        silence_reader(&bpffs, number)?;
        tracing::info!(number, "a monitor was killed; nothing is written for it any more");
    }
    Ok(())
}

/// The time since 1970 when the machine was booted, in nanoseconds.
fn epoch() -> Result<u64> {
    let now = |clock| -> Result<i128> {
        let time = clock_gettime(clock).context("read the clock")?;
        Ok(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
    };
    let since_boot = now(ClockId::CLOCK_BOOTTIME)?;
    Ok(u64::try_from(now(ClockId::CLOCK_REALTIME)? - since_boot).unwrap_or(0))
}
