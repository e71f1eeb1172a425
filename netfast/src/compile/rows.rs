//! The rows of all maps but the policies' own: who has which address, which port leads where.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netfast_common::addr::{Addr, Mac};
use netfast_common::policy::{RuleKey, RuleRow};
use netfast_common::rows::{
    ADDRESS_ENDPOINT, ADDRESS_GATEWAY, ADDRESS_HOST, AddressRow, ENDPOINT_ADOPTED, ENDPOINT_ANY_SOURCE,
    ENDPOINT_APART, ENDPOINT_HELD, ENDPOINT_INTERNAL, ENDPOINT_MORE, ENDPOINT_PLAIN, ENDPOINT_READY,
    ENDPOINT_ROUTED, EndpointRow, PUBLISH_BINDABLE, PublishKey, PublishRow, SourceKey, Subject,
    UPLINK_SHARED, UplinkRow,
};

use super::policy::{Prefix, Tables};
use crate::model::{EndpointId, Network, PortRange, Publish};

/// A network with the numbers it was given.
#[derive(Clone, Debug)]
pub struct PlacedNetwork<'a> {
    /// What was asked for.
    pub network: &'a Network,
    /// Its number.
    pub id: u32,
    /// MAC address of its bridge.
    pub mac: [u8; 6],
    /// Index of its bridge; `None`: another plugin made it.
    pub ifindex: Option<u32>,
}

/// An endpoint with the numbers it was given.
#[derive(Clone, Debug)]
pub struct PlacedEndpoint<'a> {
    /// Whose it is.
    pub id: &'a EndpointId,
    /// Its network.
    pub network: &'a PlacedNetwork<'a>,
    /// Number of its life.
    pub incarnation: u32,
    /// Index of its row of policy.
    pub slot: u32,
    /// Index of its host veth.
    pub ifindex: u32,
    /// IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// Addresses besides these two.
    pub more: &'a [IpAddr],
    /// MAC address of its container veth.
    pub mac: [u8; 6],
    /// It may send from its own addresses only.
    pub source_check: bool,
    /// Packets are redirected into its namespace.
    pub redirect: bool,
    /// Others hold back what it sends, at its host veth.
    pub held: bool,
    /// Its link to the host.
    pub link: PlacedLink,
    /// Ports of the host that lead to it.
    pub publish: Vec<PlacedPublish<'a>>,
}

/// How an endpoint is linked to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacedLink {
    /// By a port of its network's bridge.
    Port,
    /// By a device that is no port of its network's bridge.
    Apart,
    /// By what another plugin made.
    Adopted(AdoptedLink),
}

/// The host's side of a link that another plugin made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdoptedLink {
    /// The host's IPv4 address there.
    pub gateway: Option<Ipv4Addr>,
    /// The host's IPv6 address there.
    pub gateway6: Option<Ipv6Addr>,
    /// The host's MAC address there.
    pub mac: [u8; 6],
}

/// Published ports with the numbers they were given.
#[derive(Clone, Copy, Debug)]
pub struct PlacedPublish<'a> {
    /// What was asked for, with a host port.
    pub publish: &'a Publish,
    /// Number of the mapping's life.
    pub incarnation: u32,
    /// Number of the list of sources; 0 without one.
    pub sources: u32,
}

/// A device that leads outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uplink {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Address to masquerade IPv4 with.
    pub ip: Option<Ipv4Addr>,
    /// Address to masquerade IPv6 with.
    pub ip6: Option<Ipv6Addr>,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Behind it are endpoints whose devices another plugin made.
    pub shared: bool,
}

/// What the maps must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// By the index of the host veth. All of them ready.
    pub endpoints: BTreeMap<u32, EndpointRow>,
    /// Whose an address is.
    pub addresses: BTreeMap<Addr, AddressRow>,
    /// Which port leads where.
    pub published: BTreeMap<PublishKey, PublishRow>,
    /// Who may use published ports, and the further addresses of endpoints: keys and prefix lengths.
    pub sources: BTreeSet<(SourceKey, u32)>,
    /// By index.
    pub uplinks: BTreeMap<u32, UplinkRow>,
    /// By slot.
    pub subjects: BTreeMap<u32, Subject>,
    /// Identities of prefixes.
    pub cidrs: BTreeMap<Prefix, u32>,
    /// Policy rows by key and prefix length.
    pub rules: BTreeMap<(RuleKey, u32), RuleRow>,
}

