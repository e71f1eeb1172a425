//! One document: which kind of object it is.

use super::Objects;
use super::cluster::{ClusterSpec, Subject};
use super::hints;
use super::meta::Meta;
use super::spec::Spec;
use crate::manifest::yaml::{Cursor, Fields, Node, Report, Value, show, suggest};
use crate::model::{ClusterPolicy, Policy, Source};

/// The kinds that are read, with their versions, of which the first is the one to write.
const KINDS: [(&str, &[&str]); 7] = [
    ("NetworkPolicy", &[NETWORKING]),
    ("NetworkPolicyList", &[NETWORKING]),
    ("ClusterNetworkPolicy", &CLUSTER),
    ("ClusterNetworkPolicyList", &CLUSTER),
    ("Namespace", &["v1"]),
    ("NamespaceList", &["v1"]),
    ("List", &["v1"]),
];

const NETWORKING: &str = "networking.k8s.io/v1";

/// Both have the same fields.
const CLUSTER: [&str; 2] = ["policy.networking.k8s.io/v1alpha2", "policy.networking.k8s.io/v1beta1"];

/// Kinds of policies that others have. They deny, order or select in ways that `NetworkPolicy` does not.
const FOREIGN: [&str; 9] = [
    "AdminNetworkPolicy",
    "BaselineAdminNetworkPolicy",
    "CiliumClusterwideNetworkPolicy",
    "CiliumNetworkPolicy",
    "GlobalNetworkPolicy",
    "MultiNetworkPolicy",
    "StagedGlobalNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
    "StagedNetworkPolicy",
];

/// What stands before messages about one of several documents.
pub(super) fn scope(number: usize, node: &Node) -> String {
    let text = |cursor: Option<Cursor<'_>>| match &cursor?.node.value {
        Value::Scalar { text, .. } if text.len() <= 63 => Some(text.clone()),
        _ => None,
    };
    let metadata = Cursor::root(node).peek("metadata");
    let field = |name: &str| text(metadata.as_ref().and_then(|metadata| metadata.peek(name)));
    let is_of_cluster =
        text(Cursor::root(node).peek("kind")).is_some_and(|kind| kind == "ClusterNetworkPolicy");
    match field("name") {
        Some(name) if is_of_cluster => format!("document {number} (cluster/{name}): "),
        Some(name) => {
            let namespace = field("namespace").unwrap_or_else(|| "default".to_owned());
            format!("document {number} ({namespace}/{name}): ")
        }
        None => format!("document {number}: "),
    }
}

/// Reads the objects of a document; whether there are any.
pub(super) fn read(node: &Node, objects: &mut Objects, report: &mut Report) -> bool {
    object(&Cursor::root(node), None, objects, report)
}

/// Reads an object, or those in it; whether there is one. Items of a list of one kind need not say theirs.
fn object(
    cursor: &Cursor<'_>,
    implied: Option<&'static str>,
    objects: &mut Objects,
    report: &mut Report,
) -> bool {
    match kind(cursor, implied, objects, report) {
        Some("NetworkPolicy") => policy(cursor, objects, report),
        Some("ClusterNetworkPolicy") => cluster_policy(cursor, objects, report),
        Some("Namespace") => namespace(cursor, objects, report),
        Some(list) => {
            let implied = list.strip_suffix("List").filter(|kind| !kind.is_empty());
            let known = ["apiVersion", "kind", "metadata", "items"];
            let fields = Fields::plain(cursor, &known, report);
            if let Some(items) = fields.need("items", report) {
                // Lists nest no deeper than YAML may.
                let mut is_empty = true;
                for item in items.items(report) {
                    is_empty &= !object(&item, implied.and_then(known_kind), objects, report);
                }
                return !is_empty;
            }
        }
        None => {}
    }
    true
}

fn known_kind(kind: &str) -> Option<&'static str> {
    KINDS.iter().map(|(known, _)| *known).find(|known| *known == kind)
}

