//! Ports of a rule.

use super::hints;
use crate::manifest::labels::is_boolean_once;
use crate::manifest::text::TextError;
use crate::manifest::text::port::{self, check_port_name};
use crate::manifest::yaml::{Cursor, Fields, Plain, Report, Value, show, suggest};
use crate::model::lint::Lint;
use crate::model::{PortMatch, PortRange, Ports, Protocol};

/// Reads a port; `None` where it is not one, which `report` then says.
pub(super) fn read(cursor: &Cursor<'_>, report: &mut Report) -> Option<PortMatch> {
    let fields = Fields::open(cursor, &["protocol", "port", "endPort"], hints::port, report);
    let protocol = match fields.get("protocol") {
        Some(field) => field
            .text_or_number(report)
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
        if *plain && is_boolean_once(text) {
            let message = port.message(format!("{text} is a truth value to Kubernetes"));
            report.warning(Lint::YamlBoolean, port.at(), message, format!("quote it: \"{text}\""));
        }
        return Some(Ports::Named(text.clone()));
    }
    let first = number(port, "for every port, leave port out", report);
    let Some(end) = end else { return Some(Ports::Range(PortRange::single(first?))) };
    let (last, first) =
        (number(end, "leave endPort out, or write the last port of the range", report), first?);
    let last = last?;
    if last < first {
        end.error(report, format!("endPort {last} is below port {first}"));
        return None;
    }
    Some(Ports::Range(PortRange { first, last }))
}

/// `instead`: what to do in the place of 0.
pub(super) fn number(cursor: &Cursor<'_>, instead: &str, report: &mut Report) -> Option<u16> {
    let number = cursor.integer(report)?;
    match u16::try_from(number) {
        Ok(0) => cursor.error_help(report, "there is no port 0", instead),
        Ok(port) => return Some(port),
        Err(_) => {
            let Value::Scalar { text, .. } = &cursor.node.value else { return None };
            let text = if text.len() > 20 { show(text) } else { text.clone() };
            cursor.error(report, format!("port {text} is not between 1 and 65535"));
        }
    }
    None
}

fn name(text: &str) -> Result<(), TextError> {
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let wrong = |help: String| Err(TextError::with_help(format!("{} is not a port", show(text)), help));
    if let Some((first, last)) = text.split_once(['-', ':']).or_else(|| text.split_once(".."))
        && digits(first.trim())
        && digits(last.trim())
    {
        return wrong(format!("write port: {} and endPort: {}", first.trim(), last.trim()));
    }
    if let Some((port, protocol)) = text.split_once('/') {
        let (port, protocol) = if digits(protocol) { (protocol, port) } else { (port, protocol) };
        if let Ok(protocol) = port::protocol(protocol) {
            return wrong(format!(
                "write port: {port} and protocol: {}",
                protocol.name().to_ascii_uppercase()
            ));
        }
    }
    if text.contains(',') && text.split(',').all(|port| digits(port.trim())) {
        return wrong("write an entry of its own for each".to_owned());
    }
    if ["", "*", "any", "all"].contains(&text.to_ascii_lowercase().as_str()) {
        return wrong("for every port, leave port out".to_owned());
    }
    if digits(text) {
        let message = format!("a quoted number is a port's name, and {} has no letter", show(text));
        return Err(TextError::with_help(message, "drop the quotes"));
    }
    check_port_name(text)
}

pub(super) fn protocol(text: &str) -> Result<Protocol, TextError> {
    let message = format!("unknown protocol {}", show(text));
    let help = match text {
        "6" => "write TCP".to_owned(),
        "17" => "write UDP".to_owned(),
        "132" => "write SCTP".to_owned(),
        "TCP" => return Ok(Protocol::Tcp),
        "UDP" => return Ok(Protocol::Udp),
        "SCTP" => return Ok(Protocol::Sctp),
        _ => match text.to_ascii_uppercase().as_str() {
            upper if text.contains([',', '/', '|', ' ']) && upper.contains("TCP") => {
                "write an entry of its own for each".to_owned()
            }
            upper @ ("TCP" | "UDP" | "SCTP") => format!("write {upper}"),
            "ICMP" | "ICMPV6" => {
                "rules cannot name it; a rule without ports lets echo requests pass, and errors always do"
                    .to_owned()
            }
            "ANY" | "ALL" | "*" => "for every port of every protocol, leave ports out of the rule".to_owned(),
            upper => match suggest(upper, &["TCP", "UDP", "SCTP"]) {
                Some(protocol) => format!("did you mean {protocol}?"),
                None => "use TCP, UDP or SCTP".to_owned(),
            },
        },
    };
    Err(TextError::with_help(message, help))
}
