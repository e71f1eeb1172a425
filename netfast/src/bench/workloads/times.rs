//! The times of transactions.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Values;
use super::slice::Clock;
use crate::bench::metric::Metric;
use crate::bench::stats::{float, percentile};

/// Room for the transactions of a slice, so that none of them waits for memory.
const ROOM: usize = 1 << 17;

/// Transactions that are measured however long they take: on a busy machine the threads may not get to run before the end.
const FEWEST: usize = 20;

/// How long each transaction took, those of the warm-up apart.
pub(super) struct Times {
    nanoseconds: Vec<u32>,
    last: Instant,
    first: Option<Instant>,
}

impl Times {
    pub(super) fn new() -> Self {
        Self { nanoseconds: Vec::with_capacity(ROOM), last: Instant::now(), first: None }
    }

    /// A transaction is over, and the next begins. `false`: there is to be none.
    pub(super) fn note(&mut self, clock: &Clock<'_>) -> bool {
        let now = Instant::now();
        if now >= clock.warm {
            if self.first.is_none() {
                self.first = Some(now);
            } else {
                let took = now - self.last;
                self.nanoseconds.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
            }
        }
        self.last = now;
        now < clock.end || (self.nanoseconds.len() < FEWEST && !clock.is_over())
    }

    /// The figures of the slice.
    ///
    /// # Errors
    /// When there was no transaction.
    pub(super) fn values(mut self) -> Result<Values> {
        let span = self.first.map_or(Duration::ZERO, |first| self.last - first);
        let count = self.nanoseconds.len();
        ensure!(count > 0, "not one transaction came to its end");
        let microseconds =
            |times: &mut Vec<u32>, share| percentile(times, share).map(|ns| f64::from(ns) / 1e3);
        let mut values = Values::from([(Metric::PerSecond, float(count) / span.as_secs_f64())]);
        for (metric, share) in [(Metric::P50Us, 0.5), (Metric::P99Us, 0.99)] {
            values.extend(microseconds(&mut self.nanoseconds, share).map(|value| (metric, value)));
        }
        Ok(values)
    }
}
