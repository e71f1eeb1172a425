//! Addresses in turn: the next one is looked for behind the one that was given last, as a peer may still know the one that
//! has just become free as somebody else's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{AddressRange, Endpoint, Network};

/// Puts the ranges of an endpoint into the order in which they are to be tried: behind `last`, the addresses that were given
/// last, first. Where there are none of a family, all of its first subnet is one.
pub(super) fn rotate(endpoint: &mut Endpoint, network: &Network, last: &[IpAddr]) {
    let wholes =
        [network.subnet.map(|net| (true, net.into())), network.subnet6.map(|net| (false, net.into()))];
    let mut rotated = Vec::new();
    for (is_v4, whole) in wholes.into_iter().flatten() {
        let mut own: Vec<_> =
            endpoint.ranges.iter().filter(|range| range.first.is_ipv4() == is_v4).copied().collect();
        if own.is_empty() {
            own.push(AddressRange::whole(whole));
        }
        rotated.extend(behind(&own, last));
    }
    endpoint.ranges = rotated;
    for further in &mut endpoint.more {
        further.ranges = behind(&further.ranges, last);
    }
}

/// The ranges behind the latest of these addresses that is in one of them.
fn behind(ranges: &[AddressRange], last: &[IpAddr]) -> Vec<AddressRange> {
    let found = last.iter().find_map(|last| {
        let place = ranges.iter().position(|range| range.contains(*last))?;
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
    use crate::model::{EndpointId, FurtherAddress};

    fn rotated(ranges: &[(&str, &str)], last: &[&str]) -> Vec<String> {
        let network = Network {
            subnet: Some("10.0.0.0/29".parse().unwrap()),
            subnet6: Some("fd00::/126".parse().unwrap()),
            ..Network::new("lab".parse().unwrap())
        };
        let ranges: Vec<_> =
            ranges.iter().map(|(first, last)| range(first.parse().unwrap(), last.parse().unwrap())).collect();
        let last: Vec<_> = last.iter().map(|ip| ip.parse().unwrap()).collect();
        let id = EndpointId { namespace: network.name.clone(), name: network.name.clone() };
        let further = FurtherAddress { ip: None, ranges: ranges.clone() };
        let mut endpoint =
            Endpoint { ranges, more: vec![further], ..Endpoint::new(id, network.name.clone()) };
        rotate(&mut endpoint, &network, &last);
        let of_v4 = endpoint.ranges.iter().filter(|range| range.first.is_ipv4()).copied();
        let [further] = endpoint.more.as_slice() else { panic!("{:?}", endpoint.more) };
        assert!(further.ranges.is_empty() || further.ranges == of_v4.collect::<Vec<_>>());
        endpoint.ranges.iter().map(|range| format!("{}-{}", range.first, range.last)).collect()
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
