//! Policies of the whole cluster: Kubernetes `ClusterNetworkPolicy`, in tiers before and after `NetworkPolicy`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Name, Rule, Selector, Source};

/// A cluster network policy. Unlike a [`Policy`](super::Policy) it isolates nobody: its rules decide what they speak of,
/// and the rest is for others to decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPolicy {
    /// Its name.
    pub name: Name,
    /// Where it was read.
    pub source: Source,
    /// When it is asked.
    pub tier: Tier,
    /// Its place in the tier, at most [`ClusterPolicy::MAX_PRIORITY`]: the lowest is asked first.
    pub priority: u16,
    /// Namespaces of the endpoints it concerns.
    pub namespaces: Selector,
    /// The endpoints in them.
    pub endpoints: Selector,
    /// What may come in, the first rule first.
    pub ingress: Vec<TierRule>,
    /// What may go out, the first rule first.
    pub egress: Vec<TierRule>,
    /// It is under audit: not enforced, and what it would have dropped is counted and told.
    #[serde(default)]
    pub audit: bool,
}

impl ClusterPolicy {
    /// The highest priority number.
    pub const MAX_PRIORITY: u16 = 1000;

    /// What orders the policies of a cluster: those that come first are asked first. The API leaves open which of two
    /// with one priority that is.
    pub fn place(&self) -> (Tier, u16, &Name) {
        (self.tier, self.priority, &self.name)
    }
}

/// When the rules of a cluster policy are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Before network policies: their namespaces cannot overrule it.
    Admin,
    /// After them, where none isolates the endpoint.
    Baseline,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Admin => "Admin",
            Self::Baseline => "Baseline",
        })
    }
}

/// A rule of a cluster policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierRule {
    /// What its author calls it.
    pub name: Option<String>,
    /// What becomes of what it speaks of.
    pub action: Action,
    /// What it speaks of. Its peers are endpoints of any namespace, or addresses.
    #[serde(flatten)]
    pub rule: Rule,
}

/// What a rule does with what it speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is allowed, whatever comes later.
    #[default]
    Accept,
    /// It is dropped, whatever comes later.
    Deny,
    /// The rest of the tier is not asked.
    Pass,
}
