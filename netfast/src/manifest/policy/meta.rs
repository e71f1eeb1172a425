//! `metadata`.

use super::hints;
use crate::manifest::labels::labels;
use crate::manifest::text::name;
use crate::manifest::yaml::{Fields, Pos, Report};
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

/// What of `metadata` matters here.
pub(super) struct Meta {
    pub(super) name: Name,
    pub(super) namespace: Name,
    pub(super) labels: Labels,
    /// Whether the namespace is written down.
    pub(super) is_explicit: bool,
    /// Where the name stands.
    pub(super) at: Pos,
}

impl Meta {
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
        if let Some(annotations) = fields.get("annotations") {
            for entry in annotations.entries(report) {
                if !entry.value.is_null() {
                    annotations.child(entry).text(report);
                }
            }
        }
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
            at,
            is_explicit: written.is_some(),
        })
    }
}
