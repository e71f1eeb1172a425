//! Which addresses an interface may get: the `ipam` part of a configuration, and what the runtime says of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::args::parse_address;
use super::call::Call;
use super::config::{Range, Said};
use super::failure::{Code, Failure, Result};
use super::result::{CniResult, Dns};
use crate::manifest;
use crate::model::{AddressRange, Route};

/// Addresses, gateways and routes for an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addressing {
    /// The network's IPv4 subnet.
    pub subnet: Option<Ipv4Net>,
    /// Its IPv6 subnet.
    pub subnet6: Option<Ipv6Net>,
    /// Its IPv4 gateway, if it is not the first address.
    pub gateway: Option<Ipv4Addr>,
    /// Its IPv6 gateway, if it is not the first address.
    pub gateway6: Option<Ipv6Addr>,
    /// Where addresses are chosen from; nothing for a family: the whole subnet.
    pub ranges: Vec<AddressRange>,
    /// The address of its own that the interface is to have.
    pub ip: Option<Ipv4Addr>,
    /// The same of IPv6.
    pub ip6: Option<Ipv6Addr>,
    /// Routes besides the default one.
    pub routes: Vec<Route>,
    /// The routes are said to include a default one.
    pub default_route: bool,
    /// What a delegate wants names to be resolved with.
    pub dns: Dns,
}

impl Addressing {
    /// What a configuration says, for any container.
    pub(super) fn of(said: &Said) -> Result<Self> {
        let mut addressing = Self::default();
        if said.ipam.data_dir.is_some() {
            tracing::info!("ipam.dataDir is passed over: netfast keeps addresses with its state");
        }
        for (field, sets) in [
            ("runtimeConfig.ipRanges", said.runtime_config.ip_ranges.clone()),
            ("ipam.ranges", said.ipam.sets()),
        ] {
            let before = addressing.clone();
            let mut families = Vec::new();
            for (index, set) in sets.iter().enumerate() {
                let named = |failure: Failure| Failure {
                    msg: format!("{field}[{index}]: {}", failure.msg),
                    ..failure
                };
                let Some(first) = set.first() else {
                    return Err(named(wrong("a set without ranges")));
                };
                let is_v4 = first.subnet.addr().is_ipv4();
                if families.contains(&is_v4) {
                    let message =
                        "a second set of this family; netfast gives an interface one address of each";
                    return Err(named(Failure::new(Code::Unsupported, message)));
                }
                families.push(is_v4);
                // What the runtime says of this container counts more than what is said of all.
                let has_set = if is_v4 { before.subnet.is_some() } else { before.subnet6.is_some() };
                if !has_set {
                    addressing.add_set(set).map_err(named)?;
                } else if !before.has_subnet(first.subnet) {
                    let message = format!("{} is not the subnet of runtimeConfig.ipRanges", first.subnet);
                    return Err(named(wrong(message)));
                }
            }
        }
        for route in &said.ipam.routes {
            addressing.add_route(route)?;
        }
        Ok(addressing)
    }

    /// The same with the addresses that are asked for by name.
    pub(super) fn with_requested(mut self, call: &Call) -> Result<Self> {
        let said = &call.config.said;
        let texts = [("runtimeConfig.ips", &said.runtime_config.ips), ("args.cni.ips", &said.args.cni.ips)];
        let mut asked = Vec::new();
        for (field, texts) in texts {
            for text in texts {
                let ip =
                    parse_address(text).ok_or_else(|| wrong(format!("{field}: {text:?} is no address")))?;
                asked.push((field, ip));
            }
        }
        asked.extend(call.environment.args.ips.iter().map(|ip| ("CNI_ARGS: IP", *ip)));
        for (field, ip) in asked {
            let own: Vec<_> =
                self.ranges.iter().filter(|range| range.first.is_ipv4() == ip.is_ipv4()).collect();
            if !own.is_empty() && !own.iter().any(|range| range.first <= ip && ip <= range.last) {
                return Err(wrong(format!("{field}: {ip} is in none of the ranges of this network")));
            }
            let other = match ip {
                IpAddr::V4(ip) => self.ip.replace(ip).filter(|other| *other != ip).map(IpAddr::V4),
                IpAddr::V6(ip) => self.ip6.replace(ip).filter(|other| *other != ip).map(IpAddr::V6),
            };
            if let Some(other) = other {
                let message = format!(
                    "{field}: {ip} besides {other}; netfast gives an interface one address of each family"
                );
                return Err(Failure::new(Code::Unsupported, message));
            }
        }
        Ok(self)
    }

