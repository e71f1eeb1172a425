//! What it costs to drop what comes from a denied source.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::PacketBuilder;

use super::cpu::{self, CpuMeter};
use super::metric::Metric;
use super::peers::{Backend, HOST, OUTSIDE, Peer, Stage, UPLINK, iptables, nftables};
use super::workloads::Values;
use crate::kernel::FrameSource;
use crate::net::{Netlink, Netns, receive_in_batches};

/// Frames of one measurement.
const FRAMES: u32 = 1 << 18;
/// The port of the host they are sent to.
const PORT: u16 = 9;
/// Their payload, which makes the smallest frames there are.
const PAYLOAD: [u8; 18] = [0; 18];

/// Denies the world outside, sends frames from there as fast as one CPU can make them, and allows it again.
pub(super) fn run(stage: &Stage, cpu: usize) -> Result<Values> {
    deny(stage, true)?;
    let result = flood(stage, cpu);
    deny(stage, false)?;
    result
}

/// Divides the time of the CPU by the number of frames. The CPU that makes a frame also drops it, so the time holds both;
/// making one takes the same for all.
fn flood(stage: &Stage, cpu: usize) -> Result<Values> {
    let ground = stage.ground.as_ref().context("there is no host")?;
    let host = &ground.host;
    // Without XDP of its own, a veth device takes frames made by XDP only if it polls.
    host.run(|| receive_in_batches(UPLINK))??;
    let mac = |mac: Option<[u8; 6]>| mac.context("a veth device without a hardware address");
    let to = mac(Netlink::open(host)?.link(UPLINK)?.mac)?;
    let from = mac(Netlink::open(&ground.outside)?.link_by_index(ground.outside_device)?.mac)?;
    let mut frame = Vec::new();
    let builder =
        PacketBuilder::ethernet2(from, to).ipv4(OUTSIDE.octets(), HOST.octets(), 64).udp(PORT, PORT);
    builder.write(&mut frame, &PAYLOAD).context("make a frame")?;
    let meter = CpuMeter::new([cpu, cpu]);
    let before = arrived(host)?;
    let took = ground.outside.run(|| {
        cpu::pin(cpu)?;
        let source = FrameSource::new(ground.outside_device)?;
        let start = meter.read()?;
        source.send(&frame, FRAMES)?;
        anyhow::Ok(meter.read()?.saturating_sub(start))
    })??;
    let arrived = arrived(host)? - before;
    ensure!(arrived >= u64::from(FRAMES / 100 * 95), "only {arrived} of {FRAMES} frames arrived");
    #[expect(clippy::cast_precision_loss, reason = "no more than were sent")]
    let ns = took.as_secs_f64() * 1e9 / arrived as f64;
    Ok(Values::from([(Metric::NsPerPacket, ns)]))
}

/// Frames that the uplink has received so far, whatever became of them.
fn arrived(host: &Netns) -> Result<u64> {
    let table = host
        .run(|| fs::read_to_string("/proc/thread-self/net/dev"))?
        .context("read the counters of devices")?;
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(UPLINK)?.strip_prefix(':'));
    let packets = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    packets.and_then(|word| word.parse().ok()).context("the uplink has no counters")
}

fn deny(stage: &Stage, on: bool) -> Result<()> {
    if let Some(installed) = &stage.installed {
        return installed.deny_outside(on);
    }
    let host = &stage.ground.as_ref().context("there is no host")?.host;
    match stage.peer {
        Peer::IptablesNft => iptables::drop_outside(host, Backend::Nft, on),
        Peer::IptablesLegacy => iptables::drop_outside(host, Backend::Legacy, on),
        Peer::NftMaps => nftables::drop_outside(host, on),
        peer => bail!("{peer} denies nothing"),
    }
}
