//! Whether one thing allows all that another does. `false` where that is not certain.

use ipnet::IpNet;

use crate::model::{Operator, Peer, PortMatch, Ports, Requirement, Rule, Selector};

/// Whether `broad` allows whatever `narrow` does.
pub(super) fn rule(broad: &Rule, narrow: &Rule) -> bool {
    list(broad.peers.as_deref(), narrow.peers.as_deref(), peer)
        && list(broad.ports.as_deref(), narrow.ports.as_deref(), port)
}

/// Lists that allow what any of their items does, or everything where there is none.
fn list<T>(broad: Option<&[T]>, narrow: Option<&[T]>, covers: impl Fn(&T, &T) -> bool) -> bool {
    match (broad, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(broad), Some(narrow)) => narrow.iter().all(|n| broad.iter().any(|b| covers(b, n))),
    }
}

/// Whether the ports of one rule are among those of another.
pub(super) fn ports(broad: &Rule, narrow: &Rule) -> bool {
    list(broad.ports.as_deref(), narrow.ports.as_deref(), port)
}

/// Both peers are of policies of one namespace.
pub(super) fn peer(broad: &Peer, narrow: &Peer) -> bool {
    match (broad, narrow) {
        (
            Peer::Endpoints { namespaces: broad_in, endpoints: broad },
            Peer::Endpoints { namespaces: narrow_in, endpoints: narrow },
        ) => {
            let namespaces = match (broad_in, narrow_in) {
                (None, None) => true,
                (Some(broad), None) => broad.requirements.is_empty(),
                (None, Some(_)) => false,
                (Some(broad), Some(narrow)) => selector(broad, narrow),
            };
            namespaces && selector(broad, narrow)
        }
        (Peer::Block { cidr: broad, except: holes }, Peer::Block { cidr: narrow, except: narrow_holes }) => {
            let is_harmless = |hole: &IpNet| {
                !overlap(hole, narrow) || narrow_holes.iter().any(|narrow_hole| contains(narrow_hole, hole))
            };
            contains(broad, narrow) && holes.iter().all(is_harmless)
        }
        _ => false,
    }
}

/// Whether one block holds all of another.
pub(super) fn contains(outer: &IpNet, inner: &IpNet) -> bool {
    outer.addr().is_ipv4() == inner.addr().is_ipv4() && outer.contains(inner)
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    contains(a, b) || contains(b, a)
}

pub(super) fn port(broad: &PortMatch, narrow: &PortMatch) -> bool {
    broad.protocol == narrow.protocol
        && match (&broad.ports, &narrow.ports) {
            (Ports::Any, _) => true,
            (Ports::Range(broad), Ports::Range(narrow)) => {
                broad.first <= narrow.first && narrow.last <= broad.last
            }
            (Ports::Named(broad), Ports::Named(narrow)) => broad == narrow,
            _ => false,
        }
}

/// Whether all that `narrow` selects is selected by `broad`.
pub(super) fn selector(broad: &Selector, narrow: &Selector) -> bool {
    broad.requirements.iter().all(|wanted| narrow.requirements.iter().any(|given| implies(given, wanted)))
}

fn implies(given: &Requirement, wanted: &Requirement) -> bool {
    given.key == wanted.key
        && match (&given.operator, &wanted.operator) {
            (Operator::In(given), Operator::In(wanted)) => given.is_subset(wanted),
            (Operator::In(given), Operator::NotIn(wanted)) => given.is_disjoint(wanted),
            (Operator::In(_) | Operator::Exists, Operator::Exists)
            | (Operator::DoesNotExist, Operator::DoesNotExist | Operator::NotIn(_)) => true,
            (Operator::NotIn(given), Operator::NotIn(wanted)) => wanted.is_subset(given),
            _ => false,
        }
}

/// Whether no labels meet all of a selector's requirements.
pub(super) fn is_impossible(selector: &Selector) -> bool {
    let pairs = selector
        .requirements
        .iter()
        .flat_map(|a| selector.requirements.iter().filter(|b| a.key == b.key).map(move |b| (a, b)));
    pairs.into_iter().any(|(a, b)| match (&a.operator, &b.operator) {
        (Operator::In(a), Operator::In(b)) => a.is_disjoint(b),
        (Operator::In(a), Operator::NotIn(b)) => a.is_subset(b),
        (Operator::In(_) | Operator::Exists, Operator::DoesNotExist) => true,
        _ => false,
    })
}
