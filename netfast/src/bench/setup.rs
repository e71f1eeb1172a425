//! How long it takes to change something.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::metric::Metric;
use super::peers::{Backend, Peer, Stage, iptables, nftables};
use super::workloads::Values;
use crate::net::Netlink;

/// The container that is added, and its port.
const NAME: &str = "more";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 77);
const PORT: u16 = 77;
/// Its end of the wire at the bridge of peers that have one.
const DEVICE: &str = "veth-more";

/// Adds a container with a published port, and removes it again; only adding is timed.
///
/// Of the peers it is what must be done at least, without a runtime: a namespace, a veth pair, addresses, a route, and one
/// run of the tool that adds the rules. netfast's is a whole change of an instance, checks and files included.
pub(super) fn add_container(stage: &Stage) -> Result<Values> {
    if let Some(installed) = &stage.installed {
        let took = timed(|| installed.add(NAME, PORT))?;
        installed.remove(NAME)?;
        return Ok(took);
    }
    let ground = stage.ground.as_ref().context("there is no host")?;
    let netlink = Netlink::open(&ground.host)?;
    let bridge = netlink.link(super::peers::BRIDGE)?.index;
    let mut container = None;
    let took = timed(|| {
        container = Some(ground.container(bridge, DEVICE, ADDRESS)?);
        match stage.peer {
            Peer::IptablesNft => iptables::append(&ground.host, Backend::Nft, ADDRESS, PORT),
            Peer::IptablesLegacy => iptables::append(&ground.host, Backend::Legacy, ADDRESS, PORT),
            Peer::NftMaps => nftables::append(&ground.host, ADDRESS, PORT),
            peer => bail!("{peer} publishes no ports"),
        }
    })?;
    drop(container);
    netlink.delete_link(netlink.link(DEVICE)?.index)?;
    // The rules go with all others: what is published is what was at first.
    restore(stage)?;
    Ok(took)
}

/// Publishes all ports of the stage's scale, of which none was published before.
pub(super) fn publish(stage: &Stage) -> Result<Values> {
    if let Some(installed) = &stage.installed {
        installed.publish(false)?;
        return timed(|| installed.publish(true));
    }
    let host = &stage.ground.as_ref().context("there is no host")?.host;
    match stage.peer {
        Peer::IptablesNft => iptables::unpublish(host, Backend::Nft)?,
        Peer::IptablesLegacy => iptables::unpublish(host, Backend::Legacy)?,
        Peer::NftMaps => nftables::unpublish(host)?,
        peer => bail!("{peer} publishes no ports"),
    }
    timed(|| restore(stage))
}

/// Publishes the ports of a stage's scale, and no others.
fn restore(stage: &Stage) -> Result<()> {
    let host = &stage.ground.as_ref().context("there is no host")?.host;
    match stage.peer {
        Peer::IptablesNft => iptables::publish(host, Backend::Nft, stage.scale),
        Peer::IptablesLegacy => iptables::publish(host, Backend::Legacy, stage.scale),
        Peer::NftMaps => nftables::publish(host, stage.scale),
        peer => bail!("{peer} publishes no ports"),
    }
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Values> {
    let start = Instant::now();
    work()?;
    Ok(Values::from([(Metric::Milliseconds, milliseconds(start.elapsed()))]))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
