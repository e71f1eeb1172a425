//! An instance as the faces see it: opened, changed as a whole or not at all, taken down.

mod clear;

use std::cell::{Cell, OnceCell};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::check::{self, Problem, Remedy};
use super::flows::{self, FlowFilter};
use super::host::Host;
use super::ledger::Ledger;
use super::single::{self, Difference, Single};
use super::{converge, files, salvage, show};
use crate::kernel::{Bpffs, Datapath, Mode};
use crate::model::EndpointId;
use crate::model::check::check;
use crate::net::{Netlink, Netns};
use crate::store::{
    self, DefinedEndpoints, Definitions, LOCK_TIMEOUT, LockedStore, NetnsId, Paths, PathsOptions, Store,
    StoreError,
};

pub use super::view::InstanceView;

/// Which instance, and how it attaches its programs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where things are.
    pub paths: PathsOptions,
    /// How programs are attached.
    pub attach: Mode,
}

/// An instance whose lock is held.
pub struct Instance {
    store: LockedStore,
    netns: Netns,
    netns_id: NetnsId,
    definitions: OnceCell<Definitions>,
    /// One that was read and is still to be gone by.
    ledger: Cell<Option<Ledger>>,
    mode: Mode,
    /// Whether this process ends with its next change, and somebody waits for that.
    pub(super) ends_soon: bool,
    is_removed: bool,
    notices: Vec<String>,
}

/// What came of [`Instance::repair`], in plain words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// What was wrong and is not any more.
    pub repaired: Vec<String>,
    /// What is not as it should be, and cannot be put right.
    pub left: Vec<String>,
}

/// Where a command inside an endpoint runs.
#[derive(Clone, Debug)]
pub struct ExecContext {
    /// Its network namespace.
    pub netns: PathBuf,
    /// Its `/etc/hosts`.
    pub hosts: PathBuf,
    /// Its `/etc/resolv.conf`.
    pub resolv: PathBuf,
}

impl Instance {
    /// Takes the instance's lock and sees that it is this namespace's.
    ///
    /// # Errors
    /// When another command holds the lock for too long, a state file is damaged, or the instance belongs to another
    /// network namespace.
    pub fn open(options: &Options) -> Result<Self> {
        let mut instance = Self::locked(options)?;
        instance.settle()?;
        Ok(instance)
    }

    /// As [`Self::open`], for those who want to remove something: it must be possible where state files are damaged.
    ///
    /// # Errors
    /// When another command holds the lock for too long, or the instance belongs to another network namespace.
    pub fn open_to_remove(options: &Options) -> Result<Self> {
        let mut instance = Self::locked(options)?;
        match instance.store.instance() {
            Err(error @ StoreError::Corrupt { .. }) => {
                salvage::is_of(&instance.store, &instance.netns_id)?;
                tracing::warn!("{error}");
            }
            _ => instance.settle()?,
        }
        Ok(instance)
    }

    fn locked(options: &Options) -> Result<Self> {
        let store = Store::new(Paths::resolve(options.paths.clone())?).lock(LOCK_TIMEOUT)?;
        let netns = Netns::current()?;
        let netns_id = identity(&netns)?;
        Ok(Self {
            store,
            netns,
            netns_id,
            definitions: OnceCell::new(),
            ledger: Cell::default(),
            mode: options.attach,
            ends_soon: false,
            is_removed: false,
            notices: Vec::new(),
        })
    }

    /// What the instance was asked for. Read when it is first asked for, as not every change needs it.
    ///
    /// # Errors
    /// When a state file cannot be read or is damaged.
    pub fn definitions(&self) -> Result<&Definitions> {
        if let Some(known) = self.definitions.get() {
            return Ok(known);
        }
        let read = self.store.definitions()?;
        Ok(self.definitions.get_or_init(|| read))
    }

    /// Forgets what was read: it is not so any more.
    pub(super) fn read_anew(&mut self) {
        self.definitions = OnceCell::new();
        self.ledger.take();
    }

