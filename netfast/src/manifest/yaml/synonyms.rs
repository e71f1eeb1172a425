//! Other words for fields, as other tools call them.

/// What others call a field, and what it is called here.
const SYNONYMS: [(&str, &str); 22] = [
    ("cidrs", "cidr"),
    ("containerPort", "port"),
    ("destination", "to"),
    ("endpointSelector", "podSelector"),
    ("exclude", "except"),
    ("excepts", "except"),
    ("fromEndpoints", "from"),
    ("inbound", "ingress"),
    ("matches", "matchLabels"),
    ("meta", "metadata"),
    ("nsSelector", "namespaceSelector"),
    ("number", "port"),
    ("op", "operator"),
    ("outbound", "egress"),
    ("proto", "protocol"),
    ("selector", "podSelector"),
    ("source", "from"),
    ("target", "podSelector"),
    ("targetPort", "port"),
    ("toEndpoints", "to"),
    ("toPorts", "ports"),
    ("types", "policyTypes"),
];

/// The one of `known` that is meant by another word.
pub(super) fn synonym<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let (_, name) = SYNONYMS.iter().find(|(other, _)| *other == word)?;
    known.iter().find(|known| *known == name).copied()
}
