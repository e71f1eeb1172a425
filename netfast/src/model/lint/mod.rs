//! What is allowed in policies but surely not meant.
//!
//! What is found must be certain: a warning that is wrong once is read no more. So rules are compared by what they say
//! (`cover`), and what depends on endpoints is looked for only where all endpoints are known (`nobody`, `families`).

mod cover;
mod dns;
mod families;
mod nobody;
mod port_names;
mod resemblance;
mod rules;

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Policy, Rule, Source, World};

/// What kind of thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lint {
    /// A block of addresses has bits set beyond its prefix.
    HostBits,
    /// An unquoted text that YAML 1.1 takes for a truth value.
    YamlBoolean,
    /// A label without a value.
    EmptyValue,
    /// Something is named twice where once is the same.
    Repeated,
    /// Rules of a direction that `policyTypes` does not list.
    UnlistedDirection,
    /// Without `policyTypes`, rules for egress close ingress.
    DefaultClosesIngress,
    /// Without `policyTypes`, `egress: []` does not close egress.
    DefaultLeavesEgress,
    /// A policy says no namespace, where others do.
    MissingNamespace,
    /// A selector that nothing can meet.
    ImpossibleSelector,
    /// A rule that is there already.
    RepeatedRule,
    /// A rule, a peer or a port that a broader one covers.
    ShadowedRule,
    /// A hole in a block that another rule fills.
    FilledExcept,
    /// Rules for egress that leave no way to ask for names.
    BlockedDns,
    /// A policy that selects no endpoint.
    SelectsNobody,
    /// A peer that is no endpoint.
    PeerMatchesNobody,
    /// A selector of namespaces that selects none.
    NamespaceUnknown,
    /// A name of a port that nobody uses.
    PortNameUnknown,
    /// All addresses of one family, where endpoints have both.
    OneFamily,
    /// A policy of the cluster without rules.
    NoRules,
    /// Two policies of a tier with one priority.
    SamePriority,
    /// A field that is not known, where others may add fields.
    UnknownField,
}

impl Lint {
    /// All there are, in the order of their description.
    pub const ALL: [Self; 21] = [
        Self::HostBits,
        Self::YamlBoolean,
        Self::EmptyValue,
        Self::Repeated,
        Self::UnlistedDirection,
        Self::DefaultClosesIngress,
        Self::DefaultLeavesEgress,
        Self::MissingNamespace,
        Self::ImpossibleSelector,
        Self::RepeatedRule,
        Self::ShadowedRule,
        Self::FilledExcept,
        Self::BlockedDns,
        Self::SelectsNobody,
        Self::PeerMatchesNobody,
        Self::NamespaceUnknown,
        Self::PortNameUnknown,
        Self::OneFamily,
        Self::NoRules,
        Self::SamePriority,
        Self::UnknownField,
    ];

    /// Its name, which stays what it is.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HostBits => "host-bits",
            Self::YamlBoolean => "yaml-boolean",
            Self::EmptyValue => "empty-value",
            Self::Repeated => "repeated",
            Self::UnlistedDirection => "unlisted-direction",
            Self::DefaultClosesIngress => "default-closes-ingress",
            Self::DefaultLeavesEgress => "default-leaves-egress",
            Self::MissingNamespace => "missing-namespace",
            Self::ImpossibleSelector => "impossible-selector",
            Self::RepeatedRule => "repeated-rule",
            Self::ShadowedRule => "shadowed-rule",
            Self::FilledExcept => "filled-except",
            Self::BlockedDns => "blocked-dns",
            Self::SelectsNobody => "selects-nobody",
            Self::PeerMatchesNobody => "peer-matches-nobody",
            Self::NamespaceUnknown => "namespace-unknown",
            Self::PortNameUnknown => "port-name-unknown",
            Self::OneFamily => "one-family",
            Self::NoRules => "no-rules",
            Self::SamePriority => "same-priority",
            Self::UnknownField => "unknown-field",
        }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Lint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub lint: Lint,
    /// Where.
    pub at: Source,
    /// What it does, or does not.
    pub message: String,
    /// What to try.
    pub help: Option<String>,
}

impl Finding {
    fn new(lint: Lint, at: &Source, message: impl Into<String>) -> Self {
        Self { lint, at: at.clone(), message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Which endpoints there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// None is known: only policies, and namespaces that come with them.
    Policies,
    /// All of them.
    World,
}

/// Looks at the policies of a world.
pub fn lint(world: &World, known: Known) -> Vec<Finding> {
    let mut found = Vec::new();
    rules::look(world, &mut found);
    dns::look(world, &mut found);
    match known {
        Known::Policies => nobody::look_at_namespaces(world, &mut found),
        Known::World if is_too_large(world) => {}
        Known::World => {
            nobody::look(world, &mut found);
            port_names::look(world, &mut found);
            families::look(world, &mut found);
        }
    }
    found
}

/// Whether asking every endpoint about every peer would take longer than anybody waits for a warning.
fn is_too_large(world: &World) -> bool {
    const MAX_QUESTIONS: usize = 20_000_000;
    let rules = world.policies.iter().flat_map(chapters).flat_map(|chapter| chapter.rules);
    let peers: usize = rules.map(|rule| 1 + rule.peers.as_ref().map_or(0, Vec::len)).sum();
    (peers + world.policies.len()).saturating_mul(world.endpoints.len()) > MAX_QUESTIONS
}

/// Rules of one direction, with what files call its peers.
struct Chapter<'w> {
    rules: &'w [Rule],
    /// `ingress` or `egress`.
    direction: &'static str,
    /// `from` or `to`.
    peers: &'static str,
}

/// What a policy says of the directions it isolates.
fn chapters(policy: &Policy) -> impl Iterator<Item = Chapter<'_>> {
    [("ingress", "from", &policy.ingress), ("egress", "to", &policy.egress)]
        .into_iter()
        .filter_map(|(direction, peers, rules)| Some(Chapter { rules: rules.as_deref()?, direction, peers }))
}

#[cfg(test)]
mod tests;
