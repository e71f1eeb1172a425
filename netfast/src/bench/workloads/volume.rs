//! How much arrived, and what that took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Values;
use crate::bench::cpu::CpuMeter;
use crate::bench::metric::Metric;

/// What had arrived at a moment.
pub(super) struct Volume {
    bytes: u64,
    at: Instant,
    cpu: Duration,
}

impl Volume {
    /// What has arrived by now.
    pub(super) fn now(arrived: &AtomicU64, meter: &CpuMeter) -> Result<Self> {
        Ok(Self { bytes: arrived.load(Ordering::Relaxed), at: Instant::now(), cpu: meter.read()? })
    }

    /// How many bytes it was.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The figures between two moments.
pub(super) fn values(start: &Volume, end: &Volume) -> Values {
    #[expect(clippy::cast_precision_loss, reason = "no slice moves 2^52 bytes")]
    let bytes = (end.bytes - start.bytes) as f64;
    let seconds = (end.at - start.at).as_secs_f64();
    let cpu = end.cpu.saturating_sub(start.cpu).as_secs_f64();
    Values::from([
        (Metric::GigabitsPerSecond, bytes * 8.0 / seconds / 1e9),
        (Metric::CpuSecondsPerGigabyte, cpu / bytes * 1e9),
    ])
}