/// Makes the rows. `host` are the host's addresses, those of the bridges not among them; `not_masqueraded` the
/// destinations that see the endpoints' own addresses.
pub fn rows<'a>(
    networks: impl Iterator<Item = &'a PlacedNetwork<'a>>,
    endpoints: &[PlacedEndpoint<'_>],
    uplinks: &[Uplink],
    host: &BTreeSet<IpAddr>,
    not_masqueraded: &BTreeSet<IpNet>,
    tables: &Tables,
) -> Rows {
    let mut rows = Rows { cidrs: tables.cidrs.clone(), rules: tables.rules.clone(), ..Rows::default() };
    for addr in host {
        let row = AddressRow { kind: ADDRESS_HOST, ..AddressRow::default() };
        rows.addresses.insert(Addr::from(*addr), row);
    }
    for PlacedNetwork { network, id, ifindex, .. } in networks {
        let ifindex = ifindex.unwrap_or(0);
        let row = AddressRow { kind: ADDRESS_GATEWAY, network: *id, ifindex, incarnation: 0 };
        for gateway in network.gateways() {
            rows.addresses.insert(Addr::from(gateway), row);
        }
    }
    for endpoint in endpoints {
        let row = endpoint_row(endpoint);
        for addr in [row.ip4, row.ip6] {
            if !addr.is_unspecified() {
                rows.addresses.insert(addr, address_row(&row));
            }
        }
        for addr in endpoint.more.iter().copied().map(Addr::from) {
            rows.addresses.insert(addr, address_row(&row));
            rows.sources.insert((SourceKey::further(row.incarnation, addr), SourceKey::FULL));
        }
        rows.endpoints.insert(endpoint.ifindex, row);
        rows.subjects.insert(endpoint.slot, tables.subjects.get(endpoint.id).copied().unwrap_or_default());
        for publish in &endpoint.publish {
            add_published(&mut rows.published, publish, &row);
            let sources = publish.publish.from.iter();
            rows.sources.extend(sources.map(|block| source(publish.sources, *block)));
        }
    }
    let kept = not_masqueraded.iter();
    rows.sources.extend(kept.map(|block| source(SourceKey::NOT_MASQUERADED, *block)));
    rows.uplinks = uplinks.iter().map(|uplink| (uplink.ifindex, uplink_row(uplink))).collect();
    rows
}

fn v4(addr: Option<Ipv4Addr>) -> Addr {
    addr.map_or(Addr::UNSPECIFIED_V4, Addr::from)
}

fn v6(addr: Option<Ipv6Addr>) -> Addr {
    addr.map_or(Addr::UNSPECIFIED_V6, Addr::from)
}

fn endpoint_row(endpoint: &PlacedEndpoint<'_>) -> EndpointRow {
    let PlacedEndpoint { network: PlacedNetwork { network, id, mac: gateway_mac, .. }, .. } = endpoint;
    let internal = if network.internal { ENDPOINT_INTERNAL } else { 0 };
    let routed = if network.routed { ENDPOINT_ROUTED } else { 0 };
    let any_source = if endpoint.source_check { 0 } else { ENDPOINT_ANY_SOURCE };
    let plain = if endpoint.redirect { 0 } else { ENDPOINT_PLAIN };
    let held = if endpoint.held { ENDPOINT_HELD } else { 0 };
    let more = if endpoint.more.is_empty() { 0 } else { ENDPOINT_MORE };
    let link = match endpoint.link {
        PlacedLink::Port => 0,
        PlacedLink::Apart => ENDPOINT_APART,
        PlacedLink::Adopted(_) => ENDPOINT_ADOPTED,
    };
    let gateway_of =
        |ip: Option<IpAddr>, none: Addr| ip.and_then(|ip| network.gateway_of(ip)).map_or(none, Addr::from);
    let (gateway4, gateway6, mac) = match endpoint.link {
        PlacedLink::Adopted(AdoptedLink { gateway, gateway6, mac }) => (v4(gateway), v6(gateway6), mac),
        PlacedLink::Port | PlacedLink::Apart => (
            gateway_of(endpoint.ip.map(IpAddr::V4), Addr::UNSPECIFIED_V4),
            gateway_of(endpoint.ip6.map(IpAddr::V6), Addr::UNSPECIFIED_V6),
            *gateway_mac,
        ),
    };
    EndpointRow {
        ip4: v4(endpoint.ip),
        ip6: v6(endpoint.ip6),
        gateway4,
        gateway6,
        incarnation: endpoint.incarnation,
        slot: endpoint.slot,
        network: *id,
        ifindex: endpoint.ifindex,
        flags: ENDPOINT_READY | internal | routed | any_source | plain | held | more | link,
        mac: Mac::new(endpoint.mac),
        gateway_mac: Mac::new(mac),
    }
}

