//! `metadata`.

use super::hints;
use crate::manifest::labels::labels;
use crate::manifest::text::name;
use crate::manifest::yaml::{Cursor, Fields, Pos, Report, show};
use crate::model::{Labels, Name};

/// Every field of Kubernetes' `ObjectMeta`: files come out of clusters too.
const KNOWN: [&str; 15] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Says that a policy is under audit.
const AUDIT: &str = "netfast.io/audit";
/// What the annotations begin with that mean something to netfast.
const OWN_ANNOTATIONS: &str = "netfast.io/";

/// What of `metadata` matters here.
pub(super) struct Meta {
    pub(super) name: Name,
    pub(super) namespace: Name,
    pub(super) labels: Labels,
    /// The policy is under audit.
    pub(super) audit: bool,
    /// Whether the namespace is written down.
    pub(super) is_explicit: bool,
    /// Where the name stands.
    pub(super) at: Pos,
}

impl Meta {
    /// Reads the `metadata` of an object that belongs to the cluster; `None` if its name cannot be told.
    pub(super) fn read_of_cluster(object: &Fields<'_>, report: &mut Report) -> Option<Self> {
        let metadata = object.need("metadata", report)?;
        if let Some(namespace) = metadata.peek("namespace") {
            let message = namespace.message("this kind has no namespace");
            report.error_help(namespace.key_at, message, "drop it: the subject says whom it concerns");
        }
        Self::read(object, report)
    }

    /// Reads the `metadata` of an object; `None` if its name cannot be told.
    pub(super) fn read(object: &Fields<'_>, report: &mut Report) -> Option<Self> {
        // Where its fields stand beside it, that was said.
        if object.get("metadata").is_none() && object.is_there("name") {
            return None;
        }
        let metadata = object.need("metadata", report)?;
        let fields = Fields::open(&metadata, &KNOWN, hints::metadata, report);
        // Programs that write manifests write an empty namespace where there is none.
        let written = fields.get("namespace").filter(|namespace| !namespace.is_empty_text());
        let namespace = match &written {
            Some(namespace) => namespace.parse(report, name::parse_label),
            None => "default".parse().ok(),
        };
        let labels = fields.get("labels").map(|cursor| labels(&cursor, report)).unwrap_or_default();
        let audit = fields.get("annotations").is_some_and(|cursor| is_audited(&cursor, report));
        if fields.get("name").is_none() && fields.get("generateName").is_some() {
            let message = metadata.message("`name` is missing");
            report.error_help(fields.at(), message, "only a cluster makes a name of generateName");
            return None;
        }
        let name = fields.need("name", report)?;
        let at = name.at();
        Some(Self {
            name: name.parse(report, name::parse)?,
            namespace: namespace?,
            labels,
            audit,
            at,
            is_explicit: written.is_some(),
        })
    }
}

/// Reads annotations, of which one has a meaning here: whether the policy is under audit.
fn is_audited(annotations: &Cursor<'_>, report: &mut Report) -> bool {
    let mut is_audited = false;
    for entry in annotations.entries(report) {
        let cursor = annotations.child(entry);
        let is_own = entry.key.starts_with(OWN_ANNOTATIONS);
        if is_own && entry.key != AUDIT {
            let message = format!("{}: unknown annotation", cursor.path);
            report.error_help(entry.key_at, message, format!("the only one of netfast is {AUDIT}"));
        }
        if entry.value.is_null() && entry.key != AUDIT {
            continue;
        }
        match cursor.text(report) {
            Some("true") if entry.key == AUDIT => is_audited = true,
            Some("false") | None => {}
            Some(other) if entry.key == AUDIT => {
                let message = format!("{} is neither \"true\" nor \"false\"", show(other));
                cursor.error_help(
                    report,
                    message,
                    "\"true\": it is not enforced, only what it would drop is told",
                );
            }
            Some(_) => {}
        }
    }
    is_audited
}
