//! Protocols and ports of a rule of a `ClusterNetworkPolicy`.

use super::{hints, port};
use crate::manifest::text::TextError;
use crate::manifest::text::port::check_port_name;
use crate::manifest::yaml::{Cursor, Fields, Report, Value};
use crate::model::{PortMatch, PortRange, Ports, Protocol};

const PROTOCOLS: [(&str, Protocol); 3] =
    [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)];

/// What to do in the place of port 0.
const EVERY: &str = "for every port, leave destinationPort out";

/// Reads `protocols` of a rule, some of whose peers may be blocks. What cannot be read is left out, and `report` says so.
pub(super) fn protocols(cursor: &Cursor<'_>, has_blocks: bool, report: &mut Report) -> Vec<PortMatch> {
    let items = cursor.items(report);
    if items.is_empty() && matches!(cursor.node.value, Value::List(_)) {
        cursor.error_help(report, "no protocol", "for every port of every protocol, leave protocols out");
    }
    items.iter().flat_map(|item| protocol(item, has_blocks, report)).collect()
}

/// Reads `ports` of a rule, which is what the first revisions of `v1alpha2` had for `protocols`.
pub(super) fn ports(cursor: &Cursor<'_>, has_blocks: bool, report: &mut Report) -> Vec<PortMatch> {
    let items = cursor.items(report);
    if items.is_empty() && matches!(cursor.node.value, Value::List(_)) {
        cursor.error_help(report, "no port", "for every port of every protocol, leave ports out");
    }
    items.iter().flat_map(|item| older(item, has_blocks, report)).collect()
}

fn older(cursor: &Cursor<'_>, has_blocks: bool, report: &mut Report) -> Vec<PortMatch> {
    let errors = report.errors();
    let known = ["portNumber", "portRange", "namedPort"];
    let fields = Fields::open(cursor, &known, hints::cluster_port, report);
    let mut found = known.into_iter().filter_map(|field| Some((field, fields.get(field)?)));
    let Some((field, first)) = found.next() else {
        if report.errors() == errors {
            cursor.error_help(report, "an empty port", "for every port of every protocol, leave ports out");
        }
        return Vec::new();
    };
    for (_, second) in found {
        let message = second.message(format!("beside {field}, where only one of them can be"));
        report.error_help(second.key_at, message, format!("put a `-` before {}", second.field()));
    }
    let is_range = match field {
        "namedPort" => return named(&first, has_blocks, report),
        field => field == "portRange",
    };
    let known: &[_] = if is_range { &["protocol", "start", "end"] } else { &["protocol", "port"] };
    let fields = Fields::plain(&first, known, report);
    let protocol = match fields.get("protocol") {
        None => Some(Protocol::Tcp),
        Some(protocol) => protocol.parse(report, port::protocol),
    };
    let range = if is_range {
        between(&fields, report)
    } else {
        let port = fields.need("port", report).and_then(|port| port::number(&port, EVERY, report));
        port.map(PortRange::single)
    };
    let (Some(protocol), Some(range)) = (protocol, range) else { return Vec::new() };
    vec![PortMatch { protocol, ports: Ports::Range(range) }]
}

fn protocol(cursor: &Cursor<'_>, has_blocks: bool, report: &mut Report) -> Vec<PortMatch> {
    let errors = report.errors();
    let known = ["tcp", "udp", "sctp", "destinationNamedPort"];
    let fields = Fields::open(cursor, &known, hints::cluster_protocol, report);
    let mut found = known.into_iter().filter_map(|field| Some((field, fields.get(field)?)));
    let Some((field, first)) = found.next() else {
        if report.errors() == errors {
            let help = "write tcp: {} for every TCP port";
            cursor.error_help(report, "an empty protocol", help);
        }
        return Vec::new();
    };
    for (_, second) in found {
        let message = second.message(format!("beside {field}, where only one of them can be"));
        report.error_help(second.key_at, message, format!("put a `-` before {}", second.field()));
    }
    match PROTOCOLS.iter().find(|(name, _)| *name == field) {
        Some((_, protocol)) => {
            let ports = numbered(&first, report);
            ports.map(|ports| PortMatch { protocol: *protocol, ports }).into_iter().collect()
        }
        None => named(&first, has_blocks, report),
    }
}

/// A port by its name is one of any protocol.
fn named(cursor: &Cursor<'_>, has_blocks: bool, report: &mut Report) -> Vec<PortMatch> {
    if has_blocks {
        let message = cursor.message("a port's name in a rule about networks, which have none");
        report.error_help(
            cursor.key_at,
            message,
            "write a rule of its own for the networks, with port numbers",
        );
    }
    let Some(name) = cursor.text_or_number(report) else { return Vec::new() };
    if let Err(error) = check_name(name) {
        cursor.complain(report, error);
    }
    PROTOCOLS.map(|(_, protocol)| PortMatch { protocol, ports: Ports::Named(name.to_owned()) }).into()
}

fn check_name(name: &str) -> Result<(), TextError> {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_digit()) {
        let message = format!("{name} is a port's number, not its name");
        return Err(TextError::with_help(
            message,
            format!("write tcp: {{destinationPort: {{number: {name}}}}}"),
        ));
    }
    check_port_name(name)
}

fn numbered(cursor: &Cursor<'_>, report: &mut Report) -> Option<Ports> {
    let fields = Fields::open(cursor, &["destinationPort"], of_protocol, report);
    let Some(port) = fields.get("destinationPort") else { return Some(Ports::Any) };
    let errors = report.errors();
    let fields = Fields::open(&port, &["number", "range"], of_port, report);
    match (fields.get("number"), fields.get("range")) {
        (Some(number), None) => Some(Ports::Range(PortRange::single(port::number(&number, EVERY, report)?))),
        (None, Some(range)) => range_of(&range, report),
        (Some(_), Some(range)) => {
            let message = range.message("beside number, where only one of them can be");
            report.error_help(range.key_at, message, "drop one of the two");
            None
        }
        (None, None) => {
            if report.errors() == errors {
                let help = "write {number: 80} or {range: {start: 8000, end: 8080}}, or leave destinationPort out for \
                            every port";
                port.error_help(report, "no port", help);
            }
            None
        }
    }
}

fn range_of(cursor: &Cursor<'_>, report: &mut Report) -> Option<Ports> {
    let fields = Fields::plain(cursor, &["start", "end"], report);
    between(&fields, report).map(Ports::Range)
}

/// The range from `start` to `end`, which must lie above it.
fn between(fields: &Fields<'_>, report: &mut Report) -> Option<PortRange> {
    let start = fields.need("start", report).and_then(|cursor| port::number(&cursor, EVERY, report));
    let end = fields.need("end", report);
    let last = end.as_ref().and_then(|cursor| port::number(cursor, EVERY, report));
    let (first, last) = (start?, last?);
    if last <= first {
        let message = format!("end {last} is not above start {first}");
        let end = end?;
        if last == first {
            end.error_help(report, message, format!("write destinationPort: {{number: {first}}}"));
        } else {
            end.error(report, message);
        }
        return None;
    }
    Some(PortRange { first, last })
}

fn of_protocol(field: &str) -> Option<&'static str> {
    match field {
        "port" | "ports" | "number" | "range" => Some("it belongs in destinationPort: {...}"),
        _ => None,
    }
}

fn of_port(field: &str) -> Option<&'static str> {
    match field {
        "start" | "end" => Some("it belongs in range: {...}"),
        "port" => Some("write number"),
        "endPort" => Some("write range: {start: ..., end: ...}"),
        _ => None,
    }
}