    /// What another plugin has given.
    pub(super) fn given(plugin: &str, result: CniResult) -> Result<Self> {
        let mut addressing = Self { dns: result.dns, ..Self::default() };
        for ip in result.ips {
            let net = ip.address.trunc();
            let two = || {
                let message =
                    format!("ipam plugin {plugin} gave two addresses of a family; netfast takes one of each");
                Failure::new(Code::Unsupported, message)
            };
            match (net, ip.address.addr(), ip.gateway) {
                (IpNet::V4(net), IpAddr::V4(addr), gateway) => {
                    if addressing.ip.replace(addr).is_some() {
                        return Err(two());
                    }
                    addressing.subnet = Some(net);
                    addressing.set_gateway(gateway);
                }
                (IpNet::V6(net), IpAddr::V6(addr), gateway) => {
                    if addressing.ip6.replace(addr).is_some() {
                        return Err(two());
                    }
                    addressing.subnet6 = Some(net);
                    addressing.set_gateway(gateway);
                }
                _ => {}
            }
        }
        if addressing.ip.is_none() && addressing.ip6.is_none() {
            return Err(Failure::new(Code::Failed, format!("ipam plugin {plugin} gave no address")));
        }
        for route in &result.routes {
            addressing.add_route(route)?;
        }
        Ok(addressing)
    }

    /// Whether nothing is said of subnets.
    pub(super) const fn is_empty(&self) -> bool {
        self.subnet.is_none() && self.subnet6.is_none()
    }

    fn has_subnet(&self, net: IpNet) -> bool {
        match net {
            IpNet::V4(net) => self.subnet == Some(net),
            IpNet::V6(net) => self.subnet6 == Some(net),
        }
    }

    /// The one that is always there needs no mention: so a configuration that mentions it agrees with one that does not.
    fn set_gateway(&mut self, gateway: Option<IpAddr>) {
        match gateway {
            Some(IpAddr::V4(ip)) => {
                let first = self.subnet.map(|net| u32::from(net.network()).wrapping_add(1).into());
                self.gateway = Some(ip).filter(|_| first != Some(ip));
            }
            Some(IpAddr::V6(ip)) => {
                let first = self.subnet6.map(|net| u128::from(net.network()).wrapping_add(1).into());
                self.gateway6 = Some(ip).filter(|_| first != Some(ip));
            }
            None => {}
        }
    }

    fn add_set(&mut self, set: &[Range]) -> Result<()> {
        for range in set {
            let subnet = range.subnet;
            if subnet.addr() != subnet.network() {
                let message =
                    format!("{subnet} is no subnet: it has bits of a host (write {})", subnet.trunc());
                return Err(wrong(message));
            }
            if set.iter().any(|other| other.subnet != subnet) {
                let message = "ranges of several subnets; a network of netfast has one subnet of each family";
                return Err(Failure::new(Code::Unsupported, message));
            }
            match subnet {
                IpNet::V4(net) => self.subnet = Some(net),
                IpNet::V6(net) => self.subnet6 = Some(net),
            }
            for (field, ip) in
                [("rangeStart", range.range_start), ("rangeEnd", range.range_end), ("gateway", range.gateway)]
            {
                if let Some(ip) = ip.filter(|ip| !subnet.contains(ip)) {
                    return Err(wrong(format!("{field} is {ip}, which is not in {subnet}")));
                }
            }
        }
        let gateways: Vec<_> = set.iter().filter_map(|range| range.gateway).collect();
        if let [first, rest @ ..] = gateways.as_slice() {
            if let Some(other) = rest.iter().find(|other| *other != first) {
                return Err(wrong(format!("two gateways for one subnet: {first} and {other}")));
            }
            self.set_gateway(Some(*first));
        }
        // One range without bounds is the whole subnet.
        if set.len() > 1 || set.iter().any(|range| range.range_start.is_some() || range.range_end.is_some()) {
            for range in set {
                let bounds = AddressRange {
                    first: range.range_start.unwrap_or_else(|| range.subnet.network()),
                    last: range.range_end.unwrap_or_else(|| range.subnet.broadcast()),
                };
                if bounds.last < bounds.first {
                    let message = format!("rangeEnd {} is before rangeStart {}", bounds.last, bounds.first);
                    return Err(wrong(message));
                }
                if let Some(other) =
                    self.ranges.iter().find(|other| other.first <= bounds.last && bounds.first <= other.last)
                {
                    let message = format!(
                        "the ranges {}-{} and {}-{} share addresses",
                        other.first, other.last, bounds.first, bounds.last
                    );
                    return Err(wrong(message));
                }
                self.ranges.push(bounds);
            }
        }
        Ok(())
    }

