//! The readers of cases and their parts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::{Case, End, FORMAT, Manifest, NETWORK, Probe, Step, Verdict};
use crate::manifest::file;
use crate::manifest::labels::labels;
use crate::manifest::text::port::{number, protocol};
use crate::manifest::text::{TextError, cidr, name};
use crate::manifest::topology::ports;
use crate::manifest::yaml::{Cursor, Fields, Node, Report, Value, show};
use crate::model::{Endpoint, EndpointId, Labels, Name, Protocol, Source};

const DOCUMENT: [&str; 4] = ["format", "comment", "cases", "source"];
const CASE: [&str; 11] = [
    "format",
    "id",
    "source",
    "description",
    "tags",
    "namespaces",
    "endpoints",
    "policies",
    "probes",
    "smoke",
    "sequence",
];
const ENDPOINT: [&str; 6] = ["name", "namespace", "labels", "ip", "ip6", "ports"];
const PROBE: [&str; 6] = ["from", "to", "port", "protocol", "family", "expect"];

/// Reads a document: a list of cases with something around it, or one case.
pub(super) fn document(node: &Node, directory: &Path, cases: &mut Vec<Case>, report: &mut Report) {
    let root = Cursor::root(node);
    if root.peek("cases").is_none() {
        cases.extend(case(&root, directory, report));
        return;
    }
    let fields = Fields::tolerant(&root, &DOCUMENT, report);
    format(&fields, report);
    for item in fields.get("cases").map(|list| list.items(report)).unwrap_or_default() {
        cases.extend(case(&item, directory, report));
    }
}

fn format(fields: &Fields<'_>, report: &mut Report) {
    if let Some(field) = fields.get("format")
        && let Some(text) = field.text(report)
        && text != FORMAT
    {
        field.error_help(
            report,
            format!("{} is not a format of cases", show(text)),
            format!("write {FORMAT}"),
        );
    }
}

fn case(cursor: &Cursor<'_>, directory: &Path, report: &mut Report) -> Option<Case> {
    let errors = report.errors();
    let fields = Fields::tolerant(cursor, &CASE, report);
    format(&fields, report);
    let id = fields.need("id", report)?.text_or_number(report)?.to_owned();
    for tag in fields.get("tags").map(|tags| tags.items(report)).unwrap_or_default() {
        tag.text_or_number(report);
    }
    let namespaces = fields.get("namespaces").map(|c| namespaces(&c, report)).unwrap_or_default();
    let endpoints = fields.get("endpoints").map(|c| endpoints(&c, report)).unwrap_or_default();
    let policies = fields.get("policies").map(|c| policies(&c, &id, directory, report)).unwrap_or_default();
    let probes: Vec<Option<Probe>> = match fields.need("probes", report) {
        Some(list) => list.items(report).iter().map(|item| probe(item, &endpoints, report)).collect(),
        None => Vec::new(),
    };
    let smoke = fields.get("smoke").map(|c| smoke(&c, probes.len(), report)).unwrap_or_default();
    let sequence = fields.get("sequence").and_then(|c| step(&c, report));
    let source = Source { file: report.file().to_owned(), line: cursor.at().line };
    let probes = probes.into_iter().flatten().collect();
    (report.errors() == errors).then_some(Case {
        id,
        source,
        namespaces,
        endpoints,
        policies,
        probes,
        smoke,
        sequence,
    })
}

fn namespaces(cursor: &Cursor<'_>, report: &mut Report) -> BTreeMap<Name, Labels> {
    let mut namespaces = BTreeMap::new();
    for item in cursor.items(report) {
        let fields = Fields::tolerant(&item, &["name", "labels"], report);
        let Some(field) = fields.need("name", report) else { continue };
        let Some(name) = field.parse(report, name::parse_label) else { continue };
        let labels = fields.get("labels").map(|c| labels(&c, report)).unwrap_or_default();
        if namespaces.insert(name.clone(), labels).is_some() {
            field.error(report, format!("namespace {name} is there twice"));
        }
    }
    namespaces
}

fn endpoints(cursor: &Cursor<'_>, report: &mut Report) -> BTreeMap<EndpointId, Endpoint> {
    let mut endpoints = BTreeMap::new();
    let mut owners: BTreeMap<IpAddr, EndpointId> = BTreeMap::new();
    for item in cursor.items(report) {
        let fields = Fields::tolerant(&item, &ENDPOINT, report);
        let Some(endpoint) = endpoint(&fields, report) else { continue };
        let id = endpoint.id.clone();
        let ips = [endpoint.ip.map(IpAddr::V4), endpoint.ip6.map(IpAddr::V6)];
        for ip in ips.into_iter().flatten() {
            if let Some(owner) = owners.insert(ip, id.clone()) {
                item.error(report, format!("{ip} is the address of {}, too", End::Endpoint(owner)));
            }
        }
        if endpoints.insert(id.clone(), endpoint).is_some() {
            item.error(report, format!("endpoint {} is there twice", End::Endpoint(id)));
        }
    }
    endpoints
}

fn endpoint(fields: &Fields<'_>, report: &mut Report) -> Option<Endpoint> {
    let own = fields.need("name", report)?.parse(report, name::parse)?;
    let namespace = match fields.get("namespace") {
        Some(field) => field.parse(report, name::parse_label)?,
        None => "default".parse().ok()?,
    };
    let mut endpoint = Endpoint::new(EndpointId { namespace, name: own }, NETWORK.parse().ok()?);
    endpoint.labels = fields.get("labels").map(|c| labels(&c, report)).unwrap_or_default();
    endpoint.ports = fields.get("ports").map(|c| ports(&c, report)).unwrap_or_default();
    for field in [fields.get("ip"), fields.get("ip6")].into_iter().flatten() {
        let twice = match field.parse(report, cidr::parse_address)? {
            IpAddr::V4(ip) => endpoint.ip.replace(ip).is_some(),
            IpAddr::V6(ip) => endpoint.ip6.replace(ip).is_some(),
        };
        if twice {
            field.error_help(report, "a second address of this family", "an endpoint has one of each");
        }
    }
    Some(endpoint)
}

