//! The sets of ranges of a configuration, in the sense of `host-local`: an interface gets one address of each, from the first
//! range that has a free one.

use std::net::IpAddr;

use ipnet::IpNet;

use super::config::Range;
use super::failure::{Code, Failure, Result};
use crate::model::{AddressRange, Endpoint, EndpointId, FurtherAddress, Name, Subnet};

/// Sets, and the subnets that their ranges are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AddressSets {
    /// Each of them once, with the gateway that was said to be there.
    subnets: Vec<Subnet>,
    sets: Vec<AddressSet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct AddressSet {
    is_v4: bool,
    /// None: it is there for an address that was given or asked for.
    ranges: Vec<AddressRange>,
    /// All of one subnet.
    is_whole: bool,
    ip: Option<IpAddr>,
}

impl AddressSets {
    /// Addresses that somebody has given, who alone knows of subnets.
    pub(super) fn given(ips: &[IpAddr]) -> Self {
        Self { subnets: Vec::new(), sets: ips.iter().map(|ip| AddressSet::of(*ip)).collect() }
    }

    /// The subnets. A gateway that is where it would be anyway needs no mention: so a configuration that mentions it agrees
    /// with one that does not.
    pub(super) fn subnets(&self) -> impl Iterator<Item = Subnet> + '_ {
        self.subnets.iter().map(|subnet| {
            let usual = Subnet { fixed_gateway: None, ..*subnet }.gateway();
            Subnet { fixed_gateway: subnet.fixed_gateway.filter(|gateway| *gateway != usual), ..*subnet }
        })
    }

    /// Whether nothing is said of subnets.
    pub(super) const fn is_empty(&self) -> bool {
        self.subnets.is_empty()
    }

    /// Whether an address is that of the gateway of the first subnet of its family.
    pub(super) fn is_gateway(&self, ip: IpAddr) -> bool {
        let mut gateways = self.subnets.iter().map(Subnet::gateway);
        gateways.find(|gateway| gateway.is_ipv4() == ip.is_ipv4()) == Some(ip)
    }

    /// Whether all ranges of a set are of subnets that are there already.
    pub(super) fn has_subnets(&self, set: &[Range]) -> bool {
        set.iter().all(|range| self.subnets.iter().any(|subnet| subnet.net == range.subnet))
    }

    /// One set more.
    pub(super) fn add(&mut self, set: &[Range]) -> Result<()> {
        let Some(first) = set.first() else {
            return Err(wrong("a set without ranges"));
        };
        let is_v4 = first.subnet.addr().is_ipv4();
        let mut ranges = Vec::new();
        for range in set {
            let subnet = range.subnet;
            if subnet.addr().is_ipv4() != is_v4 {
                return Err(wrong(format!("{} and {subnet} are of different families", first.subnet)));
            }
            self.add_subnet(subnet, range.gateway)?;
            let bounds = bounds(range)?;
            let others = self.sets.iter().flat_map(|set| &set.ranges).chain(&ranges);
            if let Some(other) = others.into_iter().find(|other: &&AddressRange| other.overlaps(&bounds)) {
                let message = format!(
                    "the ranges {}-{} and {}-{} share addresses",
                    other.first, other.last, bounds.first, bounds.last
                );
                return Err(wrong(message));
            }
            ranges.push(bounds);
        }
        let is_whole = matches!(set, [range] if range.start.is_none() && range.end.is_none());
        self.sets.push(AddressSet { is_v4, ranges, is_whole, ip: None });
        Ok(())
    }

    /// The subnets of other sets, of which an address is given by somebody else.
    pub(super) fn add_subnets(&mut self, set: &[Range]) -> Result<()> {
        set.iter().try_for_each(|range| self.add_subnet(range.subnet, range.gateway))
    }

    /// An address that was given, and the gateway of whoever has it.
    pub(super) fn give(&mut self, address: IpNet, gateway: Option<IpAddr>) -> Result<()> {
        self.add_subnet(address.trunc(), gateway)?;
        self.sets.push(AddressSet::of(address.addr()));
        Ok(())
    }

    /// Has the interface get an address that was asked for in `field`, instead of another one of its set.
    pub(super) fn ask(&mut self, field: &str, ip: IpAddr) -> Result<()> {
        let of_family = |set: &&mut AddressSet| set.is_v4 == ip.is_ipv4();
        let mut own: Vec<_> = self.sets.iter_mut().filter(of_family).collect();
        if own.iter().any(|set| set.ip == Some(ip)) {
            return Ok(());
        }
        if own.iter().all(|set| set.ranges.is_empty()) {
            self.sets.push(AddressSet::of(ip));
            return Ok(());
        }
        let place = match own.iter().position(|set| set.ranges.iter().any(|range| range.contains(ip))) {
            // What is wrong with it, whoever knows the network says best.
            None if own.len() == 1 && own.iter().all(|set| set.is_whole) => Some(0),
            place => place,
        };
        let Some(set) = place.and_then(|place| own.get_mut(place)) else {
            return Err(wrong(format!("{field}: {ip} is in none of the ranges of this network")));
        };
        match set.ip.replace(ip) {
            None => Ok(()),
            Some(other) => {
                let message = format!(
                    "{field}: {ip} besides {other}; an interface gets one address of each set of ranges"
                );
                Err(Failure::new(Code::Unsupported, message))
            }
        }
    }

    /// An endpoint of the network that asks for these addresses, and for nothing else.
    pub(super) fn endpoint(&self, id: EndpointId, network: Name) -> Endpoint {
        let mut endpoint = Endpoint::new(id, network);
        let mut is_first = [true, true];
        for AddressSet { is_v4, ranges, is_whole, ip } in &self.sets {
            let [first4, first6] = &mut is_first;
            if !std::mem::replace(if *is_v4 { first4 } else { first6 }, false) {
                endpoint.more.push(FurtherAddress { ip: *ip, ranges: ranges.clone() });
                continue;
            }
            match ip {
                Some(IpAddr::V4(ip)) => endpoint.ip = Some(*ip),
                Some(IpAddr::V6(ip)) => endpoint.ip6 = Some(*ip),
                None => {}
            }
            if !is_whole {
                endpoint.ranges.extend(ranges);
            }
        }
        endpoint
    }

    fn add_subnet(&mut self, net: IpNet, gateway: Option<IpAddr>) -> Result<()> {
        if net.addr() != net.network() {
            let message = format!("{net} is no subnet: it has bits of a host (write {})", net.trunc());
            return Err(wrong(message));
        }
        if let Some(gateway) = gateway.filter(|gateway| !net.contains(gateway)) {
            return Err(wrong(format!("gateway is {gateway}, which is not in {net}")));
        }
        let Some(known) = self.subnets.iter_mut().find(|known| known.net == net) else {
            self.subnets.push(Subnet { net, fixed_gateway: gateway });
            return Ok(());
        };
        match (known.fixed_gateway, gateway) {
            (Some(first), Some(other)) if first != other => {
                Err(wrong(format!("two gateways for one subnet: {first} and {other}")))
            }
            (first, other) => {
                known.fixed_gateway = first.or(other);
                Ok(())
            }
        }
    }
}

impl AddressSet {
    /// One that is there for an address.
    const fn of(ip: IpAddr) -> Self {
        Self { is_v4: ip.is_ipv4(), ranges: Vec::new(), is_whole: false, ip: Some(ip) }
    }
}

/// The addresses of a range.
fn bounds(range: &Range) -> Result<AddressRange> {
    let Range { subnet, start, end, gateway: _ } = range;
    for (field, ip) in [("rangeStart", start), ("rangeEnd", end)] {
        if let Some(ip) = ip.filter(|ip| !subnet.contains(ip)) {
            return Err(wrong(format!("{field} is {ip}, which is not in {subnet}")));
        }
    }
    let whole = AddressRange::whole(*subnet);
    let bounds = AddressRange { first: start.unwrap_or(whole.first), last: end.unwrap_or(whole.last) };
    if bounds.last < bounds.first {
        return Err(wrong(format!("rangeEnd {} is before rangeStart {}", bounds.last, bounds.first)));
    }
    Ok(bounds)
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(Code::Config, message)
}
