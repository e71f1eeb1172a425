//! What a namespace's devices have counted.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

use crate::ns::Ns;

/// The kernel's counters of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets received in error.
    pub rx_errors: u64,
    /// Packets dropped on receipt.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets dropped before they were sent.
    pub tx_dropped: u64,
}

impl Ns {
    /// The counters of every device, by name.
    pub fn counters(&self) -> Result<BTreeMap<String, Counters>> {
        let text = self.run(|| Ok(fs::read_to_string("/proc/thread-self/net/dev")?))?;
        text.lines().skip(2).map(parse).collect()
    }

    /// The names of its devices, sorted.
    pub fn links(&self) -> Result<Vec<String>> {
        Ok(self.counters()?.into_keys().collect())
    }
}

fn parse(line: &str) -> Result<(String, Counters)> {
    let (name, numbers) = line.split_once(':').with_context(|| format!("a strange line: {line:?}"))?;
    let numbers: Vec<u64> =
        numbers.split_whitespace().map(|n| n.parse().context("a counter")).collect::<Result<_>>()?;
    let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
    let counters = Counters {
        rx_bytes: at(0),
        rx_packets: at(1),
        rx_errors: at(2),
        rx_dropped: at(3),
        tx_bytes: at(8),
        tx_packets: at(9),
        tx_errors: at(10),
        tx_dropped: at(11),
    };
    Ok((name.trim().to_owned(), counters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_net_dev() {
        let (name, counters) = parse("  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0").unwrap();
        assert_eq!(name, "eth0");
        let Counters {
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        } = counters;
        assert_eq!([rx_bytes, rx_packets, rx_errors, rx_dropped], [1, 2, 3, 4]);
        assert_eq!([tx_bytes, tx_packets, tx_errors, tx_dropped], [5, 6, 7, 8]);
    }
}