    /// The ledger, if there is one. Whether its entries can be read shows to whoever looks through them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn take_ledger(&self) -> Result<Option<Ledger>> {
        match self.ledger.take() {
            Some(ledger) => Ok(Some(ledger)),
            None => Ledger::read_unseen(&self.store),
        }
    }

    /// Gives back what [`Self::take_ledger`] gave: nothing was done.
    pub(super) fn give_back(&self, ledger: Ledger) {
        self.ledger.set(Some(ledger));
    }

    pub(super) fn netns(&self) -> &Netns {
        &self.netns
    }

    pub(super) fn store(&self) -> &LockedStore {
        &self.store
    }

    /// Whether a change was ever completed, and it was not taken down since.
    pub fn is_up(&self) -> bool {
        self.store.has_definitions()
    }

    /// What the last change could not put right, in plain words.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Brings everything back to what the instance was asked for: new uplinks, lost devices, detached programs,
    /// removed rows. Where nothing differs it writes nothing and takes no lock. `None`: there is no instance (any
    /// more).
    ///
    /// # Errors
    /// When the lock is held for too long, or the kernel refuses.
    pub fn repair(options: &Options) -> Result<Option<Repair>> {
        let store = Store::new(Paths::resolve(options.paths.clone())?);
        if !store.has_definitions() {
            return Ok(None);
        }
        let is_wrong = |problem: &Problem| problem.remedy == Remedy::Converge;
        let texts = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.text).collect();
        // What fails without the lock may be another command's doing.
        if let Ok(problems) = check::problems(&store)
            && !problems.iter().any(is_wrong)
        {
            return Ok(Some(Repair { repaired: Vec::new(), left: texts(problems) }));
        }
        let mut instance = Self::open(options)?;
        if !store.has_definitions() {
            return Ok(None);
        }
        let before = check::problems(&store)?;
        if !before.iter().any(is_wrong) {
            return Ok(Some(Repair { repaired: Vec::new(), left: texts(before) }));
        }
        instance.converge_as_before()?;
        let left = check::problems(&store)?;
        let repaired = before.into_iter().filter(|problem| !left.contains(problem));
        Ok(Some(Repair { repaired: texts(repaired.collect()), left: texts(left) }))
    }

    /// Changes what the instance is asked for, and makes it so; or leaves everything as it was.
    ///
    /// # Errors
    /// When `edit` says so, the outcome would contradict itself, or the kernel refuses.
    pub fn change<T>(&mut self, edit: impl FnOnce(&mut Definitions) -> Result<T>) -> Result<T> {
        let before = self.definitions()?.clone();
        let mut definitions = before.clone();
        let answer = edit(&mut definitions)?;
        definitions.follow_attachments();
        let problems = check(&definitions.world);
        if !problems.is_empty() {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            bail!("{}", lines.join("\n"));
        }
        // Without definitions there is at most what a killed first `up` left.
        let was_up = self.store.has_definitions();
        let prepared = self.store.prepare_definitions(&mut definitions, &before)?;
        let made = self.make(&before, &definitions).and_then(|(left, ledger)| {
            self.store.save_definitions(prepared, &definitions, &before)?;
            self.save_ledger(&ledger, &definitions)?;
            Ok(left)
        });
        let left = match made {
            Ok(left) => left,
            Err(error) if was_up => return self.undo(error),
            Err(error) => {
                return Err(match self.clear() {
                    Ok(()) => error,
                    Err(second) => not_undone(error, &second),
                });
            }
        };
        self.notices = left.into_iter().map(|problem| problem.text).collect();
        for notice in &self.notices {
            tracing::warn!("{notice}");
        }
        self.definitions = OnceCell::from(definitions);
        Ok(answer)
    }

    /// Makes it so, by as little as will do.
    fn make(&mut self, before: &Definitions, after: &Definitions) -> Result<(Vec<Problem>, Ledger)> {
        if let Some(difference) = single::difference(before, after)
            && let Some(ledger) = Ledger::read(&self.store)?
            && let Some(ledger) = self.make_alone(self.single(ledger), difference)?
        {
            return Ok((Vec::new(), ledger));
        }
        self.converge(after)
    }

    /// Changes one endpoint, and returns the ledger of what there is then. `None`: that takes more, and nothing was done.
    pub(super) fn make_alone(
        &self,
        mut single: Single<'_>,
        difference: Difference<'_>,
    ) -> Result<Option<Ledger>> {
        let Some(datapath) = Datapath::open_own(&Bpffs::at(&self.store.paths().bpffs))? else {
            return Ok(None);
        };
        if self.has_drifted(&single.ledger, &datapath)? {
            return Ok(None);
        }
        let is_done = match difference {
            Difference::Added(endpoint) => match self.store.instance()? {
                Some(mut instance) => single.add(&mut instance, endpoint, None, |_| Ok(()))?.is_some(),
                None => false,
            },
            Difference::Removed(endpoint) => {
                single.is_host_as_left(&endpoint.network)? && single.remove(endpoint, |_| Ok(()))?
            }
            Difference::Relabelled(was, is) => {
                single.is_host_as_left(&is.network)? && single.relabel(was, is)?
            }
        };
        Ok(is_done.then_some(single.ledger))
    }

    /// Notes what there is: all is done.
    fn save_ledger(&self, ledger: &Ledger, definitions: &Definitions) -> Result<()> {
        self.ledger.take();
        self.store.save_defined_endpoints(&DefinedEndpoints::of(definitions))?;
        ledger.save(&self.store)
    }

    /// What changes one endpoint.
    pub(super) fn single(&self, ledger: Ledger) -> Single<'_> {
        let Self { store, netns, mode, ends_soon, .. } = self;
        Single { store, netns, mode: *mode, ends_soon: *ends_soon, ledger }
    }

    /// As [`Self::single`], for those who wait for it: a container runtime, or whoever calls a command about one endpoint.
    pub(super) fn single_soon(&self, ledger: Ledger) -> Single<'_> {
        let mode = if self.mode == Mode::Auto { Mode::Soon } else { self.mode };
        Single { mode, ..self.single(ledger) }
    }

    /// Brings everything back to what is defined.
    pub(super) fn converge_as_before(&mut self) -> Result<()> {
        let definitions = self.definitions()?.clone();
        let (_, ledger) = self.converge(&definitions)?;
        self.save_ledger(&ledger, &definitions)
    }

    /// Brings everything back to what is written down after a failure.
    pub(super) fn undo<T>(&mut self, error: anyhow::Error) -> Result<T> {
        // It may have failed when something new was in its place already.
        self.read_anew();
        Err(match self.converge_as_before() {
            Ok(()) => error,
            Err(second) => not_undone(error, &second),
        })
    }

    /// Forgets the flows that `filter` selects, and says how many there were. Their next packets are first ones.
    ///
    /// # Errors
    /// When the instance is not up, there is no such endpoint, or the kernel refuses.
    pub fn flush(&self, filter: &FlowFilter) -> Result<usize> {
        flows::flush(&self.store, filter)
    }

    /// Shows what the programs log of each packet, for as long as this process runs.
    ///
    /// # Errors
    /// When the programs' pins cannot be read.
    #[cfg(feature = "log")]
    pub fn follow_log(&self) -> Result<()> {
        if let Some(datapath) = Datapath::open(&Bpffs::at(&self.store.paths().bpffs))? {
            crate::kernel::follow(&datapath);
        }
        Ok(())
    }

    /// What the instance looks like, without taking the lock.
    ///
    /// # Errors
    /// When a state file or the kernel cannot be read.
    pub fn view(options: &Options) -> Result<InstanceView> {
        show::view(&Store::new(Paths::resolve(options.paths.clone())?))
    }

    /// The addresses of an endpoint that is up.
    ///
    /// # Errors
    /// When its record cannot be read, or there is none.
    pub fn addresses(&self, id: &EndpointId) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>)> {
        let record = self.store.endpoint(id)?.with_context(|| format!("endpoint {id} is not up"))?;
        Ok((record.ip, record.ip6))
    }

    /// The endpoint that `name` means.
    ///
    /// # Errors
    /// When no endpoint, or more than one, has that name.
    pub fn find(options: &Options, name: &str) -> Result<EndpointId> {
        let store = Store::new(Paths::resolve(options.paths.clone())?);
        Ok(store.definitions()?.world.find_endpoint(name)?.id.clone())
    }

    /// Where a command inside an endpoint runs. Reads state files only.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub fn exec_context(options: &Options, endpoint: &str) -> Result<ExecContext> {
        let store = Store::new(Paths::resolve(options.paths.clone())?);
        let definitions = store.definitions()?;
        let id = &definitions.world.find_endpoint(endpoint)?.id;
        let record = store.endpoint(id)?.with_context(|| format!("endpoint {id} is not up"))?;
        let run_dir = &store.paths().run_dir;
        Ok(ExecContext {
            netns: record.netns,
            hosts: files::hosts_file(run_dir, &record.network),
            resolv: files::resolv_file(run_dir),
        })
    }

    /// Returns what it cannot put right, and the ledger to be kept once the definitions are.
    fn converge(&mut self, definitions: &Definitions) -> Result<(Vec<Problem>, Ledger)> {
        let known = self.definitions()?.world.clone();
        self.ledger.take();
        self.store.remove_ledger()?;
        let mut instance = match self.store.instance()? {
            Some(instance) => instance,
            None => store::Instance::new(self.netns_id)?,
        };
        // Later commands need not name it again.
        if let Some(cgroup) = &self.store.paths().cgroup {
            instance.cgroup = Some(cgroup.clone());
        }
        // First of all: from here on, `down` knows that there is something.
        self.store.save_instance(&instance)?;
        let bpffs = Bpffs::ensure(&self.store.paths().bpffs)?;
        let datapath = Datapath::open_or_load(&bpffs, &definitions.world.limits)?;
        if datapath.is_new() && !self.store.endpoints()?.is_empty() {
            tracing::warn!(
                "the maps that were pinned in {} are gone: they are made anew, and connections that were open may break",
                bpffs.directory().display()
            );
        }
        let mut host = Host {
            store: &self.store,
            netns: &self.netns,
            netlink: &Netlink::open(&self.netns)?,
            datapath,
            mode: self.mode,
            ends_soon: false,
        };
        converge::converge(&mut host, &mut instance, definitions, &known)
    }
}

impl Drop for Instance {
    /// What was opened and came to nothing leaves nothing: no directories either.
    fn drop(&mut self) {
        // Once removed, the lock's file may be somebody else's.
        if self.is_removed || self.store.exists() {
            return;
        }
        if let Err(error) = self.store.remove_all() {
            tracing::warn!(%error, "empty directories stay behind");
        }
    }
}

/// A failure after which going back to what was before failed too.
fn not_undone(error: anyhow::Error, second: &anyhow::Error) -> anyhow::Error {
    // What kept it from being done is in the way again, and is said once.
    if format!("{error:#}") == format!("{second:#}") {
        return error;
    }
    error.context(format!("going back to what was before failed too ({second:#}), after this"))
}

fn identity(netns: &Netns) -> Result<NetnsId> {
    let (dev, ino) = netns.inode()?;
    Ok(NetnsId { cookie: netns.cookie()?, dev, ino })
}
