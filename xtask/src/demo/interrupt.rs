//! Ctrl-C and its like, noticed between two steps instead of in the middle of one.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

/// Whether the user wants the demo to end.
#[derive(Debug)]
pub(crate) struct Interrupt {
    state: Arc<(Mutex<bool>, Condvar)>,
}

/// The demo was told to end before it had shown everything.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Interrupt {
    /// From now on the signals end nothing by themselves. Must be called before there are other threads, since
    /// each thread takes the mask of the one that starts it.
    pub(crate) fn catch() -> Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context("block the signals")?;
        let state = Arc::new((Mutex::new(false), Condvar::new()));
        let ours = state.clone();
        thread::spawn(move || {
            while signals.wait().is_ok() {
                *ours.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
                ours.1.notify_all();
            }
        });
        Ok(Self { state })
    }

    /// Whether one has come.
    pub(crate) fn pending(&self) -> bool {
        *self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error if one has come.
    pub(crate) fn check(&self) -> Result<()> {
        if self.pending() { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// Waits for one.
    pub(crate) fn wait(&self) {
        let mut pending = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*pending {
            pending = self.state.1.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
