//! A network.

use ipnet::IpNet;

use crate::manifest::text::cidr;
use crate::manifest::yaml::{Cursor, Fields, Report};
use crate::model::network::DEFAULT_MTU;
use crate::model::{Name, Network};

/// The fields of a network.
pub(super) const KNOWN: [&str; 5] = ["subnet", "subnet6", "internal", "routed", "mtu"];

/// Reads a network; `None` where something is wrong, which `report` then says.
pub(super) fn read(name: Name, fields: &Fields<'_>, report: &mut Report) -> Option<Network> {
    let errors = report.errors();
    let mut network = Network {
        internal: flag(fields, "internal", report).unwrap_or_default(),
        routed: flag(fields, "routed", report).unwrap_or_default(),
        mtu: mtu(fields, report).unwrap_or(DEFAULT_MTU),
        ..Network::new(name)
    };
    if let Some(field) = fields.get("subnet") {
        match field.parse(report, cidr::parse_strict) {
            Some(IpNet::V4(net)) => network.subnet = Some(net),
            Some(net @ IpNet::V6(_)) => wrong_family(&field, net, "subnet6", report),
            None => {}
        }
    }
    if let Some(field) = fields.get("subnet6") {
        match field.parse(report, cidr::parse_strict) {
            Some(IpNet::V6(net)) => network.subnet6 = Some(net),
            Some(net @ IpNet::V4(_)) => wrong_family(&field, net, "subnet", report),
            None => {}
        }
    }
    (report.errors() == errors).then_some(network)
}

fn wrong_family(field: &Cursor<'_>, net: IpNet, other: &str, report: &mut Report) {
    let family = if net.addr().is_ipv4() { "IPv4" } else { "IPv6" };
    field.error_help(report, format!("{net} is {family}"), format!("write it at {other}"));
}

/// Reads `true` or `false`.
pub(super) fn flag(fields: &Fields<'_>, name: &str, report: &mut Report) -> Option<bool> {
    fields.get(name).and_then(|field| field.boolean(report))
}

/// Reads an MTU. Whether it is large enough depends on the network.
pub(super) fn mtu(fields: &Fields<'_>, report: &mut Report) -> Option<u16> {
    let field = fields.get("mtu")?;
    let number = field.integer(report)?;
    let mtu = u16::try_from(number).ok();
    if mtu.is_none() {
        field.error(report, format!("{number} is not between 1280 and 65521"));
    }
    mtu
}