fn address_row(row: &EndpointRow) -> AddressRow {
    AddressRow {
        kind: ADDRESS_ENDPOINT,
        network: row.network,
        ifindex: row.ifindex,
        incarnation: row.incarnation,
    }
}

fn uplink_row(uplink: &Uplink) -> UplinkRow {
    let flags = if uplink.shared { UPLINK_SHARED } else { 0 };
    UplinkRow { ip4: v4(uplink.ip), ip6: v6(uplink.ip6), mtu: uplink.mtu, flags }
}

/// Where a port is published, whatever families its endpoint has.
pub fn fronts(publish: &Publish) -> Vec<IpAddr> {
    let every = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    publish.host_ip.map_or(every.to_vec(), |ip| vec![ip])
}

/// How many rows a published port or range takes.
pub fn published_rows(publish: &Publish) -> usize {
    let each: usize = fronts(publish).iter().map(|f| if f.is_unspecified() { 1 } else { 2 }).sum();
    each * publish.container.count() as usize
}

/// One row for each port and family; and one that tells that a port is not free on all addresses.
fn add_published(
    published: &mut BTreeMap<PublishKey, PublishRow>,
    placed: &PlacedPublish<'_>,
    row: &EndpointRow,
) {
    let PlacedPublish { publish, incarnation, sources } = *placed;
    let Publish { host: Some(host), container, protocol, bindable, .. } = publish else {
        return;
    };
    let flags = if *bindable { PUBLISH_BINDABLE } else { 0 };
    for front in fronts(publish).into_iter().map(Addr::from) {
        // An endpoint without an address of the family is reached by that of the other one.
        let addr = match front.is_v4() {
            true if row.ip4.is_unspecified() => row.ip6,
            false if row.ip6.is_unspecified() => row.ip4,
            true => row.ip4,
            false => row.ip6,
        };
        for (port, target) in ports(*host).zip(ports(*container)) {
            let key = PublishKey::new(front, port, protocol.number());
            let row = PublishRow { addr, port: target, flags, pad: [0; 2], incarnation, sources };
            published.insert(key, row);
            if !front.is_unspecified() {
                let key = PublishKey::somewhere(front, port, protocol.number());
                // Of several addresses, one that may not be bound decides.
                let row = published.entry(key).or_insert(PublishRow { flags, ..PublishRow::default() });
                row.flags &= flags;
            }
        }
    }
}

fn source(set: u32, block: IpNet) -> (SourceKey, u32) {
    let family = if block.addr().is_ipv4() { Addr::V4_PREFIX } else { 0 };
    let bits = SourceKey::SET_BITS + family + u32::from(block.prefix_len());
    (SourceKey::new(set, Addr::from(block.network())), bits)
}

fn ports(range: PortRange) -> impl Iterator<Item = u16> {
    range.first..=range.last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    #[test]
    fn a_port_is_free_to_bind_where_all_that_publish_it_say_so() {
        let row = EndpointRow { ip4: Addr::from_v4([10, 77, 0, 2]), ..EndpointRow::default() };
        let publish = |host: &str, bindable| Publish {
            host_ip: host.parse().ok(),
            host: Some(PortRange::single(8080)),
            container: PortRange::single(80),
            protocol: Protocol::Tcp,
            from: Vec::new(),
            bindable,
        };
        for (first, second, wanted) in [(true, true, PUBLISH_BINDABLE), (true, false, 0), (false, true, 0)] {
            let mut published = BTreeMap::new();
            let (first, second) = (publish("192.0.2.1", first), publish("192.0.2.7", second));
            for publish in [&first, &second] {
                add_published(&mut published, &PlacedPublish { publish, incarnation: 1, sources: 0 }, &row);
            }
            let own = |publish: &Publish| {
                let front = Addr::from(publish.host_ip.unwrap());
                published[&PublishKey::new(front, 8080, 6)].flags == PUBLISH_BINDABLE
            };
            assert_eq!((own(&first), own(&second)), (first.bindable, second.bindable));
            let somewhere = PublishKey::somewhere(Addr::UNSPECIFIED_V4, 8080, 6);
            assert_eq!(published[&somewhere].flags, wanted);
        }
    }
}
