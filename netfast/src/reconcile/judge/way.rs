//! Whether packets get from one end to the other at all: what netfast does apart from policies.

use std::net::IpAddr;

use super::Judge;
use super::end::{End, Who};
use super::service::Service;
use crate::compile::policy::Family;
use crate::model::{EndpointId, Name, PortRange, Publish};

/// How packets get from one end to the other, or what is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// They do.
    Direct,
    /// Both ends are one endpoint.
    Itself,
    /// By a port of the host, which is called so.
    Published { host: String, target: String },
    /// The ends are in two networks.
    OtherNetwork { from: Name, to: Name },
    /// The network has no outside.
    Internal(Name),
    /// An address of a network that no endpoint has.
    NoSuchAddress { addr: IpAddr, network: Name },
    /// Nothing lets the outside in there.
    Unpublished { target: String },
    /// The published port is not for this source.
    SourceNotAllowed { host: String, target: String, source: IpAddr },
}

impl Way {
    /// Whether packets get there, if policies let them.
    pub(super) const fn leads(&self) -> bool {
        matches!(self, Self::Direct | Self::Itself | Self::Published { .. })
    }

    /// Whether they come to a published port, or would if it were one.
    pub(super) const fn is_published(&self) -> bool {
        matches!(self, Self::Published { .. } | Self::SourceNotAllowed { .. } | Self::Unpublished { .. })
    }

    /// What to tell of it; `None`: nothing.
    pub(super) fn note(&self) -> Option<String> {
        Some(match self {
            Self::Direct => return None,
            Self::Itself => "an endpoint reaches itself, whatever policies say".to_owned(),
            Self::Published { host, target } => {
                format!("{host} of the host is published: it leads to {target}")
            }
            Self::OtherNetwork { from, to } => format!(
                "the ends are in networks {from} and {to}: netfast drops what goes from one network to another, whatever policies say"
            ),
            Self::Internal(network) => {
                format!(
                    "network {network} is internal: netfast lets nothing out of it, whatever policies say"
                )
            }
            Self::NoSuchAddress { addr, network } => {
                format!(
                    "no endpoint of network {network} has the address {addr}: netfast drops what goes there"
                )
            }
            Self::Unpublished { target } => format!(
                "no published port of the host leads to {target}: netfast lets nothing else in from outside, whatever policies say"
            ),
            Self::SourceNotAllowed { host, target, source } => format!(
                "{host} of the host leads to {target}, but is not published for {source}: netfast drops it, whatever policies say"
            ),
        })
    }
}

/// Where a published port leads.
pub(super) struct Target {
    pub(super) end: End,
    pub(super) service: Service,
    pub(super) way: Way,
}

impl Judge {
    /// Whether packets get from one end to the other. One of them is an endpoint.
    pub(super) fn way(&self, from: &End, to: &End, service: &Service, family: Family) -> Way {
        match (&from.who, &to.who) {
            (Who::Endpoint(a), Who::Endpoint(b)) if a == b => Way::Itself,
            (Who::Endpoint(a), Who::Endpoint(b)) => match (self.endpoint(a), self.endpoint(b)) {
                (Some(a), Some(b)) if a.network != b.network => {
                    Way::OtherNetwork { from: a.network.clone(), to: b.network.clone() }
                }
                _ => Way::Direct,
            },
            (Who::Endpoint(a), Who::Host | Who::Outside) => self.way_out(a, to, family),
            (Who::Outside, Who::Endpoint(b)) => self.way_in(from.address(family), b, service, family),
            (Who::Host | Who::Outside, _) => Way::Direct,
        }
    }

    fn way_out(&self, from: &EndpointId, to: &End, family: Family) -> Way {
        let Some(own) = self.network_of(from) else { return Way::Direct };
        let addr = to.address(family);
        let is_gateway = addr.is_none_or(|addr| own.gateways().any(|gateway| gateway == addr));
        if to.who == Who::Host && is_gateway {
            return Way::Direct;
        }
        if own.internal {
            return Way::Internal(own.name.clone());
        }
        let mut networks = self.world.networks.values();
        let network = networks.find(|n| addr.is_some_and(|addr| n.subnet_of(addr).is_some()));
        match (addr, network) {
            (Some(addr), Some(network)) if to.who == Who::Outside => {
                Way::NoSuchAddress { addr, network: network.name.clone() }
            }
            _ => Way::Direct,
        }
    }