/// Reads manifests: texts, or files that hold them.
fn policies(cursor: &Cursor<'_>, id: &str, directory: &Path, report: &mut Report) -> Vec<Manifest> {
    let items = cursor.items(report);
    let mut manifests = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let name = if items.len() == 1 { id.to_owned() } else { format!("{id}[{index}]") };
        if matches!(item.node.value, Value::Map(_)) {
            manifests.extend(policy_file(item, directory, report));
        } else if item.node.is_null() {
            item.error_help(report, "no policy", "write the text of one, or leave the item out");
        } else if let Some(text) = item.text(report) {
            manifests.push(Manifest { name, text: text.to_owned() });
        }
    }
    manifests
}

fn policy_file(cursor: &Cursor<'_>, directory: &Path, report: &mut Report) -> Option<Manifest> {
    let hint = |field: &str| {
        ["apiVersion", "kind", "metadata", "spec"]
            .contains(&field)
            .then_some("a policy stands here as a text: put a `|` after the `-`")
    };
    let fields = Fields::open(cursor, &["file"], hint, report);
    let field = fields.get("file")?;
    let path = directory.join(field.text(report)?);
    match file::read(&path) {
        Ok(text) => Some(Manifest { name: path.display().to_string(), text }),
        Err(error) => {
            field.error(report, format!("{}: {}", path.display(), error.message));
            None
        }
    }
}

fn probe(
    cursor: &Cursor<'_>,
    endpoints: &BTreeMap<EndpointId, Endpoint>,
    report: &mut Report,
) -> Option<Probe> {
    let fields = Fields::tolerant(cursor, &PROBE, report);
    let end = |field: &'static str, report: &mut Report| {
        let field = fields.need(field, report)?;
        let end = field.parse(report, end)?;
        if let End::Endpoint(id) = &end
            && !endpoints.contains_key(id)
        {
            field.error(report, format!("there is no endpoint {end} in this case"));
        }
        Some(end)
    };
    let (from, to) = (end("from", report), end("to", report));
    let port = fields.need("port", report).and_then(|field| {
        let text = field.integer(report)?.to_string();
        number(&text).map_err(|error| field.complain(report, error)).ok()
    });
    let protocol = match fields.get("protocol") {
        Some(field) => field.parse(report, protocol),
        None => Some(Protocol::Tcp),
    };
    let is_v6 = match fields.get("family") {
        Some(field) => match field.integer(report) {
            Some(4) => Some(Some(false)),
            Some(6) => Some(Some(true)),
            Some(_) => {
                field.error(report, "a family is 4 or 6");
                None
            }
            None => None,
        },
        None => Some(None),
    };
    let expect = fields.need("expect", report).and_then(|field| field.parse(report, verdict));
    let (from, to, is_v6) = (from?, to?, is_v6?);
    let families: Vec<bool> = [family(&from), family(&to), is_v6].into_iter().flatten().collect();
    if families.iter().any(|is_v6| *is_v6 != families[0]) {
        cursor.error(report, format!("{from} and {to} are not of one family"));
    }
    Some(Probe { from, to, port: port?, protocol: protocol?, is_v6, expect: expect? })
}

/// Whether an end is IPv6, where it says so itself.
fn family(end: &End) -> Option<bool> {
    if let End::Address(address) = end { Some(address.is_ipv6()) } else { None }
}

fn end(text: &str) -> Result<End, TextError> {
    if text == "node" {
        return Ok(End::Node);
    }
    if let Some(address) = text.strip_prefix("ip:") {
        return cidr::parse_address(address).map(End::Address);
    }
    let Some((namespace, own)) = text.split_once('/') else {
        let message = format!("{} is no end of a connection", show(text));
        return Err(TextError::with_help(message, "write NAMESPACE/NAME, ip:ADDRESS or node"));
    };
    Ok(End::Endpoint(EndpointId { namespace: name::parse_label(namespace)?, name: name::parse(own)? }))
}

fn verdict(text: &str) -> Result<Verdict, TextError> {
    match text {
        "allow" => Ok(Verdict::Allow),
        "deny" => Ok(Verdict::Deny),
        _ => Err(TextError::with_help(format!("{} is not a verdict", show(text)), "write allow or deny")),
    }
}

fn smoke(cursor: &Cursor<'_>, probes: usize, report: &mut Report) -> Vec<usize> {
    let mut indices = Vec::new();
    for item in cursor.items(report) {
        let Some(number) = item.integer(report) else { continue };
        match usize::try_from(number).ok().filter(|index| *index < probes) {
            Some(index) => indices.push(index),
            None => item.error(report, format!("there is no probe {number}: there are {probes}, from 0 on")),
        }
    }
    indices
}

fn step(cursor: &Cursor<'_>, report: &mut Report) -> Option<Step> {
    let fields = Fields::tolerant(cursor, &["id", "step", "of"], report);
    let id = fields.need("id", report)?.text_or_number(report)?.to_owned();
    let step = fields.need("step", report)?.integer(report)?;
    if let Some(of) = fields.get("of") {
        of.integer(report)?;
    }
    Some(Step { id, step })
}
