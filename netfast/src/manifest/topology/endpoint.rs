//! An endpoint.

use super::endpoint_fields::{address, attachment, command, ports};
use super::network::{flag, mtu};
use super::publish;
use crate::manifest::labels::labels;
use crate::manifest::text::mac::parse_mac;
use crate::manifest::yaml::{Fields, Report};
use crate::model::{Endpoint, EndpointId, Name};

/// The fields of an endpoint.
pub(super) const KNOWN: [&str; 14] = [
    "network",
    "namespace",
    "labels",
    "ports",
    "publish",
    "ip",
    "ip6",
    "mac",
    "mtu",
    "source_check",
    "redirect",
    "command",
    "netns",
    "pid",
];

/// Reads an endpoint. What cannot be read is left out, and `report` says so.
pub(super) fn read(id: EndpointId, network: Name, fields: &Fields<'_>, report: &mut Report) -> Endpoint {
    Endpoint {
        labels: fields.get("labels").map(|c| labels(&c, report)).unwrap_or_default(),
        ports: fields.get("ports").map(|c| ports(&c, report)).unwrap_or_default(),
        publish: publish::read_all(fields, report),
        ip: address(fields, "ip", report),
        ip6: address(fields, "ip6", report),
        mac: fields.get("mac").and_then(|c| c.parse(report, parse_mac)),
        mtu: mtu(fields, report),
        source_check: flag(fields, "source_check", report).unwrap_or(true),
        redirect: flag(fields, "redirect", report).unwrap_or(true),
        attachment: attachment(fields, report),
        command: fields.get("command").and_then(|c| command(&c, report)),
        ..Endpoint::new(id, network)
    }
}
