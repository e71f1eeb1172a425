//! The fields of an endpoint that have forms of their own.

use std::net::IpAddr;

use crate::manifest::text::port::{check_port_name, number, parse_port, protocol};
use crate::manifest::text::{cidr, netns, words};
use crate::manifest::yaml::{Cursor, Fields, Report, Value};
use crate::model::{Attachment, NamedPort, Protocol};

/// Reads the ports an endpoint serves: `80`, `"http=80/tcp"`, or mappings.
pub(in crate::manifest) fn ports(cursor: &Cursor<'_>, report: &mut Report) -> Vec<NamedPort> {
    cursor.items(report).iter().filter_map(|item| port(item, report)).collect()
}

fn port(cursor: &Cursor<'_>, report: &mut Report) -> Option<NamedPort> {
    if !matches!(cursor.node.value, Value::Map(_)) {
        let text = cursor.text_or_number(report)?;
        return parse_port(text).map_err(|error| cursor.complain(report, error)).ok();
    }
    let fields = Fields::plain(cursor, &["name", "port", "protocol"], report);
    let name = match fields.get("name") {
        Some(name) => Some(name.parse(report, |text| check_port_name(text).map(|()| text.to_owned()))?),
        None => None,
    };
    let port = fields.need("port", report)?;
    let port =
        number(&port.integer(report)?.to_string()).map_err(|error| port.complain(report, error)).ok()?;
    let protocol = match fields.get("protocol") {
        Some(field) => field.parse(report, protocol)?,
        None => Protocol::Tcp,
    };
    Some(NamedPort { name, port, protocol })
}

/// An address of one family.
pub(super) trait Family: Sized {
    const NAME: &'static str;
    /// The field for addresses of the other family.
    const OTHER: &'static str;
    fn of(address: IpAddr) -> Option<Self>;
}

impl Family for std::net::Ipv4Addr {
    const NAME: &'static str = "IPv4";
    const OTHER: &'static str = "ip6";

    fn of(address: IpAddr) -> Option<Self> {
        if let IpAddr::V4(address) = address { Some(address) } else { None }
    }
}

impl Family for std::net::Ipv6Addr {
    const NAME: &'static str = "IPv6";
    const OTHER: &'static str = "ip";

    fn of(address: IpAddr) -> Option<Self> {
        if let IpAddr::V6(address) = address { Some(address) } else { None }
    }
}

/// Reads an address.
pub(super) fn address<A: Family>(fields: &Fields<'_>, name: &str, report: &mut Report) -> Option<A> {
    let field = fields.get(name)?;
    let address = field.parse(report, cidr::parse_address)?;
    let found = A::of(address);
    if found.is_none() {
        let message = format!("{address} is not an {} address", A::NAME);
        field.error_help(report, message, format!("write it at {}", A::OTHER));
    }
    found
}

/// Reads a command: a list of words, or a text that is split into words.
pub(super) fn command(cursor: &Cursor<'_>, report: &mut Report) -> Option<Vec<String>> {
    if !matches!(cursor.node.value, Value::List(_)) {
        return cursor.parse(report, words::split);
    }
    let errors = report.errors();
    let items = cursor.items(report);
    let words: Vec<String> =
        items.iter().filter_map(|item| item.text_or_number(report)).map(str::to_owned).collect();
    if report.errors() > errors {
        return None;
    }
    words::check(&words).map_err(|error| cursor.complain(report, error)).ok()?;
    Some(words)
}

/// Reads where an endpoint lives.
pub(super) fn attachment(fields: &Fields<'_>, report: &mut Report) -> Attachment {
    match (fields.get("netns"), fields.get("pid")) {
        (None, None) => Attachment::Create,
        (Some(_), Some(pid)) => {
            let message = pid.message("netns and pid both say where the endpoint lives");
            report.error_help(pid.key_at, message, "drop one of them");
            Attachment::Create
        }
        (Some(field), None) => field.parse(report, netns::parse).map_or(Attachment::Create, Attachment::Path),
        (None, Some(pid)) => process(&pid, report).map_or(Attachment::Create, Attachment::Pid),
    }
}

/// Reads the number of a process.
fn process(cursor: &Cursor<'_>, report: &mut Report) -> Option<u32> {
    let number = cursor.integer(report)?;
    let pid = i32::try_from(number).ok().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    if pid.is_none() {
        cursor.error(report, format!("{number} is not the number of a process"));
    }
    pid
}
