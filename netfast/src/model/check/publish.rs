//! Published ports: one owner for each port of the host.

use std::net::IpAddr;

use super::{Problem, Subject};
use crate::model::{Endpoint, PortRange, Publish, World};

/// One published port or range that names its host ports.
struct Claim<'a> {
    endpoint: &'a Endpoint,
    index: usize,
    publish: &'a Publish,
    host: PortRange,
}

pub(super) fn check(world: &World) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut claims = Vec::new();
    for endpoint in world.endpoints.values() {
        let internal = world.networks.get(&endpoint.network).is_some_and(|network| network.internal);
        if internal && !endpoint.publish.is_empty() {
            let subject = Subject::Endpoint(endpoint.id.clone());
            let message = format!("network {} is internal, so nothing can be published", endpoint.network);
            problems.push(Problem::new(&subject, "publish", message));
        }
        for (index, publish) in endpoint.publish.iter().enumerate() {
            claims.extend(publish.fixed_host().map(|host| Claim { endpoint, index, publish, host }));
        }
    }
    problems.extend(clashes(&claims));
    problems
}

/// Walks the claims in the order of the world, so that the later one is complained about, against an index by port.
fn clashes(claims: &[Claim<'_>]) -> Vec<Problem> {
    let mut by_port: Vec<usize> = (0..claims.len()).collect();
    by_port.sort_by_key(|claim| (claims[*claim].publish.protocol, claims[*claim].host.first));
    let mut open: Vec<usize> = Vec::new();
    let mut found: Vec<(usize, usize)> = Vec::new();
    for claim in by_port {
        let current = &claims[claim];
        open.retain(|other| {
            let other = &claims[*other];
            other.publish.protocol == current.publish.protocol && other.host.overlaps(current.host)
        });
        let other = open.iter().find(|other| same_address(claims[**other].publish, current.publish));
        found.extend(other.map(|other| (claim.max(*other), claim.min(*other))));
        open.push(claim);
    }
    found.sort_unstable();
    found.dedup_by_key(|(later, _)| *later);
    found.into_iter().map(|(later, earlier)| clash(&claims[later], &claims[earlier])).collect()
}

fn clash(later: &Claim<'_>, earlier: &Claim<'_>) -> Problem {
    let shared = PortRange {
        first: later.host.first.max(earlier.host.first),
        last: later.host.last.min(earlier.host.last),
    };
    let protocol = later.publish.protocol;
    let message = if later.endpoint.id == earlier.endpoint.id {
        format!("host port {shared}/{protocol} is published twice, by publish[{}] too", earlier.index)
    } else {
        format!("host port {shared}/{protocol} is published by endpoint {} already", earlier.endpoint.id)
    };
    let subject = Subject::Endpoint(later.endpoint.id.clone());
    let mut problem = Problem::new(&subject, "publish", message);
    problem.index = Some(later.index);
    problem
}

/// Whether a packet could be meant for both: every address means both families.
fn same_address(a: &Publish, b: &Publish) -> bool {
    let any = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
    any(a.host_ip) || any(b.host_ip) || a.host_ip == b.host_ip
}
