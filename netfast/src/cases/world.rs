//! The world of a case.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::compile::policy::{Assigned, Family, Side};
use crate::manifest::cases::{Case, End, Probe};
use crate::manifest::{Diagnostics, LoadedPolicies, Unread, parse_policies};
use crate::model::{Endpoint, EndpointId, World};

/// From which addresses endpoints get theirs that name none.
const SUBNETS: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 77, 0, 0), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0));

/// A case's endpoints, policies and addresses.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) addresses: BTreeMap<EndpointId, Assigned>,
    /// The node's addresses; the unspecified ones where nothing says which it has.
    pub(super) node: Vec<IpAddr>,
    owners: BTreeMap<IpAddr, EndpointId>,
}

/// Why a case cannot be judged.
#[derive(Debug)]
pub(super) enum Unjudged {
    /// Its policies have mistakes.
    Wrong(Diagnostics),
    /// Something in it is not known here.
    Unknown(String),
}

impl Scene {
    pub(super) fn new(case: &Case) -> Result<Self, Unjudged> {
        let LoadedPolicies { policies, cluster_policies, namespaces, .. } = parse_policies(&case.policies)
            .map_err(|unread| match unread {
                Unread::Wrong(diagnostics) => Unjudged::Wrong(diagnostics),
                Unread::Unknown(kinds) => Unjudged::Unknown(format!(
                    "its policies hold what is not read here: {}",
                    kinds.join(", ")
                )),
            })?;
        let mut world =
            World { namespaces: case.namespaces.clone(), policies, cluster_policies, ..World::default() };
        for (name, labels) in namespaces {
            world.namespaces.entry(name).or_default().extend(labels);
        }
        world.endpoints = with_addresses(case);
        let addresses: BTreeMap<_, _> = world
            .endpoints
            .values()
            .map(|e| (e.id.clone(), Assigned { ip: e.ip, ip6: e.ip6, more: Vec::new() }))
            .collect();
        let owned = addresses.iter().flat_map(|(id, Assigned { ip, ip6, .. })| {
            let ips = [ip.map(IpAddr::V4), ip6.map(IpAddr::V6)];
            ips.into_iter().flatten().map(|ip| (ip, id.clone()))
        });
        let node = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        Ok(Self { owners: owned.collect(), world, addresses, node })
    }

    /// An end as it is known here: an endpoint goes by its name even where the case says its address.
    pub(super) fn known(&self, end: &End) -> End {
        match end {
            End::Address(address) => match self.owners.get(address) {
                Some(id) => End::Endpoint(id.clone()),
                None => end.clone(),
            },
            _ => end.clone(),
        }
    }

    /// The family of a probe.
    ///
    /// # Errors
    /// Says who has no address of that family.
    pub(super) fn family(&self, probe: &Probe) -> Result<Family, String> {
        let ends = [&probe.from, &probe.to];
        let said = ends.into_iter().find_map(|end| match end {
            End::Address(address) => Some(address.is_ipv6()),
            _ => None,
        });
        let candidates = match probe.is_v6.or(said) {
            Some(true) => &[Family::V6][..],
            Some(false) => &[Family::V4],
            None => &[Family::V4, Family::V6],
        };
        let lacks = |family: Family| ends.into_iter().find(|end| self.address(end, family).is_none());
        if let Some(family) = candidates.iter().find(|family| lacks(**family).is_none()) {
            return Ok(*family);
        }
        let family = candidates[0];
        let who = lacks(family).map(ToString::to_string).unwrap_or_default();
        Err(format!("{who} has no {} address", if family == Family::V4 { "IPv4" } else { "IPv6" }))
    }

    /// The address of an end.
    pub(super) fn address(&self, end: &End, family: Family) -> Option<IpAddr> {
        match end {
            End::Endpoint(id) => {
                let Assigned { ip, ip6, .. } = self.addresses.get(id)?;
                match family {
                    Family::V4 => ip.map(IpAddr::V4),
                    Family::V6 => ip6.map(IpAddr::V6),
                }
            }
            End::Address(address) => Some(*address),
            End::Node => self.node.iter().find(|ip| ip.is_ipv6() == (family == Family::V6)).copied(),
        }
    }

    /// An end as policy sees it.
    pub(super) fn side(&self, end: &End, family: Family) -> Option<Side> {
        Some(match self.known(end) {
            End::Endpoint(id) => Side::Endpoint(id, family),
            End::Address(address) => Side::Outside(address),
            End::Node => Side::Host(self.address(end, family)?),
        })
    }
}

/// The endpoints of a case. Those that name no address get one of each family.
fn with_addresses(case: &Case) -> BTreeMap<EndpointId, Endpoint> {
    let probed = case.probes.iter().flat_map(|probe| [&probe.from, &probe.to]).filter_map(|end| match end {
        End::Address(address) => Some(*address),
        _ => None,
    });
    let mut used: BTreeSet<IpAddr> = probed.collect();
    for endpoint in case.endpoints.values() {
        used.extend(endpoint.ip.map(IpAddr::V4));
        used.extend(endpoint.ip6.map(IpAddr::V6));
    }
    // The first two of a subnet are its own and the gateway's.
    let mut free = (2..).map(|n: u16| {
        let v4 = Ipv4Addr::from(u32::from(SUBNETS.0) + u32::from(n));
        (v4, Ipv6Addr::from(u128::from(SUBNETS.1) + u128::from(n)))
    });
    let mut endpoints = case.endpoints.clone();
    for endpoint in endpoints.values_mut().filter(|e| e.ip.is_none() && e.ip6.is_none()) {
        let both = free.find(|(v4, v6)| !used.contains(&(*v4).into()) && !used.contains(&(*v6).into()));
        (endpoint.ip, endpoint.ip6) = both.unzip();
    }
    endpoints
}
