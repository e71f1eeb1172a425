//! Published ports of an endpoint.

use ipnet::IpNet;

use crate::manifest::text::port::{protocol, range};
use crate::manifest::text::{TextError, cidr, publish};
use crate::manifest::yaml::{Cursor, Fields, Report, Value};
use crate::model::{PortRange, Protocol, Publish};

/// Reads `publish`. All items are kept in their places, so that later complaints find them; one that cannot be read
/// is an error already.
pub(super) fn read_all(fields: &Fields<'_>, report: &mut Report) -> Vec<Publish> {
    let items = fields.get("publish").map(|cursor| cursor.items(report)).unwrap_or_default();
    items.iter().map(|item| read(item, report).unwrap_or_else(placeholder)).collect()
}

/// Stands for what cannot be read, and clashes with nothing.
fn placeholder() -> Publish {
    Publish {
        host_ip: None,
        host: None,
        container: PortRange::single(1),
        protocol: Protocol::Tcp,
        from: Vec::new(),
        bindable: false,
    }
}

fn read(cursor: &Cursor<'_>, report: &mut Report) -> Option<Publish> {
    match &cursor.node.value {
        Value::Map(_) => mapping(cursor, report),
        Value::List(_) => {
            let help = "quote an address in brackets: \"[::1]:8080:80\"";
            cursor.error_help(report, "a published port is a text or a mapping, not a list", help);
            None
        }
        Value::Scalar { .. } => {
            let text = cursor.text_or_number(report)?;
            publish::parse(text).map_err(|error| cursor.complain(report, error)).ok()
        }
    }
}

fn mapping(cursor: &Cursor<'_>, report: &mut Report) -> Option<Publish> {
    let errors = report.errors();
    let fields = Fields::plain(cursor, &["ip", "host", "container", "protocol", "from"], report);
    let ip = fields.get("ip").and_then(|c| c.parse(report, cidr::parse_address));
    let host = fields.get("host").and_then(|c| ports(&c, publish::host_range, report));
    let container = fields.need("container", report).and_then(|c| ports(&c, range, report));
    let protocol = fields.get("protocol").map_or(Some(Protocol::Tcp), |c| c.parse(report, protocol));
    let from = fields.get("from").map(|c| blocks(&c, report)).unwrap_or_default();
    if report.errors() > errors {
        return None;
    }
    match publish::new(ip, host, container?, protocol?) {
        Ok(publish) => Some(Publish { from, ..publish }),
        Err(error) => {
            cursor.complain(report, error);
            None
        }
    }
}

fn ports(
    cursor: &Cursor<'_>,
    form: impl FnOnce(&str) -> Result<PortRange, TextError>,
    report: &mut Report,
) -> Option<PortRange> {
    let text = cursor.text_or_number(report)?;
    form(text).map_err(|error| cursor.complain(report, error)).ok()
}

/// Reads who may use a published port.
fn blocks(cursor: &Cursor<'_>, report: &mut Report) -> Vec<IpNet> {
    let items = cursor.items(report);
    if items.is_empty() {
        // Everyone and nobody are too far apart to guess.
        cursor.error_help(report, "an empty list lets nobody in", "for everyone, leave from out");
    }
    items.iter().filter_map(|item| item.parse(report, cidr::parse_strict)).collect()
}
