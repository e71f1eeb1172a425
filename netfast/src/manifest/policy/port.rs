//! Ports of a rule.

use super::hints;
use crate::manifest::text::TextError;
use crate::manifest::text::port::check_port_name;
use crate::manifest::yaml::{Cursor, Fields, Plain, Report, Value, show};
use crate::model::{PortMatch, PortRange, Ports, Protocol};

/// Reads a port; `None` where it is not one, which `report` then says.
pub(super) fn read(cursor: &Cursor<'_>, report: &mut Report) -> Option<PortMatch> {
    let fields = Fields::open(cursor, &["protocol", "port", "endPort"], hints::port, report);
    let protocol = match fields.get("protocol") {
        Some(field) => field
            .text(report)
            .and_then(|text| protocol(text).map_err(|error| field.complain(report, error)).ok()),
        None => Some(Protocol::Tcp),
    };
    let end = fields.get("endPort");
    let ports = match (fields.get("port"), &end) {
        (None, None) => Some(Ports::Any),
        (None, Some(end)) => {
            let message = end.message("endPort without port");
            report.error_help(end.key_at, message, "add port: the first of the range");
            None
        }
        (Some(port), end) => ports(&port, end.as_ref(), report),
    };
    Some(PortMatch { protocol: protocol?, ports: ports? })
}

fn ports(port: &Cursor<'_>, end: Option<&Cursor<'_>>, report: &mut Report) -> Option<Ports> {
    if let Value::Scalar { text, plain } = &port.node.value
        && !(*plain && Plain::of(text) != Plain::Text)
    {
        if let Err(error) = name(text) {
            port.complain(report, error);
            return None;
        }
        if let Some(end) = end {
            let message = end.message("endPort with a port's name");
            report.error_help(end.key_at, message, "ranges are of numbers");
            return None;
        }
        return Some(Ports::Named(text.clone()));
    }
    let first = number(port, report);
    let Some(end) = end else { return Some(Ports::Range(PortRange::single(first?))) };
    let (last, first) = (number(end, report)?, first?);
    if last < first {
        end.error(report, format!("endPort {last} is below port {first}"));
        return None;
    }
    Some(Ports::Range(PortRange { first, last }))
}

pub(super) fn number(cursor: &Cursor<'_>, report: &mut Report) -> Option<u16> {
    let number = cursor.integer(report)?;
    match u16::try_from(number) {
        Ok(0) => cursor.error_help(report, "there is no port 0", "for every port, leave port out"),
        Ok(port) => return Some(port),
        Err(_) => cursor.error(report, format!("port {number} is not between 1 and 65535")),
    }
    None
}

fn name(text: &str) -> Result<(), TextError> {
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if let Some((first, last)) = text.split_once('-')
        && digits(first)
        && digits(last)
    {
        let message = format!("{} is not a port", show(text));
        return Err(TextError::with_help(message, format!("write port: {first} and endPort: {last}")));
    }
    if digits(text) {
        let message = format!("a quoted number is a port's name, and {} has no letter", show(text));
        return Err(TextError::with_help(message, "drop the quotes"));
    }
    check_port_name(text)
}

fn protocol(text: &str) -> Result<Protocol, TextError> {
    let message = format!("unknown protocol {}", show(text));
    let help = match text {
        "TCP" => return Ok(Protocol::Tcp),
        "UDP" => return Ok(Protocol::Udp),
        "SCTP" => return Ok(Protocol::Sctp),
        _ => match text.to_ascii_uppercase().as_str() {
            upper @ ("TCP" | "UDP" | "SCTP") => format!("write {upper}"),
            "ICMP" | "ICMPV6" => {
                "rules cannot name it; a rule without ports lets echo requests pass, and errors always do"
                    .to_owned()
            }
            "ANY" | "ALL" | "*" => "for every port of every protocol, leave ports out of the rule".to_owned(),
            _ => "use TCP, UDP or SCTP".to_owned(),
        },
    };
    Err(TextError::with_help(message, help))
}
