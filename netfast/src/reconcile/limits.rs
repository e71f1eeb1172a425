//! Limits of bandwidth: kept at the ends of an endpoint's pair, each for the packets that leave by it.

use std::fmt;

use anyhow::{Context, Result};

use super::assign::Records;
use crate::model::{Endpoint, RateLimit, World};
use crate::net::{self, Netlink, Netns, Qdisc};
use crate::store::{EndpointRecord, fault};

/// How fast packets may go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit<'a> {
    record: &'a EndpointRecord,
    end: End,
    rate: RateLimit,
}

/// Where packets wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// What comes to the endpoint.
    Host,
    /// What it sends.
    Container,
}

impl<'a> Limit<'a> {
    /// Those of an endpoint.
    fn of(endpoint: &Endpoint, record: &'a EndpointRecord) -> impl Iterator<Item = Self> + use<'a> {
        let ends = [(End::Host, endpoint.ingress_limit), (End::Container, endpoint.egress_limit)];
        ends.into_iter().filter_map(move |(end, limit)| Some(Self { record, end, rate: limit? }))
    }

    /// Sees that it is kept, if there still is a device. `netlink`: the host's.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn set(&self, netlink: &Netlink) -> Result<()> {
        let RateLimit { rate, burst } = self.rate;
        fault::point("limit an endpoint");
        let set = |netlink: &Netlink, device| netlink.limit(device, rate, burst, self.record.mtu.into());
        match self.end {
            End::Host => self.record.host_ifindex.map_or(Ok(()), |device| set(netlink, device)),
            End::Container => {
                self.inside().and_then(|inside| inside.map_or(Ok(()), |(n, device)| set(&n, device)))
            }
        }
        .with_context(|| format!("endpoint {}: limit its bandwidth", self.record.id))
    }

    /// Whether there is a device where another limit is kept, or none. `host`: what the host has.
    fn is_lost(&self, host: &[Qdisc]) -> Result<bool, net::Error> {
        let is_kept = |qdiscs: &[Qdisc], device| {
            let wanted = (device, true, Some(self.rate.rate));
            qdiscs.iter().any(|qdisc| (qdisc.ifindex, qdisc.is_root, qdisc.rate) == wanted)
        };
        Ok(match self.end {
            End::Host => self.record.host_ifindex.is_some_and(|device| !is_kept(host, device)),
            End::Container => match self.inside()? {
                Some((netlink, device)) => !is_kept(&netlink.qdiscs()?, device),
                None => false,
            },
        })
    }

    /// The endpoint's device in its namespace, unless one of them is gone.
    fn inside(&self) -> Result<Option<(Netlink, u32)>, net::Error> {
        let Ok(netns) = Netns::open(&self.record.netns) else { return Ok(None) };
        // The path may mean another one by now.
        if Some(netns.inode()?) != self.record.netns_inode {
            return Ok(None);
        }
        let netlink = Netlink::open(&netns)?;
        match netlink.link(&self.record.container_ifname) {
            Ok(link) => Ok(Some((netlink, link.index))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Limit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.end {
            End::Host => "comes",
            End::Container => "goes",
        };
        write!(
            f,
            "endpoint {}: the limit of the bandwidth of what {direction} is gone, or another one",
            self.record.id
        )
    }
}

/// Limits a new endpoint. `netlink`: the host's.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn set(netlink: &Netlink, endpoint: &Endpoint, record: &EndpointRecord) -> Result<()> {
    Limit::of(endpoint, record).try_for_each(|limit| limit.set(netlink))
}

/// Those that are not kept. Of endpoints whose device or namespace is gone nothing is told. `netlink`: the host's.
///
/// # Errors
/// When the kernel does not answer.
pub(super) fn lost<'a>(netlink: &Netlink, world: &World, records: &'a Records) -> Result<Vec<Limit<'a>>> {
    let own = records.endpoints.values().filter(|record| record.adopted.is_none());
    let limits: Vec<_> = own
        .filter_map(|record| Some(Limit::of(world.endpoints.get(&record.id)?, record)))
        .flatten()
        .collect();
    if limits.is_empty() {
        return Ok(Vec::new());
    }
    let host = netlink.qdiscs().context("list the host's queueing disciplines")?;
    let mut lost = Vec::new();
    for limit in limits {
        let failed = || format!("endpoint {}: look for its limits", limit.record.id);
        if limit.is_lost(&host).with_context(failed)? {
            lost.push(limit);
        }
    }
    Ok(lost)
}
