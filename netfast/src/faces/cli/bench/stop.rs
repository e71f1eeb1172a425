//! Signals that end a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

/// Knows whether somebody wants the run to end. The signals are held back in all threads, so that what was made can be
/// removed.
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Holds signals back from now on.
    pub(super) fn hold() -> Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context("hold signals back")?;
        let wanted = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&wanted);
        // It ends with the process.
        thread::spawn(move || {
            while signals.wait().is_err() {}
            told.store(true, Ordering::Relaxed);
        });
        Ok(Self(wanted))
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
