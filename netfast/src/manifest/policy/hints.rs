//! Where a field belongs that stands in the wrong place.

use crate::manifest::yaml::{Cursor, Value, suggest};

/// What to write where a value has the wrong shape.
pub(super) fn shape(cursor: &Cursor<'_>) -> Option<String> {
    const RULES: &str = "for everything write [{}], for nothing []";
    let field = cursor.field();
    let text = match &cursor.node.value {
        Value::Scalar { text, .. } => text.as_str(),
        Value::List(items) if items.first().is_some_and(|item| matches!(item.value, Value::Map(_))) => {
            return None;
        }
        Value::List(_) => {
            return match field {
                "port" | "protocol" => Some("write an entry of its own for each".to_owned()),
                _ if cursor.path.contains("matchLabels") && !cursor.is_item() => {
                    Some("for one of several values use matchExpressions with operator: In".to_owned())
                }
                _ => None,
            };
        }
        Value::Map(entries) => {
            return match field {
                "ingress" | "egress" if entries.is_empty() => Some(RULES.to_owned()),
                "values" | "except" => Some("write [...]".to_owned()),
                "policyTypes" => {
                    let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
                    Some(format!("write [{}]", keys.join(", ")))
                }
                _ => None,
            };
        }
    };
    if text.contains('\n') {
        return Some("drop the `|` or `>`".to_owned());
    }
    if text.len() > 60 {
        return None;
    }
    let number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let (list, item): (&str, String) = match field {
        "ingress" | "egress" => return Some(RULES.to_owned()),
        "ports" if number => ("ports", format!("{{port: {text}}}")),
        "from" | "to" if text.contains(['/', '.']) => (field, format!("{{ipBlock: {{cidr: {text}}}}}")),
        "from" | "to" => (field, "{podSelector: {matchLabels: {...}}}".to_owned()),
        "ipBlock" => return Some(format!("write {{cidr: {text}}}")),
        "podSelector" | "namespaceSelector" => {
            let label =
                label(text).map_or_else(|| "...".to_owned(), |(key, value)| format!("{key}: {value}"));
            return Some(format!("write {{matchLabels: {{{label}}}}}"));
        }
        "matchLabels" => {
            let (key, value) = label(text)?;
            return Some(format!("write {{{key}: {value}}}"));
        }
        "policyTypes" if !cursor.is_item() && both(text) => {
            return Some("write [Ingress, Egress]".to_owned());
        }
        _ => return None,
    };
    let is_list = field == list && !cursor.is_item();
    Some(if is_list { format!("write [{item}]") } else { format!("write {item}") })
}

/// A label as commands take it.
fn label(text: &str) -> Option<(&str, &str)> {
    text.split_once("==")
        .or_else(|| text.split_once('='))
        .filter(|(key, value)| !key.is_empty() && !value.contains(','))
}

/// Whether both types of policies are meant.
pub(super) fn both(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower == "both" || lower == "all" || (lower.contains("ingress") && lower.contains("egress"))
}

/// Beside `metadata` and `spec`.
pub(super) fn document(field: &str) -> Option<&'static str> {
    match field {
        "name" | "namespace" | "labels" | "annotations" => Some("it belongs in metadata"),
        "podSelector" | "policyTypes" | "ingress" | "egress" => Some("it belongs in spec"),
        "networks" | "endpoints" | "policies" => Some("it belongs in netfast.yaml"),
        _ => None,
    }
}

/// In `metadata`.
pub(super) fn metadata(field: &str) -> Option<&'static str> {
    match field {
        "spec" | "podSelector" | "policyTypes" | "ingress" | "egress" => {
            Some("it belongs beside metadata; check the indentation")
        }
        _ => None,
    }
}

/// In `spec`.
pub(super) fn spec(field: &str) -> Option<&'static str> {
    match field {
        "from" => Some("it belongs in a rule: ingress: [{from: ...}]"),
        "to" => Some("it belongs in a rule: egress: [{to: ...}]"),
        "ports" => Some("it belongs in a rule, beside from or to"),
        "matchLabels" | "matchExpressions" => Some("it belongs in podSelector"),
        "name" | "namespace" | "labels" => Some("it belongs in metadata"),
        "namespaceSelector" | "ipBlock" => Some("it belongs in a rule's list of peers"),
        "ingressDeny" | "egressDeny" | "enableDefaultDeny" | "nodeSelector" | "description" => Some(CILIUM),
        "order" | "tier" | "applyOnForward" | "preDNAT" | "serviceAccountSelector" => Some(CALICO),
        _ => None,
    }
}

const CILIUM: &str = "that is of CiliumNetworkPolicy; NetworkPolicy has nothing like it";
const CALICO: &str = "that is of Calico's policies; NetworkPolicy has nothing like it";

/// In a rule of `ingress`.
pub(super) fn ingress(field: &str) -> Option<&'static str> {
    match field {
        "to" => Some("rules of ingress have from"),
        "podSelector" | "namespaceSelector" | "ipBlock" => Some("it belongs in the list: from: [{...}]"),
        "port" | "protocol" | "endPort" => Some("it belongs in the list: ports: [{...}]"),
        "cidr" => Some("it belongs in the list: from: [{ipBlock: {cidr: ...}}]"),
        "action" => Some("rules only allow; what no rule allows is denied"),
        "fromCIDR" | "fromCIDRSet" | "toCIDR" | "toCIDRSet" => {
            Some("write ipBlock: {cidr: ...} in the list of peers")
        }
        "fromEntities" | "toEntities" | "toFQDNs" | "toServices" | "icmps" => Some(CILIUM),
        _ => None,
    }
}