    fn add_route(&mut self, route: &super::result::Route) -> Result<()> {
        let super::result::Route { dst, gw, mtu, advmss, priority, table, scope } = route;
        let extras = [mtu, advmss, priority, table, scope];
        if extras.iter().any(|extra| extra.is_some()) {
            let message = format!(
                "route to {dst}: netfast sets dst and gw of a route, not mtu, advmss, priority, table or scope"
            );
            return Err(Failure::new(Code::Unsupported, message));
        }
        if gw.is_some_and(|gw| gw.is_ipv4() != dst.addr().is_ipv4()) {
            return Err(wrong(format!("route to {dst}: its gateway is of the other family")));
        }
        if dst.prefix_len() == 0 && gw.is_none_or(|gw| self.is_gateway(gw)) {
            self.default_route = true;
        } else {
            self.routes.push(Route { to: dst.trunc(), via: *gw });
        }
        Ok(())
    }

    fn is_gateway(&self, ip: IpAddr) -> bool {
        let first4 = self.subnet.map(|net| Ipv4Addr::from(u32::from(net.network()).wrapping_add(1)));
        let first6 = self.subnet6.map(|net| Ipv6Addr::from(u128::from(net.network()).wrapping_add(1)));
        match ip {
            IpAddr::V4(ip) => self.gateway.or(first4) == Some(ip),
            IpAddr::V6(ip) => self.gateway6.or(first6) == Some(ip),
        }
    }
}

/// The hardware address that is asked for.
pub(super) fn mac(call: &Call) -> Result<Option<[u8; 6]>> {
    let said = &call.config.said;
    let texts = [("runtimeConfig.mac", &said.runtime_config.mac), ("args.cni.mac", &said.args.cni.mac)];
    let asked =
        texts.into_iter().find_map(|(field, text)| Some((field, text.as_deref().filter(|t| !t.is_empty())?)));
    match asked {
        Some((field, text)) => {
            let mac = manifest::parse_mac(text).map_err(|e| wrong(format!("{field}: {e}")))?;
            Ok(Some(mac))
        }
        None => Ok(call.environment.args.mac),
    }
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(Code::Config, message)
}

#[cfg(test)]
mod tests {
    use super::super::call::testing::call;
    use super::*;

