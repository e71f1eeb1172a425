//! One measurement: a client and a server on threads of their own, and what ends them if nothing moves.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::bench::cpu::{self, Cpus};
use crate::bench::peers::Ends;

/// A client or a server that does nothing for so long is stuck.
const STUCK: Duration = Duration::from_secs(10);
/// How often one that is stuck is told so.
const NUDGE: Duration = Duration::from_millis(20);

/// What interrupts a system call that would wait for ever.
const INTERRUPT: Signal = Signal::SIGURG;

/// How long to measure, and where.
#[derive(Clone, Debug)]
pub(in crate::bench) struct Slice {
    length: Duration,
    cpus: Cpus,
    client: usize,
    server: usize,
}

/// Where the threads of a measurement learn that it is over.
pub(super) struct Clock<'a> {
    /// What came before is not counted.
    pub(super) warm: Instant,
    /// When the client stops.
    pub(super) end: Instant,
    stuck: &'a AtomicBool,
}

impl Clock<'_> {
    /// Whether nobody waits for the work any more.
    pub(super) fn is_over(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }
}

impl Slice {
    /// Measurements of that length.
    pub(in crate::bench) fn new(length: Duration, cpus: Cpus) -> Self {
        let (client, server) = (cpus.first(), cpus.first());
        Self { length, cpus, client, server }
    }

    /// Both ends on one CPU, or each on its own.
    ///
    /// On one CPU a transaction waits for nobody but the other end: no CPU has to be woken by another, which takes as
    /// long as all the rest, and differs from time to time.
    pub(super) fn for_latency(&self, is_of_latency: bool) -> Self {
        let server = if is_of_latency { self.cpus.first() } else { self.cpus.second() };
        Self { client: self.cpus.first(), server, ..self.clone() }
    }

    /// The CPUs that the work is done on.
    pub(super) fn cpus(&self) -> [usize; 2] {
        [self.client, self.server]
    }

    /// Opens what the server listens on, then runs the server and the client at the same time, each in its namespace
    /// and on its CPU. Returns the client's answer.
    pub(super) fn run<L: Send, T: Send>(
        &self,
        ends: &Ends<'_>,
        listen: impl FnOnce() -> Result<L> + Send,
        serve: impl FnOnce(L, &Clock<'_>) -> Result<()> + Send,
        ask: impl FnOnce(&Clock<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let listener = ends.server.run(listen)?.context("listen")?;
        take_interrupts()?;
        let stuck = AtomicBool::new(false);
        let start = Instant::now();
        let clock = Clock { warm: start + self.length / 8, end: start + self.length, stuck: &stuck };
        let threads = Threads::default();
        thread::scope(|scope| {
            let (done, waiting) = mpsc::channel::<()>();
            let told = done.clone();
            let (clock, threads) = (&clock, &threads);
            let server = scope.spawn(move || {
                let work = || threads.known(|| cpu::pin(self.server).and_then(|()| serve(listener, clock)));
                let result = ends.server.run(work);
                drop(told);
                result?
            });
            let client = scope.spawn(move || {
                let work = || threads.known(|| cpu::pin(self.client).and_then(|()| ask(clock)));
                let result = ends.client.run(work);
                drop(done);
                result?
            });
            let mut patience = self.length + STUCK;
            while waiting.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                stuck.store(true, Ordering::Relaxed);
                threads.interrupt();
                patience = NUDGE;
            }
            let joined = |panic| anyhow!("a thread of the measurement panicked: {panic:?}");
            let answer = client.join().map_err(joined)?;
            let outcome = server.join().map_err(joined)?;
            if stuck.load(Ordering::Relaxed) {
                return Err(anyhow!("nothing moved for {} seconds", STUCK.as_secs()));
            }
            let answer = answer.context("client")?;
            outcome.context("server")?;
            Ok(answer)
        })
    }
}

/// The threads that work, to be interrupted.
#[derive(Default)]
struct Threads(Mutex<Vec<Pthread>>);

impl Threads {
    /// Does work on the calling thread, which is known meanwhile.
    fn known<T>(&self, work: impl FnOnce() -> T) -> T {
        let own = pthread_self();
        self.list().push(own);
        let answer = work();
        self.list().retain(|thread| *thread != own);
        answer
    }

    /// Interrupts the system calls in which they wait.
    fn interrupt(&self) {
        for thread in self.list().iter() {
            // It takes itself off the list before it ends, which has to wait for us.
            let _ = pthread_kill(*thread, INTERRUPT);
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Pthread>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

extern "C" fn ignore(_: c_int) {}

/// Lets [`INTERRUPT`] end a system call that waits. (What nobody handles does not.)
fn take_interrupts() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing at all.
    unsafe { sigaction(INTERRUPT, &action) }.context("handle a signal")?;
    Ok(())
}