/// In a rule of `egress`.
pub(super) fn egress(field: &str) -> Option<&'static str> {
    match field {
        "from" => Some("rules of egress have to"),
        "podSelector" | "namespaceSelector" | "ipBlock" => Some("it belongs in the list: to: [{...}]"),
        "cidr" => Some("it belongs in the list: to: [{ipBlock: {cidr: ...}}]"),
        _ => ingress(field),
    }
}

/// In a peer.
pub(super) fn peer(field: &str) -> Option<&'static str> {
    match field {
        "ports" => Some("it belongs in the rule, beside the list of peers"),
        "port" | "protocol" | "endPort" => Some("it belongs in the rule's list: ports: [{...}]"),
        "cidr" | "except" => Some("it belongs in ipBlock"),
        "matchLabels" | "matchExpressions" => {
            Some("it belongs in podSelector or namespaceSelector; check the indentation")
        }
        "from" | "to" => Some("peers hold no peers; check the indentation"),
        "namespace" => Some("write namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ...}}"),
        "labels" | "app" | "name" => Some("write podSelector: {matchLabels: {...}}"),
        "ip" | "subnet" | "network" => Some("write ipBlock: {cidr: ...}"),
        _ => None,
    }
}

/// In a selector, where labels are what is written most.
pub(super) fn selector(field: &str) -> Option<&'static str> {
    if suggest(field, &["matchLabels", "matchExpressions"]).is_some() {
        return None;
    }
    match field {
        "podSelector" | "namespaceSelector" | "ipBlock" | "ports" | "from" | "to" | "ingress" | "egress"
        | "policyTypes" => Some("it belongs beside the selector; check the indentation"),
        _ => Some("labels belong in matchLabels"),
    }
}

/// In a port.
pub(super) fn port(field: &str) -> Option<&'static str> {
    match field {
        "from" | "to" => Some("it belongs in the rule, beside ports"),
        "name" => Some("write the name at port"),
        "tcp" | "udp" | "sctp" | "TCP" | "UDP" | "SCTP" => Some("write {protocol: TCP, port: ...}"),
        _ => None,
    }
}

/// Beside `metadata` and `spec` of a policy of the cluster.
pub(super) fn cluster_document(field: &str) -> Option<&'static str> {
    match field {
        "tier" | "priority" | "subject" => Some("it belongs in spec"),
        _ => document(field),
    }
}

/// In `spec` of a policy of the cluster.
pub(super) fn cluster_spec(field: &str) -> Option<&'static str> {
    match field {
        "podSelector" | "namespaceSelector" => Some("it belongs in subject: {pods: {...}}"),
        "pods" | "namespaces" | "matchLabels" | "matchExpressions" => Some("it belongs in subject"),
        "policyTypes" => Some("this kind has none: it decides what its rules speak of"),
        "action" | "protocols" | "ports" => Some("it belongs in a rule, beside from or to"),
        "from" => Some("it belongs in a rule: ingress: [{action: ..., from: ...}]"),
        "to" => Some("it belongs in a rule: egress: [{action: ..., to: ...}]"),
        "name" | "namespace" | "labels" => Some("it belongs in metadata"),
        _ => None,
    }
}

/// In a rule of `ingress` of a policy of the cluster.
pub(super) fn cluster_ingress(field: &str) -> Option<&'static str> {
    match field {
        "to" => Some("rules of ingress have from"),
        "pods" | "namespaces" | "podSelector" | "namespaceSelector" => {
            Some("it belongs in the list: from: [{...}]")
        }
        "networks" | "nodes" | "domainNames" => {
            Some("only peers of egress have it, in the list: to: [{...}]")
        }
        "tcp" | "udp" | "sctp" | "destinationNamedPort" => Some("it belongs in the list: protocols: [{...}]"),
        "priority" | "tier" | "subject" => Some("it belongs in spec"),
        _ => None,
    }
}

/// In a rule of `egress` of a policy of the cluster.
pub(super) fn cluster_egress(field: &str) -> Option<&'static str> {
    match field {
        "from" => Some("rules of egress have to"),
        "pods" | "namespaces" | "podSelector" | "namespaceSelector" | "networks" | "nodes"
        | "domainNames" => Some("it belongs in the list: to: [{...}]"),
        _ => cluster_ingress(field),
    }
}

/// In a port of a rule of a policy of the cluster.
pub(super) fn cluster_port(field: &str) -> Option<&'static str> {
    match field {
        "protocol" | "port" | "endPort" | "number" | "tcp" | "udp" | "sctp" => {
            Some("this kind has protocols: [{tcp: {destinationPort: {number: 80}}}]")
        }
        _ => None,
    }
}

/// In a peer of a policy of the cluster, or its subject.
pub(super) fn cluster_peer(field: &str) -> Option<&'static str> {
    match field {
        "podSelector" | "namespaceSelector" => Some("it belongs in pods: {...}"),
        "matchLabels" | "matchExpressions" => Some("it belongs in namespaces, or in a selector of pods"),
        "ipBlock" | "cidr" => Some("this kind has networks: [...], in peers of egress"),
        "protocols" | "ports" | "action" => Some("it belongs in the rule, beside the list of peers"),
        _ => None,
    }
}

/// In a protocol of a rule of a policy of the cluster.
pub(super) fn cluster_protocol(field: &str) -> Option<&'static str> {
    match field {
        "TCP" => Some("write tcp"),
        "UDP" => Some("write udp"),
        "SCTP" => Some("write sctp"),
        "protocol" => Some("the protocol is the field: tcp, udp or sctp"),
        "port" | "ports" | "number" | "range" | "endPort" | "destinationPort" => {
            Some("write tcp: {destinationPort: {number: 80}}")
        }
        "icmp" => Some("rules cannot name it; one without protocols speaks of echo requests too"),
        "namedPort" => Some("write destinationNamedPort"),
        _ => None,
    }
}