    fn of(ipam: &str) -> Result<Addressing> {
        Addressing::of(&call(&[], &format!(r#","ipam": {ipam}"#)).config.said)
    }

    fn range(first: &str, last: &str) -> AddressRange {
        AddressRange { first: first.parse().unwrap(), last: last.parse().unwrap() }
    }

    #[test]
    fn a_set_for_each_family() {
        let addressing = of(
            r#"{"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64", "gateway": "fd01::ff"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.1.0.9"}]}"#,
        )
        .unwrap();
        assert_eq!(addressing.subnet, Some("10.1.0.0/24".parse().unwrap()));
        assert_eq!((addressing.gateway, addressing.gateway6), (None, Some("fd01::ff".parse().unwrap())));
        assert!(addressing.default_route && addressing.ranges.is_empty());
        assert_eq!(
            addressing.routes,
            [Route { to: "192.0.2.0/24".parse().unwrap(), via: Some("10.1.0.9".parse().unwrap()) }]
        );
        assert!(of("{}").unwrap().is_empty());
    }

    #[test]
    fn several_ranges_of_a_subnet() {
        let addressing = of(
            r#"{"ranges": [[{"subnet": "10.1.0.0/24", "rangeEnd": "10.1.0.9", "gateway": "10.1.0.1"},
                            {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.20", "rangeEnd": "10.1.0.21"}]]}"#,
        );
        let addressing = addressing.unwrap();
        assert_eq!(addressing.ranges, [range("10.1.0.0", "10.1.0.9"), range("10.1.0.20", "10.1.0.21")]);
        assert_eq!(addressing.gateway, None, "it is where it would be anyway");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (ipam, code, message) in [
            (r#"[[]]"#, 7, "ipam.ranges[0]: a set without ranges"),
            (
                r#"[[{"subnet": "10.1.0.1/24"}]]"#,
                7,
                "ipam.ranges[0]: 10.1.0.1/24 is no subnet: it has bits of a host (write 10.1.0.0/24)",
            ),
            (
                r#"[[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]"#,
                2,
                "ipam.ranges[1]: a second set of this family; netfast gives an interface one address of each",
            ),
            (
                r#"[[{"subnet": "10.1.0.0/24"}, {"subnet": "10.2.0.0/24"}]]"#,
                2,
                "ipam.ranges[0]: ranges of several subnets; a network of netfast has one subnet of each family",
            ),
            (
                r#"[[{"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"}]]"#,
                7,
                "ipam.ranges[0]: rangeStart is 10.2.0.1, which is not in 10.1.0.0/24",
            ),
            (
                r#"[[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}]]"#,
                7,
                "ipam.ranges[0]: rangeEnd 10.1.0.8 is before rangeStart 10.1.0.9",
            ),
            (
                r#"[[{"subnet": "10.1.0.0/24", "rangeEnd": "10.1.0.9"}, {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9"}]]"#,
                7,
                "ipam.ranges[0]: the ranges 10.1.0.0-10.1.0.9 and 10.1.0.9-10.1.0.255 share addresses",
            ),
        ] {
            let failure = of(&format!(r#"{{"ranges": {ipam}}}"#)).unwrap_err();
            assert_eq!((failure.code, failure.msg.as_str()), (code, message));
        }
    }

    #[test]
    fn addresses_are_asked_for_in_three_places() {
        let ipam =
            r#","ipam": {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.20"}"#;
        let ask = |variables: &[(&str, &str)], more: &str| {
            let call = call(variables, &format!("{ipam}{more}"));
            Addressing::of(&call.config.said)?.with_requested(&call)
        };
        let v4 = Some(Ipv4Addr::new(10, 1, 0, 12));
        assert_eq!(ask(&[], r#","runtimeConfig": {"ips": ["10.1.0.12/24", "fd01::5"]}"#).unwrap().ip, v4);
        assert_eq!(ask(&[], r#","args": {"cni": {"ips": ["10.1.0.12"]}}"#).unwrap().ip, v4);
        assert_eq!(ask(&[("CNI_ARGS", "IP=10.1.0.12")], "").unwrap().ip, v4);
        let failure = ask(&[("CNI_ARGS", "IP=10.1.0.9")], "").unwrap_err();
        assert_eq!(failure.msg, "CNI_ARGS: IP: 10.1.0.9 is in none of the ranges of this network");
        let failure = ask(&[("CNI_ARGS", "IP=10.1.0.12")], r#","runtimeConfig": {"ips": ["10.1.0.13"]}"#);
        assert_eq!(failure.unwrap_err().code, 2);
    }

    #[test]
    fn the_runtimes_ranges_count_more() {
        let call = call(
            &[],
            r#","ipam": {"subnet": "10.1.0.0/24"}, "runtimeConfig": {"ipRanges":
                [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.50", "rangeEnd": "10.1.0.60"}]]}"#,
        );
        let addressing = Addressing::of(&call.config.said).unwrap();
        assert_eq!(addressing.ranges, [range("10.1.0.50", "10.1.0.60")]);
    }

    #[test]
    fn the_runtimes_hardware_address_counts_most() {
        let args = [("CNI_ARGS", "MAC=02:00:00:00:00:03")];
        let of = |more: &str| mac(&call(&args, more)).unwrap().unwrap()[5];
        let cni = r#""args": {"cni": {"mac": "02:00:00:00:00:02"}}"#;
        assert_eq!(of(""), 3);
        assert_eq!(of(&format!(",{cni}")), 2);
        assert_eq!(of(&format!(r#",{cni}, "runtimeConfig": {{"mac": "02:00:00:00:00:01"}}"#)), 1);
        assert_eq!(mac(&call(&[], r#","runtimeConfig": {"mac": "x"}"#)).unwrap_err().code, 7);
    }
}
