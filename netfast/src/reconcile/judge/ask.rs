//! One question, of one family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail, ensure};

use super::Judge;
use super::end::{End, Who};
use super::service::Service;
use super::way::{Target, Way};
use crate::compile::policy::{Answer, Family, Side};
use crate::model::Network;

/// Which address families are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// All that both ends have.
    #[default]
    Both,
    /// Only this one.
    One(Family),
}

impl Families {
    /// The families, IPv4 first.
    pub(super) const fn list(self) -> &'static [Family] {
        match self {
            Self::Both => &[Family::V4, Family::V6],
            Self::One(Family::V4) => &[Family::V4],
            Self::One(Family::V6) => &[Family::V6],
        }
    }
}

/// What came of a question.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) family: Family,
    /// The receiver that was judged: behind a published port, the endpoint.
    pub(super) to: End,
    /// What was judged.
    pub(super) service: Service,
    pub(super) way: Way,
    pub(super) answer: Answer,
}

impl Judge {
    /// The families in which the sender can reach the receiver.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn families(&self, from: &End, to: &End, asked: Families) -> Result<Vec<Family>> {
        let can_meet =
            |family: &Family| from.has(*family) && (to.has(*family) || self.may_cross(from, to, *family));
        let families: Vec<_> = asked.list().iter().copied().filter(can_meet).collect();
        let name = |family| if family == Family::V4 { "IPv4" } else { "IPv6" };
        if families.is_empty() {
            for end in [from, to] {
                let lacks: Vec<_> = asked.list().iter().copied().filter(|family| !end.has(*family)).collect();
                if let ([family], Families::One(_)) = (lacks.as_slice(), asked) {
                    bail!("{} has no {} address", end.name(), name(*family));
                }
            }
            bail!("{} and {} have no address family in common", from.name(), to.name());
        }
        Ok(families)
    }

    /// What netfast says of a new connection.
    ///
    /// # Errors
    /// When neither end is an endpoint.
    pub(super) fn ask(&self, from: &End, to: &End, service: &Service, family: Family) -> Result<Found> {
        let Target { end: to, service, way } = match self.published(from, to, service, family) {
            Some(target) => target,
            None => {
                Target { way: self.way(from, to, service, family), end: to.clone(), service: service.clone() }
            }
        };
        ensure!(
            from.endpoint().is_some() || to.endpoint().is_some(),
            "neither {} nor {} is an endpoint: netfast has no say in it",
            from.name(),
            to.name()
        );
        let wanted = service.wanted(family);
        // What is translated at a published port reaches the endpoint by the family that it has.
        let reached = if to.has(family) || !way.is_published() { family } else { family.other() };
        let sides = (self.side(from, &to, family), self.side(&to, from, reached));
        let (Some(sender), Some(receiver)) = sides else {
            bail!("{} and {} have no address family in common", from.name(), to.name());
        };
        let Some(answer) = self.tables.answer(&sender, &receiver, wanted.protocol, wanted.port) else {
            bail!("{} or {} is not known to the policies", from.name(), to.name());
        };
        Ok(Found { family, to, service, way, answer })
    }

    /// An end as the policies see it. The host is at the gateway of the other end's network, unless it was named by another
    /// address.
    pub(super) fn side(&self, end: &End, other: &End, family: Family) -> Option<Side> {
        match &end.who {
            Who::Endpoint(id) => {
                let addr = end.address(family)?;
                let is_further = self.addresses.get(id).is_some_and(|own| own.more.contains(&addr));
                Some(if is_further {
                    Side::Further(id.clone(), addr)
                } else {
                    Side::Endpoint(id.clone(), family)
                })
            }
            Who::Outside => end.address(family).map(Side::Outside),
            Who::Host => Some(Side::Host(self.host_address(end, other, family))),
        }
    }

    /// The address by which the other end meets the host.
    pub(super) fn host_address(&self, host: &End, other: &End, family: Family) -> IpAddr {
        let network = other.endpoint().and_then(|id| self.network_of(id));
        let of_subnet = || network?.gateway_of(other.address(family)?);
        host.address(family).or_else(of_subnet).unwrap_or_else(|| match family {
            Family::V4 => network.and_then(Network::gateway).map_or(Ipv4Addr::UNSPECIFIED.into(), IpAddr::V4),
            Family::V6 => {
                network.and_then(Network::gateway6).map_or(Ipv6Addr::UNSPECIFIED.into(), IpAddr::V6)
            }
        })
    }
}