/// The kind of an object, if it is one that is read, in its right version.
fn kind(
    cursor: &Cursor<'_>,
    implied: Option<&'static str>,
    objects: &mut Objects,
    report: &mut Report,
) -> Option<&'static str> {
    if !matches!(cursor.node.value, Value::Map(_)) {
        let message = format!("an object is a mapping, not {}", cursor.node.kind());
        cursor.error_help(report, message, "use kind: List, or `---` between objects");
        return None;
    }
    let version = field(cursor, "apiVersion");
    let kind = match (field(cursor, "kind"), implied) {
        (Some(kind), _) => stated_kind(&kind, version.as_ref(), objects, report)?,
        (None, Some(implied)) => implied,
        (None, None) => missing_kind(cursor, version.as_ref(), report)?,
    };
    let (_, versions) = KINDS.iter().find(|(known, _)| *known == kind)?;
    let wanted = versions.first()?;
    match version {
        Some(version) => {
            // An object is read for further mistakes whatever is wrong with its version.
            let Some(text) = version.text(report) else { return Some(kind) };
            let is_read = versions.contains(&text) || wrong_version(&version, text, kind, wanted, report);
            if !is_read {
                objects.unknown.push(format!("{kind} of {text}"));
            }
            is_read.then_some(kind)
        }
        None if implied.is_some() => Some(kind),
        None => {
            let message = cursor.message("`apiVersion` is missing");
            report.error_help(cursor.at(), message, format!("write apiVersion: {wanted}"));
            Some(kind)
        }
    }
}

/// A field by its name, in letters of either case: that another was meant is said where all fields are looked at.
fn field<'a>(cursor: &Cursor<'a>, name: &str) -> Option<Cursor<'a>> {
    let Value::Map(entries) = &cursor.node.value else { return None };
    let slip = || entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(name) && !entry.value.is_null());
    cursor.peek(name).or_else(|| slip().map(|entry| cursor.child(entry)))
}

/// The kind that an object says it is of. Where it is misspelt, what was meant is read for further mistakes.
fn stated_kind(
    kind: &Cursor<'_>,
    version: Option<&Cursor<'_>>,
    objects: &mut Objects,
    report: &mut Report,
) -> Option<&'static str> {
    let Some(text) = kind.text(report) else {
        if is_of_policies(version) {
            return Some("NetworkPolicy");
        }
        version?.text(report);
        return None;
    };
    let known = known_kind(text);
    if known.is_none() {
        return unknown(kind, text, objects, report);
    }
    known
}

/// What an object is that says no kind.
fn missing_kind(
    cursor: &Cursor<'_>,
    version: Option<&Cursor<'_>>,
    report: &mut Report,
) -> Option<&'static str> {
    if ["networks", "endpoints"].iter().any(|field| cursor.peek(field).is_some()) {
        cursor.error_help(report, "this is a netfast.yaml, not a policy", "pass it with -f");
        return None;
    }
    let message = cursor.message("`kind` is missing");
    report.error_help(cursor.at(), message, "write kind: NetworkPolicy");
    let looks_like_one = is_of_policies(version)
        || ["podSelector", "ingress", "egress"]
            .iter()
            .any(|field| cursor.peek("spec").is_some_and(|spec| spec.peek(field).is_some()));
    looks_like_one.then_some("NetworkPolicy")
}

/// Whether a version is that of policies.
fn is_of_policies(version: Option<&Cursor<'_>>) -> bool {
    version.is_some_and(
        |version| matches!(&version.node.value, Value::Scalar { text, .. } if text == NETWORKING),
    )
}