    fn way_in(&self, source: Option<IpAddr>, to: &EndpointId, service: &Service, family: Family) -> Way {
        let is_direct = self.network_of(to).is_some_and(|network| network.routed || network.adopted);
        if is_direct && self.endpoint_end(to).has(family) {
            return Way::Direct;
        }
        let target = format!("{to} {service}");
        let leading =
            self.endpoint(to).into_iter().flat_map(|endpoint| &endpoint.publish).filter(|publish| {
                service.port().is_some_and(|(protocol, port)| {
                    publish.protocol == protocol && publish.container.contains(port) && is_on(publish, family)
                })
            });
        let leading: Vec<_> = leading.collect();
        let is_for = |publish: &&Publish| source.is_none_or(|source| may_use(publish, source));
        match (leading.iter().copied().find(is_for), leading.first(), source) {
            (Some(publish), _, _) => Way::Published { host: host_port(publish, service), target },
            (None, Some(publish), Some(source)) => {
                Way::SourceNotAllowed { host: host_port(publish, service), target, source }
            }
            _ => Way::Unpublished { target },
        }
    }

    /// Where a port of the host leads, if it is published.
    pub(super) fn published(
        &self,
        from: &End,
        to: &End,
        service: &Service,
        family: Family,
    ) -> Option<Target> {
        if to.who != Who::Host || self.is_internal(from) {
            return None;
        }
        let (protocol, port) = service.port()?;
        let leads = |publish: &Publish| {
            let at = match (publish.host_ip, to.address(family)) {
                (Some(own), Some(addr)) => own == addr,
                _ => is_on(publish, family),
            };
            at && publish.protocol == protocol && publish.host.is_some_and(|host| host.contains(port))
        };
        let endpoints = self.world.endpoints.values();
        let (id, publish) = endpoints
            .flat_map(|endpoint| endpoint.publish.iter().map(move |publish| (&endpoint.id, publish)))
            .find(|(_, publish)| leads(publish))?;
        let offset =
            publish.host.filter(|_| publish.fixed_host().is_some()).map_or(0, |host| port - host.first);
        let service = Service::Port(protocol, publish.container.first.saturating_add(offset));
        let end = self.endpoint_end(id);
        let host = format!("{port}/{protocol}");
        let target = format!("{id} {service}");
        let source = from.address(family).filter(|_| from.who != Who::Host && from.endpoint() != Some(id));
        let way = match source {
            Some(source) if !may_use(publish, source) => Way::SourceNotAllowed { host, target, source },
            _ => Way::Published { host, target },
        };
        Some(Target { end, service, way })
    }

    /// Whether the outside can reach, by a published port, an endpoint that has no address of the family.
    pub(super) fn may_cross(&self, from: &End, to: &End, family: Family) -> bool {
        let endpoint = to.endpoint().filter(|id| !self.endpoint_end(id).has(family));
        from.who == Who::Outside
            && endpoint
                .and_then(|id| self.endpoint(id))
                .is_some_and(|endpoint| endpoint.publish.iter().any(|publish| is_on(publish, family)))
    }

    fn is_internal(&self, end: &End) -> bool {
        end.endpoint().and_then(|id| self.network_of(id)).is_some_and(|network| network.internal)
    }
}

fn is_on(publish: &Publish, family: Family) -> bool {
    publish.host_ip.is_none_or(|ip| ip.is_ipv4() == (family == Family::V4))
}

fn may_use(publish: &Publish, source: IpAddr) -> bool {
    publish.from.is_empty() || publish.from.iter().any(|net| net.contains(&source))
}

/// The host's port that leads to a port of the endpoint.
fn host_port(publish: &Publish, service: &Service) -> String {
    let Some((protocol, port)) = service.port() else { return String::new() };
    match publish.host {
        None => format!("a port of netfast's choice/{protocol}"),
        Some(PortRange { first, .. }) if publish.fixed_host().is_some() => {
            format!("{}/{protocol}", first.saturating_add(port.saturating_sub(publish.container.first)))
        }
        Some(range) => format!("{range}/{protocol}"),
    }
}
