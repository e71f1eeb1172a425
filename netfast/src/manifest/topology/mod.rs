//! `netfast.yaml`: networks, namespaces, endpoints, and which policies and uplinks there are.

mod endpoint;
mod endpoint_fields;
mod limits;
mod network;
mod places;
mod publish;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use self::endpoint_fields::ports;
pub(super) use self::places::Places;
use super::labels::labels;
use super::text::name;
use super::yaml::{Cursor, Fields, Named, Pos, Report, named, parse, show};
use crate::model::{EndpointId, Established, Labels, Name, Subject, World};

/// What a `netfast.yaml` says.
#[derive(Default)]
pub(super) struct Topology {
    /// Everything but the policies.
    pub(super) world: World,
    /// Where it says what.
    pub(super) places: Places,
    /// The policy files, with the places that name them.
    pub(super) policies: Vec<(String, Pos)>,
    /// Where namespaces are given labels.
    pub(super) namespaces: BTreeMap<Name, Pos>,
    /// All names under `networks`, those of networks with mistakes too.
    declared: BTreeSet<String>,
}

/// Reads the text of a `netfast.yaml`.
pub(super) fn read(text: &str, report: &mut Report) -> Topology {
    let mut topology = Topology::default();
    let Some(documents) = parse(text, report) else { return topology };
    let mut documents = documents.iter().filter(|document| !document.is_null());
    match (documents.next(), documents.next()) {
        (None, _) => {
            report.error_help(Pos::START, "this file says nothing", "it needs networks and endpoints");
        }
        (Some(document), None) => topology.read(&Cursor::root(document), report),
        (Some(_), Some(second)) => {
            report.error_help(second.at, "a second document", "write everything into one");
        }
    }
    topology
}

impl Topology {
    fn read(&mut self, cursor: &Cursor<'_>, report: &mut Report) {
        let known = [
            "networks",
            "namespaces",
            "endpoints",
            "policies",
            "established",
            "audit",
            "uplinks",
            "limits",
            "masquerade",
        ];
        let hint = |field: &str| match field {
            "apiVersion" | "kind" | "metadata" | "spec" => {
                Some("policies are files of their own, named under `policies` or by --policy")
            }
            _ => None,
        };
        let fields = Fields::open(cursor, &known, hint, report);
        if let Some(networks) = fields.get("networks") {
            self.networks(&networks, report);
        }
        if let Some(namespaces) = fields.get("namespaces") {
            self.namespaces(&namespaces, report);
        }
        if let Some(endpoints) = fields.get("endpoints") {
            self.endpoints(&endpoints, report);
        }
        for file in fields.get("policies").map(|c| c.items(report)).unwrap_or_default() {
            match file.text(report) {
                Some("") => file.error(report, "a file's name is empty"),
                Some(text) => self.policies.push((text.to_owned(), file.at())),
                None => {}
            }
        }
        if let Some(cursor) = fields.get("established") {
            self.world.established = established(&cursor, report);
        }
        if let Some(cursor) = fields.get("audit") {
            self.world.audit = cursor.boolean(report).unwrap_or_default();
        }
        self.world.uplinks = fields.get("uplinks").map(|cursor| uplinks(&cursor, report));
        if let Some(cursor) = fields.get("limits") {
            self.world.limits = limits::limits(&cursor, report);
        }
        if let Some(cursor) = fields.get("masquerade") {
            (self.world.masquerade, self.world.not_masqueraded) = limits::masquerade(&cursor, report);
        }
    }

    fn networks(&mut self, cursor: &Cursor<'_>, report: &mut Report) {
        for item in named(cursor, &network::KNOWN, report) {
            self.declared.insert(item.name.to_owned());
            let Some(name) = named_as(&item, name::parse, report) else { continue };
            let subject = Subject::Network(name.clone());
            if !self.places.declare(&subject, &item, &network::KNOWN, report) {
                continue;
            }
            if let Some(network) = network::read(name.clone(), &item.fields, report) {
                self.world.networks.insert(name, network);
            }
        }
    }

    fn namespaces(&mut self, cursor: &Cursor<'_>, report: &mut Report) {
        for item in named(cursor, &["labels"], report) {
            let Some(name) = named_as(&item, name::parse_label, report) else { continue };
            let labels: Labels = item.fields.get("labels").map(|c| labels(&c, report)).unwrap_or_default();
            if let Some(first) = self.namespaces.get(&name) {
                report.error(
                    item.at,
                    format!("namespace {name} is there twice: here and on line {}", first.line),
                );
            } else {
                self.namespaces.insert(name.clone(), item.at);
                self.world.namespaces.insert(name, labels);
            }
        }
    }

