//! The rows of all maps but the policies' own: who has which address, which port leads where.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netfast_common::addr::{Addr, Mac};
use netfast_common::policy::{RuleKey, RuleRow};
use netfast_common::rows::{
    ADDRESS_ENDPOINT, ADDRESS_GATEWAY, ADDRESS_HOST, AddressRow, ENDPOINT_INTERNAL, ENDPOINT_READY,
    ENDPOINT_ROUTED, EndpointRow, PublishKey, PublishRow, Subject, UplinkRow,
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
    /// Ports of the host that lead to it.
    pub publish: &'a [Publish],
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
    /// By index.
    pub uplinks: BTreeMap<u32, UplinkRow>,
    /// By slot.
    pub subjects: BTreeMap<u32, Subject>,
    /// Identities of prefixes.
    pub cidrs: BTreeMap<Prefix, u32>,
    /// Policy rows by key and prefix length.
    pub rules: BTreeMap<(RuleKey, u32), RuleRow>,
}

/// Makes the rows. `host` are the host's addresses, those of the bridges not among them.
pub fn rows<'a>(
    networks: impl Iterator<Item = &'a PlacedNetwork<'a>>,
    endpoints: &[PlacedEndpoint<'_>],
    uplinks: &[Uplink],
    host: &BTreeSet<IpAddr>,
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
        for publish in endpoint.publish {
            add_published(&mut rows.published, publish, &row);
        }
    }
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
    EndpointRow {
        ip4: v4(endpoint.ip),
        ip6: v6(endpoint.ip6),
        gateway4: v4(network.gateway()),
        gateway6: v6(network.gateway6()),
        incarnation: endpoint.incarnation,
        slot: endpoint.slot,
        network: *id,
        ifindex: endpoint.ifindex,
        flags: ENDPOINT_READY | internal | routed,
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

/// One row for each port and family. A published port serves the families the endpoint has.
fn add_published(published: &mut BTreeMap<PublishKey, PublishRow>, publish: &Publish, row: &EndpointRow) {
    let Publish { host_ip, host: Some(host), container, protocol, .. } = publish else {
        return;
    };
    let fronts = match host_ip {
        None => vec![Addr::UNSPECIFIED_V4, Addr::UNSPECIFIED_V6],
        Some(addr) => vec![Addr::from(*addr)],
    };
    for front in fronts {
        let addr = if front.is_v4() { row.ip4 } else { row.ip6 };
        if addr.is_unspecified() {
            continue;
        }
        for (port, target) in ports(*host).zip(ports(*container)) {
            let key = PublishKey { addr: front, port, protocol: protocol.number(), pad: [0; 5] };
            // A mapping that leads elsewhere is another mapping: flows of the old one end.
            let incarnation = (row.incarnation << 16) | u32::from(target);
            published.insert(key, PublishRow { addr, port: target, pad: 0, incarnation });
        }
    }
}

fn ports(range: PortRange) -> impl Iterator<Item = u16> {
    range.first..=range.last
}
