//! Peers of a `ClusterNetworkPolicy`, and its subject: exactly one field each.

use super::{hints, peer, selector};
use crate::manifest::yaml::{Cursor, Fields, Hint, Report, Value};
use crate::model::{Peer, Selector};

/// Where a rule stands. Outsiders are peers of egress only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

/// Reads a peer, which may be several blocks. What cannot be read is left out, and `report` says so.
pub(super) fn read(cursor: &Cursor<'_>, direction: Direction, report: &mut Report) -> Vec<Peer> {
    let (known, hint): (&[&'static str], Hint) = match direction {
        Direction::Ingress => (&["namespaces", "pods"], of_ingress),
        Direction::Egress => {
            (&["namespaces", "pods", "nodes", "networks", "domainNames"], hints::cluster_peer)
        }
    };
    let fields = Fields::open(cursor, known, hint, report);
    if direction == Direction::Egress {
        for (field, message, help) in [
            ("nodes", "nodes are not supported as peers", "write their addresses: networks: [192.0.2.1/32]"),
            (
                "domainNames",
                "domain names are not supported as peers",
                "write addresses: networks: [192.0.2.0/24]",
            ),
        ] {
            if let Some(field) = fields.get(field) {
                report.error_help(field.key_at, field.message(message), help);
                return Vec::new();
            }
        }
        if let Some(networks) = fields.get("networks") {
            if let Some(other) = fields.get("namespaces").or_else(|| fields.get("pods")) {
                several(&other, "networks", report);
            }
            return blocks(&networks, report);
        }
    }
    let help = "write namespaces: {} for every endpoint";
    endpoints(cursor, &fields, "peer", help, report).into_iter().collect()
}

/// Endpoints by `namespaces` or `pods`, in a peer or a subject.
pub(super) fn endpoints(
    cursor: &Cursor<'_>,
    fields: &Fields<'_>,
    what: &str,
    help: &str,
    report: &mut Report,
) -> Option<Peer> {
    match (fields.get("namespaces"), fields.get("pods")) {
        (Some(namespaces), pods) => {
            if let Some(pods) = &pods {
                several(pods, "namespaces", report);
            }
            let namespaces = Some(selector::read(&namespaces, report));
            Some(Peer::Endpoints { namespaces, endpoints: Selector::default() })
        }
        (None, Some(pods)) => Some(namespaced(&pods, report)),
        (None, None) => {
            // What is wrong with it was said if it has other fields, or is no mapping.
            if matches!(&cursor.node.value, Value::Map(entries) if entries.iter().all(|e| e.value.is_null()))
                || cursor.node.is_null()
            {
                cursor.error_help(report, format!("an empty {what}"), help);
            }
            None
        }
    }
}

/// Complains of a second field where there can be but one.
fn several(second: &Cursor<'_>, first: &str, report: &mut Report) {
    let message = second.message(format!("beside {first}, where only one of them can be"));
    let help =
        format!("put a `-` before {}; for some pods of some namespaces use pods alone", second.field());
    report.error_help(second.key_at, message, help);
}

fn namespaced(cursor: &Cursor<'_>, report: &mut Report) -> Peer {
    let fields = Fields::open(cursor, &["namespaceSelector", "podSelector"], of_pods, report);
    let namespaces = fields.get("namespaceSelector").map(|cursor| selector::read(&cursor, report));
    let endpoints = if let Some(cursor) = fields.get("podSelector") {
        selector::read(&cursor, report)
    } else {
        let message = cursor.message("`podSelector` is missing");
        report.error_help(
            fields.at(),
            message,
            "write podSelector: {} for every endpoint of these namespaces",
        );
        Selector::default()
    };
    Peer::Endpoints { namespaces: Some(namespaces.unwrap_or_default()), endpoints }
}

fn blocks(cursor: &Cursor<'_>, report: &mut Report) -> Vec<Peer> {
    let items = cursor.items(report);
    if items.is_empty() && matches!(cursor.node.value, Value::List(_)) {
        cursor.error_help(report, "no network", "write [0.0.0.0/0, \"::/0\"] for every address");
    }
    let blocks = items.iter().filter_map(|item| peer::block(item, report));
    blocks.map(|cidr| Peer::Block { cidr, except: Vec::new() }).collect()
}

fn of_ingress(field: &str) -> Option<&'static str> {
    match field {
        "networks" | "nodes" | "domainNames" => Some("only peers of egress have it"),
        _ => hints::cluster_peer(field),
    }
}

fn of_pods(field: &str) -> Option<&'static str> {
    match field {
        "matchLabels" | "matchExpressions" => Some("it belongs in namespaceSelector or podSelector"),
        _ => hints::cluster_peer(field),
    }
}