    fn endpoints(&mut self, cursor: &Cursor<'_>, report: &mut Report) {
        for item in named(cursor, &endpoint::KNOWN, report) {
            let Some(id) = endpoint_id(&item, report) else { continue };
            let subject = Subject::Endpoint(id.clone());
            if !self.places.declare(&subject, &item, &endpoint::KNOWN, report) {
                continue;
            }
            let Some(network) = self.network_of(&item, report) else { continue };
            let endpoint = endpoint::read(id.clone(), network, &item.fields, report);
            // A network with mistakes is unknown to the checks; one complaint about it is enough.
            let network = endpoint.network.as_str();
            if self.world.networks.contains_key(&endpoint.network) || !self.declared.contains(network) {
                self.world.endpoints.insert(id, endpoint);
            }
        }
    }

    /// The network of an endpoint, which may be left out where there is one.
    fn network_of(&self, item: &Named<'_>, report: &mut Report) -> Option<Name> {
        if let Some(field) = item.fields.get("network") {
            return field.parse(report, name::parse);
        }
        let mut names = self.declared.iter();
        match (names.next(), names.next()) {
            (Some(only), None) => only.parse().ok(),
            (None, _) => {
                report.error_help(
                    item.at,
                    format!("endpoint {}: there is no network", item.name),
                    "add networks",
                );
                None
            }
            _ => {
                let known: Vec<_> = self.declared.iter().map(String::as_str).collect();
                let message = format!("endpoint {}: `network` is missing", item.name);
                report.error_help(item.at, message, format!("there are {}", known.join(", ")));
                None
            }
        }
    }
}

/// The name of an item, in a form of its own.
fn named_as(
    item: &Named<'_>,
    form: impl FnOnce(&str) -> Result<Name, super::TextError>,
    report: &mut Report,
) -> Option<Name> {
    form(item.name).map_err(|error| complain(item.at, error, report)).ok()
}

fn complain(at: Pos, error: super::TextError, report: &mut Report) {
    match error.help {
        Some(help) => report.error_help(at, error.message, help),
        None => report.error(at, error.message),
    }
}

/// Name and namespace of an endpoint, whose key may hold both.
fn endpoint_id(item: &Named<'_>, report: &mut Report) -> Option<EndpointId> {
    let (key_namespace, name) = match item.name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, item.name),
    };
    let name = name::parse_label(name).map_err(|error| complain(item.at, error, report)).ok();
    let key_namespace = match key_namespace {
        Some(text) => Some(name::parse_label(text).map_err(|error| complain(item.at, error, report)).ok()?),
        None => None,
    };
    let namespace = match (key_namespace, item.fields.get("namespace")) {
        (Some(namespace), None) => namespace,
        (None, None) => "default".parse().ok()?,
        (key, Some(field)) => {
            let namespace = field.parse(report, name::parse_label)?;
            if let Some(key) = key.filter(|key| *key != namespace) {
                field.error(report, format!("{namespace} here, but {key} in the endpoint's name"));
            }
            namespace
        }
    };
    Some(EndpointId { namespace, name: name? })
}

fn established(cursor: &Cursor<'_>, report: &mut Report) -> Established {
    match cursor.text(report) {
        Some("keep") => Established::Keep,
        Some("recheck") | None => Established::Recheck,
        Some(other) => {
            let help = "recheck: policies are asked again; keep: it goes on";
            cursor.error_help(report, format!("{} is neither recheck nor keep", show(other)), help);
            Established::Recheck
        }
    }
}

fn uplinks(cursor: &Cursor<'_>, report: &mut Report) -> BTreeSet<String> {
    let mut uplinks = BTreeSet::new();
    for item in cursor.items(report) {
        let Some(text) = item.text(report) else { continue };
        // What the kernel takes for a device's name.
        let valid = !text.is_empty()
            && text.len() <= 15
            && !matches!(text, "." | "..")
            && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
        if !valid {
            item.error(report, format!("{} is not the name of a device", show(text)));
        } else if !uplinks.insert(text.to_owned()) {
            item.error(report, format!("{text} is there twice"));
        }
    }
    uplinks
}

#[cfg(test)]
mod tests;
