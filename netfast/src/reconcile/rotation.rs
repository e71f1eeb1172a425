//! Addresses in turn: the next one is looked for behind the one that was given last, as a peer may still know the one that
//! has just become free as somebody else's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{AddressRange, Network};

/// The ranges of addresses, of the whole network where there are none of a family, in the order in which they are to be
/// tried: behind `last` first.
pub(super) fn rotate(ranges: &[AddressRange], network: &Network, last: &[IpAddr]) -> Vec<AddressRange> {
    let whole4 = network.subnet.map(|net| range(net.network().into(), net.broadcast().into()));
    let whole6 = network.subnet6.map(|net| range(net.network().into(), net.broadcast().into()));
    let mut rotated = Vec::new();
    for (is_v4, whole) in [(true, whole4), (false, whole6)] {
        let mut own: Vec<_> = ranges.iter().filter(|range| range.first.is_ipv4() == is_v4).copied().collect();
        if own.is_empty() {
            own.extend(whole);
        }
        rotated.extend(behind(&own, last.iter().find(|ip| ip.is_ipv4() == is_v4)));
    }
    rotated
}

fn behind(ranges: &[AddressRange], last: Option<&IpAddr>) -> Vec<AddressRange> {
    let found = last.and_then(|last| {
        let place = ranges.iter().position(|range| range.first <= *last && *last <= range.last)?;
        Some((*last, place, ranges.get(place)?))
    });
    let Some((last, place, AddressRange { first, last: end })) = found else { return ranges.to_vec() };
    let (before, rest) = ranges.split_at(place);
    let mut rotated: Vec<_> =
        next(last).filter(|next| next <= end).map(|next| range(next, *end)).into_iter().collect();
    rotated.extend(rest.iter().skip(1).chain(before));
    rotated.push(range(*first, last));
    rotated
}

const fn range(first: IpAddr, last: IpAddr) -> AddressRange {
    AddressRange { first, last }
}

fn next(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => Some(Ipv4Addr::from(u32::from(ip).checked_add(1)?).into()),
        IpAddr::V6(ip) => Some(Ipv6Addr::from(u128::from(ip).checked_add(1)?).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotated(ranges: &[(&str, &str)], last: &[&str]) -> Vec<String> {
        let network = Network {
            subnet: Some("10.0.0.0/29".parse().unwrap()),
            subnet6: Some("fd00::/126".parse().unwrap()),
            ..Network::new("lab".parse().unwrap())
        };
        let ranges: Vec<_> =
            ranges.iter().map(|(first, last)| range(first.parse().unwrap(), last.parse().unwrap())).collect();
        let last: Vec<_> = last.iter().map(|ip| ip.parse().unwrap()).collect();
        rotate(&ranges, &network, &last)
            .iter()
            .map(|range| format!("{}-{}", range.first, range.last))
            .collect()
    }

    #[test]
    fn without_a_last_one_it_begins_at_the_beginning() {
        assert_eq!(rotated(&[], &[]), ["10.0.0.0-10.0.0.7", "fd00::-fd00::3"]);
        assert_eq!(
            rotated(&[("10.0.0.4", "10.0.0.5")], &["10.0.0.2"]),
            ["10.0.0.4-10.0.0.5", "fd00::-fd00::3"]
        );
    }

    #[test]
    fn it_goes_on_behind_the_last_one() {
        assert_eq!(
            rotated(&[], &["10.0.0.3", "fd00::3"]),
            ["10.0.0.4-10.0.0.7", "10.0.0.0-10.0.0.3", "fd00::-fd00::3"]
        );
        let ranges = [("10.0.0.1", "10.0.0.2"), ("10.0.0.4", "10.0.0.4"), ("10.0.0.6", "10.0.0.6")];
        assert_eq!(
            rotated(&ranges, &["10.0.0.4"])[..3],
            ["10.0.0.6-10.0.0.6", "10.0.0.1-10.0.0.2", "10.0.0.4-10.0.0.4"]
        );
    }
}
