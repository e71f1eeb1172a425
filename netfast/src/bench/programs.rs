//! What netfast's programs cost by themselves (`BPF_PROG_TEST_RUN`), without the rest of a packet's way; and what its
//! maps take.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};
use etherparse::PacketBuilder;

use super::cpu;
use super::peers::{DEVICE, Ends, HOST, Installed, OUTSIDE, SERVER, Stage, UPLINK};
use super::plan::Way;
use super::report::{MemoryReport, ProgramReport};
use crate::kernel::{Datapath, Hook, Packet};
use crate::net::{Netlink, Netns};

/// Runs of a program that leaves a packet as it wants it again.
const RUNS: u32 = 200_000;
/// Runs of one that does not, each on a fresh packet.
const SINGLE_RUNS: usize = 2_000;
/// How long a datagram may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A device and its hardware address, and of a container's the host's end too.
struct Device {
    mac: [u8; 6],
    host_index: u32,
}

/// Runs each program on packets of flows that are open.
pub(super) fn costs(stage: &Stage, cpu: usize) -> Result<Vec<ProgramReport>> {
    let installed = stage.installed.as_ref().context("it is not netfast")?;
    let ground = stage.ground.as_ref().context("there is no host")?;
    let datapath = installed.datapath()?;
    let open = |way| stage.ends(way).and_then(|ends| open(&ends));
    let (between, published) = (open(Way::Between)?, open(Way::Published)?);
    let (outward, inward) = (open(Way::Outward)?, open(Way::HostToContainer)?);
    let [client, server] = [stage.ends(Way::Between)?.client, stage.ends(Way::Between)?.server].map(device);
    let (client, server) = (client?, server?);
    let uplink = Netlink::open(&ground.host)?.link(UPLINK)?;
    let (uplink_mac, any) = (uplink.mac.context("an uplink without a hardware address")?, [2, 0, 0, 0, 0, 9]);
    ground.host.run(|| {
        cpu::pin(cpu)?;
        let bench = Bench::new(
            &datapath,
            (Hook::EndpointIngress, client.host_index, frame(client.mac, server.mac, &between)?),
        )?;
        let (from_endpoint, from_uplink) = (Hook::EndpointIngress, Hook::UplinkIngress);
        let reply = SocketAddr::from((SERVER, published.1.port()));
        let foreign = (SocketAddr::from((OUTSIDE, 9)), SocketAddr::from((HOST, 9)));
        Ok(vec![
            ProgramReport {
                program: from_endpoint.program(),
                packet: "to another endpoint",
                ns: bench.between,
            },
            bench.single(
                from_endpoint,
                "to the outside, masqueraded",
                client.host_index,
                &frame(client.mac, any, &outward)?,
            )?,
            bench.single(
                from_endpoint,
                "reply of a published port",
                server.host_index,
                &frame(server.mac, any, &(reply, published.0))?,
            )?,
            bench.single(
                Hook::EndpointEgress,
                "from the host",
                server.host_index,
                &frame(any, server.mac, &inward)?,
            )?,
            bench.single(
                from_uplink,
                "to a published port",
                uplink.index,
                &frame(any, uplink_mac, &published)?,
            )?,
            bench.single(
                from_uplink,
                "for the host itself",
                uplink.index,
                &frame(any, uplink_mac, &foreign)?,
            )?,
            bench.deny(&frame(any, uplink_mac, &foreign)?)?,
        ])
    })?
}

/// What netfast's maps take.
pub(super) fn memory(installed: &Installed) -> Result<MemoryReport> {
    let maps = installed.datapath()?.usage()?.iter().map(|map| map.bytes).sum();
    Ok(MemoryReport { maps, processes: 0 })
}

/// Programs to run, and what a run on its own costs besides the program.
struct Bench<'d> {
    datapath: &'d Datapath,
    /// One packet between endpoints, in nanoseconds.
    between: u64,
    overhead: u64,
}

impl<'d> Bench<'d> {
    /// A packet between endpoints comes out as it went in. So it is run many times at once and one by one, and the
    /// difference is what starting and stopping the kernel's clock takes.
    fn new(datapath: &'d Datapath, (hook, ifindex, bytes): (Hook, u32, Vec<u8>)) -> Result<Self> {
        let packet = Packet { bytes: &bytes, ifindex, repeat: RUNS, ..Packet::default() };
        let between = nanoseconds(datapath.test_hook(hook, packet)?.duration);
        let mut bench = Self { datapath, between, overhead: 0 };
        bench.overhead = bench.single(hook, "", ifindex, &bytes)?.ns.saturating_sub(between);
        Ok(bench)
    }

    fn single(&self, hook: Hook, what: &'static str, ifindex: u32, bytes: &[u8]) -> Result<ProgramReport> {
        let packet = Packet { bytes, ifindex, ..Packet::default() };
        let mut times = Vec::with_capacity(SINGLE_RUNS);
        for _ in 0..SINGLE_RUNS {
            times.push(nanoseconds(self.datapath.test_hook(hook, packet)?.duration));
        }
        Ok(ProgramReport {
            program: hook.program(),
            packet: what,
            ns: middle(times).saturating_sub(self.overhead),
        })
    }

    fn deny(&self, bytes: &[u8]) -> Result<ProgramReport> {
        let packet = Packet { bytes, repeat: RUNS, ..Packet::default() };
        let ns = nanoseconds(self.datapath.test_deny(packet)?.duration);
        Ok(ProgramReport { program: "deny_xdp", packet: "from a source that is not denied", ns })
    }
}

fn middle(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Opens a flow: two datagrams each way. Returns both ends as the client sees them.
fn open(ends: &Ends<'_>) -> Result<(SocketAddr, SocketAddr)> {
    let socket = |netns: &Netns, port: u16| {
        netns.run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            std::io::Result::Ok(socket)
        })
    };
    let (server, client) = (socket(ends.server, ends.port)??, socket(ends.client, 0)??);
    client.connect(ends.target)?;
    let mut byte = [0];
    for _ in 0..2 {
        client.send(&byte)?;
        let (_, from) = server.recv_from(&mut byte)?;
        server.send_to(&byte, from)?;
        client.recv(&mut byte)?;
    }
    Ok((client.local_addr()?, ends.target))
}

/// A datagram of one byte.
fn frame(from: [u8; 6], to: [u8; 6], flow: &(SocketAddr, SocketAddr)) -> Result<Vec<u8>> {
    let (SocketAddr::V4(source), SocketAddr::V4(target)) = flow else { anyhow::bail!("not of IPv4") };
    let builder = PacketBuilder::ethernet2(from, to)
        .ipv4(source.ip().octets(), target.ip().octets(), 64)
        .udp(source.port(), target.port());
    let mut frame = Vec::new();
    builder.write(&mut frame, &[0]).context("make a frame")?;
    Ok(frame)
}

fn device(container: &Netns) -> Result<Device> {
    let link = Netlink::open(container)?.link(DEVICE)?;
    let mac = link.mac.context("a container without a hardware address")?;
    Ok(Device { mac, host_index: link.peer_index.context("a container without a wire")? })
}