/// Complains about a version; whether the object can be read for further mistakes.
fn wrong_version(version: &Cursor<'_>, text: &str, kind: &str, wanted: &str, report: &mut Report) -> bool {
    let own_owner = wanted.split_once('/').map(|(owner, _)| owner);
    if let Some((owner, _)) =
        text.split_once('/').filter(|(owner, _)| Some(*owner) != own_owner).filter(|(owner, _)| {
            ["crd.projectcalico.org", "projectcalico.org", "crd.antrea.io", "policy.networking.k8s.io"]
                .contains(owner)
        })
    {
        let message = format!("{kind} of {owner} is not supported");
        version.error_help(report, message, format!("only that of {wanted} is"));
        return false;
    }
    let help = if kind == "NetworkPolicy" && text == "extensions/v1beta1" {
        format!("only this line changes: write {wanted}")
    } else {
        format!("write {wanted}")
    };
    version.error_help(report, format!("{kind} has no version {}", show(text)), help);
    true
}

/// Complains about a kind; what was meant, where that is clear.
fn unknown(
    kind: &Cursor<'_>,
    text: &str,
    objects: &mut Objects,
    report: &mut Report,
) -> Option<&'static str> {
    let kinds = ["NetworkPolicy", "ClusterNetworkPolicy", "Namespace", "List"];
    if FOREIGN.contains(&text) {
        let help = match text {
            "AdminNetworkPolicy" => {
                "write ClusterNetworkPolicy with tier: Admin, which has taken its place".to_owned()
            }
            "BaselineAdminNetworkPolicy" => {
                "write ClusterNetworkPolicy with tier: Baseline, which has taken its place".to_owned()
            }
            _ => format!("only NetworkPolicy of {NETWORKING} and ClusterNetworkPolicy of {} are", CLUSTER[0]),
        };
        kind.error_help(report, format!("{text} is not supported"), help);
        objects.unknown.push(text.to_owned());
    } else if let Some(word) = suggest(text, &kinds) {
        kind.error_help(report, format!("unknown kind {}", show(text)), format!("did you mean {word}?"));
        return known_kind(word);
    } else {
        let help = format!("only {} are; move it to another file", kinds.join(", "));
        kind.error_help(report, format!("objects of kind {} are not read", show(text)), help);
        objects.unknown.push(text.to_owned());
    }
    None
}

fn policy(cursor: &Cursor<'_>, objects: &mut Objects, report: &mut Report) {
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    let fields = Fields::open(cursor, &known, hints::document, report);
    let meta = Meta::read(&fields, report);
    let source = Source { file: report.file().to_owned(), line: cursor.at().line };
    let spec = Spec::read(fields.get("spec").as_ref(), report);
    if let Some(Meta { name, namespace, audit, at, labels: _, is_explicit }) = meta {
        objects.note_namespace(is_explicit, &namespace, at, report);
        let Spec { selector, ingress, egress } = spec;
        let policy = Policy { namespace, name, source, selector, ingress, egress, audit };
        objects.add_policy(policy, at, report);
    }
}

fn cluster_policy(cursor: &Cursor<'_>, objects: &mut Objects, report: &mut Report) {
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    let fields = Fields::open(cursor, &known, hints::cluster_document, report);
    let meta = Meta::read_of_cluster(&fields, report);
    let source = Source { file: report.file().to_owned(), line: cursor.at().line };
    let spec = fields.need("spec", report).and_then(|spec| ClusterSpec::read(&spec, report));
    if let (Some(Meta { name, audit, at, .. }), Some(spec)) = (meta, spec) {
        let ClusterSpec { tier, priority, subject, ingress, egress } = spec;
        let Subject { namespaces, endpoints } = subject;
        let policy =
            ClusterPolicy { name, source, tier, priority, namespaces, endpoints, ingress, egress, audit };
        objects.add_cluster_policy(policy, at, report);
    }
}

fn namespace(cursor: &Cursor<'_>, objects: &mut Objects, report: &mut Report) {
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    let fields = Fields::open(cursor, &known, hints::document, report);
    if let Some(meta) = Meta::read(&fields, report) {
        objects.add_namespace(meta.name, meta.labels, meta.at, report);
    }
}
