//! What figures are of.

use std::fmt;

use serde::Serialize;

/// What a figure is of, and in which unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Half of the transactions took no longer, in microseconds.
    P50Us,
    /// All but a hundredth of the transactions took no longer, in microseconds.
    P99Us,
    /// Transactions a second.
    PerSecond,
    /// Gigabits a second that arrived.
    GigabitsPerSecond,
    /// Seconds of CPU for each gigabyte that arrived.
    CpuSecondsPerGigabyte,
    /// Share of the datagrams that did not arrive, in percent.
    LostPercent,
    /// Nanoseconds for each packet.
    NsPerPacket,
    /// Milliseconds that something took.
    Milliseconds,
}

impl Metric {
    /// What it is called by programs, as in JSON.
    pub const fn id(self) -> &'static str {
        match self {
            Self::P50Us => "p50_us",
            Self::P99Us => "p99_us",
            Self::PerSecond => "per_second",
            Self::GigabitsPerSecond => "gigabits_per_second",
            Self::CpuSecondsPerGigabyte => "cpu_seconds_per_gigabyte",
            Self::LostPercent => "lost_percent",
            Self::NsPerPacket => "ns_per_packet",
            Self::Milliseconds => "milliseconds",
        }
    }

    /// Whether less is better.
    pub const fn is_cost(self) -> bool {
        !matches!(self, Self::PerSecond | Self::GigabitsPerSecond)
    }

    /// How many times better `own` is than `other`: 2 is twice as fast, or half the cost. `None` of what is told only.
    pub fn advantage(self, own: f64, other: f64) -> Option<f64> {
        let ratio = if self.is_cost() { other / own } else { own / other };
        (self != Self::LostPercent && ratio.is_finite()).then_some(ratio)
    }

    /// A figure with as many digits as it deserves.
    pub fn show(self, figure: f64) -> String {
        match self {
            Self::PerSecond | Self::NsPerPacket => format!("{figure:.0}"),
            Self::P50Us | Self::P99Us | Self::GigabitsPerSecond | Self::LostPercent | Self::Milliseconds => {
                if figure.abs() < 100.0 {
                    format!("{figure:.2}")
                } else {
                    format!("{figure:.0}")
                }
            }
            Self::CpuSecondsPerGigabyte => format!("{figure:.3}"),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::P50Us => "p50 µs",
            Self::P99Us => "p99 µs",
            Self::PerSecond => "per second",
            Self::GigabitsPerSecond => "Gbit/s",
            Self::CpuSecondsPerGigabyte => "CPU s/GB",
            Self::LostPercent => "lost %",
            Self::NsPerPacket => "ns/packet",
            Self::Milliseconds => "ms",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_is_above_one_whatever_is_measured() {
        assert_eq!(Metric::P50Us.advantage(5.0, 10.0), Some(2.0));
        assert_eq!(Metric::PerSecond.advantage(5.0, 10.0), Some(0.5));
        assert_eq!(Metric::PerSecond.advantage(5.0, 0.0), None);
        assert_eq!(Metric::LostPercent.advantage(1.0, 2.0), None);
    }

    #[test]
    fn names_are_those_of_the_json() {
        for metric in
            [Metric::P50Us, Metric::GigabitsPerSecond, Metric::CpuSecondsPerGigabyte, Metric::NsPerPacket]
        {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.id());
        }
    }
}
