//! Which addresses an interface may get: the `ipam` part of a configuration, and what the runtime says of it.

use ipnet::IpNet;

use super::address_sets::AddressSets;
use super::args::parse_address;
use super::call::Call;
use super::config::{Range, Said};
use super::failure::{Code, Failure, Result};
use super::result::{CniResult, Dns};
use crate::manifest;
use crate::model::{Route, RouteOptions};

/// Addresses, gateways and routes for an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addressing {
    /// Subnets and addresses.
    pub sets: AddressSets,
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
            let before = addressing.sets.clone();
            // What the runtime says of this container counts more than what is said of all.
            let is_said = |set: &[Range]| !set.is_empty() && before.has_subnets(set);
            for (index, set) in sets.iter().enumerate().filter(|(_, set)| !is_said(set)) {
                addressing.sets.add(set).map_err(|failure| Failure {
                    msg: format!("{field}[{index}]: {}", failure.msg),
                    ..failure
                })?;
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
            self.sets.ask(field, ip)?;
        }
        Ok(self)
    }

    /// What another plugin has given. `said`: the sets of its configuration, which may have further subnets, for others.
    pub(super) fn given(plugin: &str, said: &[Vec<Range>], result: CniResult) -> Result<Self> {
        let mut addressing = Self { dns: result.dns, ..Self::default() };
        if result.ips.is_empty() {
            return Err(Failure::new(Code::Failed, format!("ipam plugin {plugin} gave no address")));
        }
        let is_said = |net: IpNet| said.iter().flatten().any(|range| range.subnet == net);
        if result.ips.iter().all(|ip| is_said(ip.address.trunc())) {
            said.iter().try_for_each(|set| addressing.sets.add_subnets(set))?;
        }
        for ip in result.ips {
            addressing.sets.give(ip.address, ip.gateway)?;
        }
        for route in &result.routes {
            addressing.add_route(route)?;
        }
        Ok(addressing)
    }

    fn add_route(&mut self, route: &super::result::Route) -> Result<()> {
        let super::result::Route { dst, gw, .. } = route;
        let options = route.options()?;
        if gw.is_some_and(|gw| gw.is_ipv4() != dst.addr().is_ipv4()) {
            return Err(wrong(format!("route to {dst}: its gateway is of the other family")));
        }
        if gw.is_some() && options.is_on_link() {
            let message = format!("route to {dst}: what is on the link, as its scope says, has no gateway");
            return Err(wrong(message));
        }
        let is_plain = options == RouteOptions::default();
        if dst.prefix_len() == 0 && is_plain && gw.is_none_or(|gw| self.sets.is_gateway(gw)) {
            self.default_route = true;
        } else {
            self.routes.push(Route { to: dst.trunc(), via: *gw, options });
        }
        Ok(())
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
    use std::net::Ipv4Addr;

    use super::super::call::testing::call;
    use super::*;
    use crate::model::{AddressRange, Endpoint, EndpointId, Name, Subnet};

    fn of(ipam: &str) -> Result<Addressing> {
        Addressing::of(&call(&[], &format!(r#","ipam": {ipam}"#)).config.said)
    }

    /// What an endpoint of the network is asked to have.
    fn endpoint(addressing: &Addressing) -> Endpoint {
        let name: Name = "c".parse().unwrap();
        addressing.sets.endpoint(EndpointId { namespace: name.clone(), name: name.clone() }, name)
    }

    fn range(first: &str, last: &str) -> AddressRange {
        AddressRange { first: first.parse().unwrap(), last: last.parse().unwrap() }
    }

    fn subnets(addressing: &Addressing) -> Vec<String> {
        let gateway = |subnet: &Subnet| subnet.fixed_gateway.map(|ip| format!(" {ip}")).unwrap_or_default();
        addressing.sets.subnets().map(|subnet| format!("{}{}", subnet.net, gateway(&subnet))).collect()
    }

    #[test]
    fn a_set_for_each_family() {
        let addressing = of(
            r#"{"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64", "gateway": "fd01::ff"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.1.0.9"}]}"#,
        )
        .unwrap();
        assert_eq!(subnets(&addressing), ["10.1.0.0/24", "fd01::/64 fd01::ff"]);
        assert!(addressing.default_route && endpoint(&addressing).ranges.is_empty());
        assert_eq!(
            addressing.routes,
            [Route::new("192.0.2.0/24".parse().unwrap(), Some("10.1.0.9".parse().unwrap()))]
        );
        assert!(of("{}").unwrap().sets.is_empty());
    }

    #[test]
    fn several_ranges_of_a_subnet() {
        let addressing = of(
            r#"{"ranges": [[{"subnet": "10.1.0.0/24", "rangeEnd": "10.1.0.9", "gateway": "10.1.0.1"},
                            {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.20", "rangeEnd": "10.1.0.21"}]]}"#,
        );
        let addressing = addressing.unwrap();
        let ranges = [range("10.1.0.0", "10.1.0.9"), range("10.1.0.20", "10.1.0.21")];
        assert_eq!(endpoint(&addressing).ranges, ranges);
        assert_eq!(subnets(&addressing), ["10.1.0.0/24"], "its gateway is where it would be anyway");
    }

    #[test]
    fn ranges_of_several_subnets_are_one_set() {
        // The example of host-local's documentation.
        let addressing = of(
            r#"{"ranges": [
                [{"subnet": "10.10.0.0/16", "rangeStart": "10.10.1.20", "rangeEnd": "10.10.3.50", "gateway": "10.10.0.254"},
                 {"subnet": "172.16.5.0/24"}],
                [{"subnet": "3ffe:ffff:0:01ff::/64", "rangeStart": "3ffe:ffff:0:01ff::0010", "rangeEnd": "3ffe:ffff:0:01ff::0020"}]
            ]}"#,
        )
        .unwrap();
        assert_eq!(
            subnets(&addressing),
            ["10.10.0.0/16 10.10.0.254", "172.16.5.0/24", "3ffe:ffff:0:1ff::/64"]
        );
        let endpoint = endpoint(&addressing);
        assert_eq!(
            endpoint.ranges,
            [
                range("10.10.1.20", "10.10.3.50"),
                range("172.16.5.0", "172.16.5.255"),
                range("3ffe:ffff:0:1ff::10", "3ffe:ffff:0:1ff::20")
            ]
        );
        assert_eq!(endpoint.more, []);
    }

    #[test]
    fn several_sets_of_a_family_are_several_addresses() {
        let ipam = r#","ipam": {"ranges": [[{"subnet": "192.168.0.0/24"}], [{"subnet": "fd00::/64"}],
            [{"subnet": "2001:db8::/64"}], [{"subnet": "fd00::/64", "rangeStart": "fd00::1:0"}]]}"#;
        let failure = Addressing::of(&call(&[], ipam).config.said).unwrap_err();
        assert!(failure.msg.starts_with("ipam.ranges[3]: the ranges "), "{}", failure.msg);
        let ipam = ipam.replacen(r#""fd00::/64""#, r#""fd00::/64", "rangeEnd": "fd00::ffff""#, 1);
        let asking = |ips: &str| {
            let call = call(&[("CNI_ARGS", ips)], &ipam);
            Addressing::of(&call.config.said)?.with_requested(&call)
        };
        let addressing = asking("IP=2001:db8::7,fd00::1:9").unwrap();
        assert_eq!(subnets(&addressing), ["192.168.0.0/24", "fd00::/64", "2001:db8::/64"]);
        let endpoint = endpoint(&addressing);
        assert_eq!((endpoint.ip, endpoint.ip6), (None, None));
        assert_eq!(endpoint.ranges, [range("fd00::", "fd00::ffff")]);
        let asked: Vec<_> = endpoint.more.iter().map(|further| further.ip.unwrap().to_string()).collect();
        assert_eq!(asked, ["2001:db8::7", "fd00::1:9"]);
        assert_eq!(endpoint.more[0].ranges, [range("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff")]);
        let failure = asking("IP=2001:db8:1::7").unwrap_err();
        assert_eq!(
            (failure.code, failure.msg.as_str()),
            (7, "CNI_ARGS: IP: 2001:db8:1::7 is in none of the ranges of this network")
        );
    }

    #[test]
    fn another_plugin_may_give_several_addresses_of_a_family() {
        let result = |ips: &[&str]| {
            let ips: Vec<_> = ips.iter().map(|ip| serde_json::json!({"address": ip})).collect();
            CniResult::parse(&serde_json::json!({"ips": ips}), "it").unwrap()
        };
        let given = Addressing::given("giver", &[], result(&["10.1.0.7/24", "fd01::7/64", "fd02::7/64"]));
        let given = given.unwrap();
        assert_eq!(subnets(&given), ["10.1.0.0/24", "fd01::/64", "fd02::/64"]);
        let asked: Vec<_> = endpoint(&given).asked().map(|ip| ip.to_string()).collect();
        assert_eq!(asked, ["10.1.0.7", "fd01::7", "fd02::7"]);
        // Its configuration tells which subnets others will be given addresses of.
        let config = r#","ipam": {"type": "host-local", "ranges":
            [[{"subnet": "10.1.0.0/24", "gateway": "10.1.0.9"}, {"subnet": "10.2.0.0/24"}]]}"#;
        let sets = call(&[], config).config.said.ipam.sets();
        for (address, wanted) in [
            ("10.2.0.7/24", vec!["10.1.0.0/24 10.1.0.9", "10.2.0.0/24"]),
            ("10.3.0.7/24", vec!["10.3.0.0/24"]),
        ] {
            assert_eq!(subnets(&Addressing::given("giver", &sets, result(&[address])).unwrap()), wanted);
        }
        assert_eq!(Addressing::given("giver", &[], result(&[])).unwrap_err().code, 100);
    }

    #[test]
    fn what_is_said_of_a_route_is_kept() {
        let addressing = of(r#"{"subnet": "10.1.0.0/24", "routes": [
                {"dst": "0.0.0.0/0", "mtu": 1400, "advmss": 1360, "priority": 7, "table": 100, "scope": 0},
                {"dst": "192.0.2.0/24", "scope": 253}]}"#);
        let options = RouteOptions {
            mtu: Some(1400),
            advmss: Some(1360),
            priority: Some(7),
            table: Some(100),
            ..RouteOptions::default()
        };
        let default = Route { options, ..Route::new("0.0.0.0/0".parse().unwrap(), None) };
        let link = RouteOptions { scope: Some(RouteOptions::LINK), ..RouteOptions::default() };
        let on_link = Route { options: link, ..Route::new("192.0.2.0/24".parse().unwrap(), None) };
        let addressing = addressing.unwrap();
        assert_eq!((addressing.default_route, addressing.routes), (false, vec![default, on_link]));
        for (route, message) in [
            (
                r#""scope": 256"#,
                "route to 192.0.2.0/24: scope is 256: out of range integral type conversion attempted",
            ),
            (
                r#""gw": "10.1.0.9", "scope": 253"#,
                "route to 192.0.2.0/24: what is on the link, as its scope says, has no gateway",
            ),
        ] {
            let failure = of(&format!(r#"{{"routes": [{{"dst": "192.0.2.0/24", {route}}}]}}"#)).unwrap_err();
            assert_eq!((failure.code, failure.msg.as_str()), (7, message));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (ipam, code, message) in [
            ("[[]]", 7, "ipam.ranges[0]: a set without ranges"),
            (
                r#"[[{"subnet": "10.1.0.1/24"}]]"#,
                7,
                "ipam.ranges[0]: 10.1.0.1/24 is no subnet: it has bits of a host (write 10.1.0.0/24)",
            ),
            (
                r#"[[{"subnet": "10.1.0.0/24"}, {"subnet": "fd01::/64"}]]"#,
                7,
                "ipam.ranges[0]: 10.1.0.0/24 and fd01::/64 are of different families",
            ),
            (
                r#"[[{"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"}, {"subnet": "10.1.0.0/24", "gateway": "10.1.0.2"}]]"#,
                7,
                "ipam.ranges[0]: two gateways for one subnet: 10.1.0.1 and 10.1.0.2",
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
        let ip = |asked: Result<Addressing>| endpoint(&asked.unwrap()).ip;
        assert_eq!(ip(ask(&[], r#","runtimeConfig": {"ips": ["10.1.0.12/24", "fd01::5"]}"#)), v4);
        assert_eq!(ip(ask(&[], r#","args": {"cni": {"ips": ["10.1.0.12"]}}"#)), v4);
        assert_eq!(ip(ask(&[("CNI_ARGS", "IP=10.1.0.12")], "")), v4);
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
        assert_eq!(endpoint(&addressing).ranges, [range("10.1.0.50", "10.1.0.60")]);
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
