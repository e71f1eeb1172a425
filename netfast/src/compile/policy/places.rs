//! Everywhere a packet may come from or go to, as policy sees it: the addresses of the endpoints, and the prefixes
//! that policies name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

use ipnet::IpNet;
use netfast_common::addr::Addr;

use super::bits::Bits;
use super::endpoints::Endpoints;
use super::peers::Block;
use super::{Assigned, Prefix};
use crate::model::EndpointId;

/// All IPv4 addresses, mapped. In the middle of `::/0`, which does not hold them.
const V4: Region = Region { first: 0xffff << 32, len: 96 };
/// All IPv6 addresses.
const V6: Region = Region { first: 0, len: 0 };

/// A prefix over 128 bits. Sorted, each stands before all that it holds, and these follow it without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Region {
    first: u128,
    len: u32,
}

impl Region {
    fn of(net: IpNet) -> Self {
        match net {
            IpNet::V4(net) => Self {
                first: u128::from(net.network().to_ipv6_mapped()),
                len: Addr::V4_PREFIX + u32::from(net.prefix_len()),
            },
            IpNet::V6(net) => Self { first: u128::from(net.network()), len: u32::from(net.prefix_len()) },
        }
    }

    fn of_address(addr: IpAddr) -> Self {
        let first = match addr {
            IpAddr::V4(addr) => addr.to_ipv6_mapped(),
            IpAddr::V6(addr) => addr,
        };
        Self { first: u128::from(first), len: Addr::BITS }
    }

    fn last(self) -> u128 {
        self.first | u128::MAX.checked_shr(self.len).unwrap_or(0)
    }

    fn is_v4(self) -> bool {
        self.len >= V4.len && (V4.first..=V4.last()).contains(&self.first)
    }
}

/// One place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    region: Region,
    /// The endpoint whose address it is; `None`: a prefix, that is all of its addresses that are in no longer
    /// prefix and no endpoint's.
    endpoint: Option<usize>,
    /// It is not the first address of its family that the endpoint has.
    is_further: bool,
}

/// All places, sorted, so that what a block holds is a range.
#[derive(Debug)]
pub(super) struct Places {
    places: Vec<Place>,
    /// The places of each endpoint, by its index.
    of_endpoint: Vec<Vec<usize>>,
}

impl Places {
    /// The places of the endpoints' addresses, of every prefix in `blocks`, and of the two worlds outside.
    pub(super) fn new(
        endpoints: &Endpoints<'_>,
        addresses: &BTreeMap<EndpointId, Assigned>,
        blocks: &BTreeSet<&Block>,
    ) -> Self {
        let mut regions = BTreeSet::from([V4, V6]);
        for block in blocks {
            for net in std::iter::once(&block.cidr).chain(&block.except) {
                let region = Region::of(*net);
                // An IPv6 prefix inside the mapped range holds nothing that is ever on a wire.
                if matches!(net, IpNet::V4(_)) || !region.is_v4() {
                    regions.insert(region);
                }
            }
        }
        let mut places = Vec::new();
        for (endpoint, id) in endpoints.ids.iter().enumerate() {
            let Some(Assigned { ip, ip6, more }) = addresses.get(*id) else { continue };
            let mut add = |addr, is_further| {
                let region = Region::of_address(addr);
                if is_further {
                    // A prefix of this address alone, which stands where its identity is to stand, holds nothing else.
                    regions.remove(&region);
                }
                places.push(Place { region, endpoint: Some(endpoint), is_further });
            };
            for addr in ip.map(IpAddr::from).into_iter().chain(ip6.map(IpAddr::from)) {
                add(addr, false);
            }
            for addr in more {
                add(*addr, true);
            }
        }
        let prefixes = regions.into_iter();
        places.extend(prefixes.map(|region| Place { region, endpoint: None, is_further: false }));
        places.sort_unstable();
        let mut of_endpoint = vec![Vec::new(); endpoints.count()];
        for (index, place) in places.iter().enumerate() {
            if let Some(endpoint) = place.endpoint {
                of_endpoint[endpoint].push(index);
            }
        }
        Self { places, of_endpoint }
    }

    pub(super) fn count(&self) -> usize {
        self.places.len()
    }

    /// The places of some endpoints: all their addresses, of both families.
    pub(super) fn of_endpoints(&self, endpoints: &Bits) -> Bits {
        let mut places = Bits::none(self.count());
        for endpoint in endpoints.iter() {
            for place in &self.of_endpoint[endpoint] {
                places.insert(*place);
            }
        }
        places
    }

    /// The places a block holds: in its prefix, in none of its exceptions.
    pub(super) fn of_block(&self, block: &Block) -> Bits {
        let mut places = Bits::none(self.count());
        let region = Region::of(block.cidr);
        places.insert_range(self.within(region));
        if matches!(block.cidr, IpNet::V6(_)) {
            let v4 = if region.is_v4() { region } else { V4 };
            places.remove_range(self.within(v4));
        }
        for except in &block.except {
            places.remove_range(self.within(Region::of(*except)));
        }
        places
    }

    /// The identity of every prefix and of every further address, given those of all places.
    pub(super) fn prefixes(&self, identities: &[u32]) -> BTreeMap<Prefix, u32> {
        let places = self.places.iter().zip(identities);
        places
            .filter(|(place, _)| place.endpoint.is_none() || place.is_further)
            .map(|(place, identity)| {
                let Region { first, len } = place.region;
                (Prefix { addr: Ipv6Addr::from(first).into(), len }, *identity)
            })
            .collect()
    }

    /// The identities of an endpoint's first IPv4 and IPv6 address, given those of all places; 0 for one it lacks.
    pub(super) fn of_subject(&self, endpoint: usize, identities: &[u32]) -> (u32, u32) {
        let of_family = |v4| {
            let mut places = self.of_endpoint[endpoint].iter();
            let is_it = |place: &Place| !place.is_further && place.region.is_v4() == v4;
            places.find(|place| is_it(&self.places[**place])).map_or(0, |p| identities[*p])
        };
        (of_family(true), of_family(false))
    }

    fn within(&self, region: Region) -> Range<usize> {
        let start = self.places.partition_point(|place| place.region < region);
        let end = self.places.partition_point(|place| place.region.first <= region.last());
        start..end
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn families_are_apart() {
        assert_eq!(V4, Region::of("0.0.0.0/0".parse().unwrap()));
        assert_eq!(V6, Region::of("::/0".parse().unwrap()));
        assert_eq!(V6.last(), u128::MAX);
        assert!(Region::of("10.0.0.0/8".parse().unwrap()).is_v4());
        assert!(!Region::of("::/64".parse().unwrap()).is_v4());
        assert_eq!(Region::of_address(Ipv4Addr::LOCALHOST.into()).last(), (0xffff << 32) | 0x7f00_0001);
    }
}
