//! The rows of all maps but the policies' own: who has which address, which port leads where.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netfast_common::addr::{Addr, Mac};
use netfast_common::policy::{RuleKey, RuleRow};
use netfast_common::rows::{
    ADDRESS_ENDPOINT, ADDRESS_GATEWAY, ADDRESS_HOST, AddressRow, ENDPOINT_ANY_SOURCE, ENDPOINT_INTERNAL,
    ENDPOINT_PLAIN, ENDPOINT_READY, ENDPOINT_ROUTED, EndpointRow, PublishKey, PublishRow, SourceKey, Subject,
    UplinkRow,
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
    /// MAC address of its container veth.
    pub mac: [u8; 6],
    /// It may send from its own addresses only.
    pub source_check: bool,
    /// Packets are redirected into its namespace.
    pub redirect: bool,
    /// Ports of the host that lead to it.
    pub publish: Vec<PlacedPublish<'a>>,
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
    /// Who may use published ports: keys and prefix lengths.
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
    for PlacedNetwork { network, id, .. } in networks {
        let row = AddressRow { kind: ADDRESS_GATEWAY, network: *id, ..AddressRow::default() };
        for gateway in gateways(network).into_iter().flatten() {
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

fn gateways(network: &Network) -> [Option<IpAddr>; 2] {
    [network.gateway().map(IpAddr::V4), network.gateway6().map(IpAddr::V6)]
}

fn v4(addr: Option<Ipv4Addr>) -> Addr {
    addr.map_or(Addr::UNSPECIFIED_V4, Addr::from)
}

fn v6(addr: Option<Ipv6Addr>) -> Addr {
    addr.map_or(Addr::UNSPECIFIED_V6, Addr::from)
}

fn endpoint_row(endpoint: &PlacedEndpoint<'_>) -> EndpointRow {
    let PlacedEndpoint { network: PlacedNetwork { network, id, mac: gateway_mac }, .. } = endpoint;
    let internal = if network.internal { ENDPOINT_INTERNAL } else { 0 };
    let routed = if network.routed { ENDPOINT_ROUTED } else { 0 };
    let any_source = if endpoint.source_check { 0 } else { ENDPOINT_ANY_SOURCE };
    let plain = if endpoint.redirect { 0 } else { ENDPOINT_PLAIN };
    EndpointRow {
        ip4: v4(endpoint.ip),
        ip6: v6(endpoint.ip6),
        gateway4: v4(network.gateway()),
        gateway6: v6(network.gateway6()),
        incarnation: endpoint.incarnation,
        slot: endpoint.slot,
        network: *id,
        ifindex: endpoint.ifindex,
        flags: ENDPOINT_READY | internal | routed | any_source | plain,
        mac: Mac::new(endpoint.mac),
        gateway_mac: Mac::new(*gateway_mac),
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
    UplinkRow { ip4: v4(uplink.ip), ip6: v6(uplink.ip6), mtu: uplink.mtu, pad: 0 }
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
    let Publish { host: Some(host), container, protocol, .. } = publish else {
        return;
    };
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
            let row = PublishRow { addr, port: target, pad: [0; 3], incarnation, sources };
            published.insert(key, row);
            if !front.is_unspecified() {
                let key = PublishKey::somewhere(front, port, protocol.number());
                published.insert(key, PublishRow::default());
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
