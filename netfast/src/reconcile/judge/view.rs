//! Answers as they are shown: the stable shape of `-o json`. Fields are only ever added.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::compile::policy::{Held, PolicyRef, RuleInfo};
use crate::model::{Labels, Source};

/// Whether a new connection may be made, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainView {
    /// Whether policies allow it in every family asked for.
    pub allowed: bool,
    /// Whether it also gets there: nothing apart from policies is in the way.
    pub reachable: bool,
    /// Who sends.
    pub from: EndView,
    /// Who was asked for.
    pub to: EndView,
    /// What was asked for: `80/tcp`, `icmp`, `protocol 50`.
    pub service: String,
    /// The answer in each address family, IPv4 first.
    pub families: Vec<FamilyView>,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndView {
    /// What to call it.
    pub name: String,
    /// `endpoint`, `host` or `outside`.
    pub kind: &'static str,
    /// Its addresses, those that were asked for.
    pub addresses: Vec<IpAddr>,
    /// Whether it has no address yet: only its labels count.
    pub unplaced: bool,
    /// The endpoint's network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The endpoint's labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// The endpoint's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The labels of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_labels: Option<Labels>,
    /// The ports the endpoint declares, as `http=80/tcp`.
    pub ports: Vec<String>,
}

/// The answer in one address family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FamilyView {
    /// 4 or 6.
    pub family: u8,
    /// Whether policies allow it: both ends agree.
    pub allowed: bool,
    /// Whether it also gets there.
    pub reachable: bool,
    /// What netfast does with it apart from policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The end that was judged to receive it: behind a published port, the endpoint.
    pub receiver: String,
    /// What was judged there.
    pub service: String,
    /// What the sender's side says.
    pub egress: SideView,
    /// What the receiver's side says.
    pub ingress: SideView,
}

/// What one end says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SideView {
    /// The end.
    pub end: String,
    /// Whether it agrees.
    pub allowed: bool,
    /// Why: `not_policed`, `not_isolated`, `rule`, `denied` (by a rule) or `isolated`.
    pub verdict: &'static str,
    /// Why, in words.
    pub reason: String,
    /// The rule that decides, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<PlaceView>,
    /// Of an isolated end that does not agree: the policies that isolate it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub isolated_by: Vec<PlaceView>,
    /// Of such: what the rules of these policies allow instead, those that miss least first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misses: Vec<MissView>,
    /// Blocks in its rules that hold the other end's address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<BlockView>,
}

/// A policy, and where it or one of its rules is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlaceView {
    /// `namespace/name`.
    pub policy: String,
    /// The file.
    pub file: String,
    /// The line.
    pub line: u32,
}

impl PlaceView {
    fn new(policy: &PolicyRef, Source { file, line }: &Source) -> Self {
        Self { policy: policy.to_string(), file: file.clone(), line: *line }
    }
}

impl From<&PolicyRef> for PlaceView {
    fn from(policy: &PolicyRef) -> Self {
        Self::new(policy, &policy.source)
    }
}

impl From<&RuleInfo> for PlaceView {
    fn from(rule: &RuleInfo) -> Self {
        Self::new(&rule.policy, &rule.source)
    }
}

/// A rule that does not allow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissView {
    /// The rule.
    #[serde(flatten)]
    pub rule: PlaceView,
    /// Whether it allows this peer.
    pub allows_peer: bool,
    /// Whether it allows this port.
    pub allows_port: bool,
    /// What it allows instead, in words.
    pub text: String,
}

/// A block that holds an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BlockView {
    /// The block.
    pub cidr: IpNet,
    /// The exception from it that holds the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except: Option<IpNet>,
    /// The rule it is in.
    #[serde(flatten)]
    pub rule: PlaceView,
}

impl From<&Held> for BlockView {
    fn from(Held { cidr, except, rule }: &Held) -> Self {
        Self { cidr: *cidr, except: *except, rule: rule.into() }
    }
}

/// Who may reach whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MatrixView {
    /// Those who send and receive: the endpoints by namespace and name, the own host, and addresses outside.
    pub ends: Vec<EndView>,
    /// Every pair of them of which at least one is an endpoint, row by row.
    pub cells: Vec<CellView>,
    /// The texts that cells refer to, by number.
    pub texts: Vec<String>,
}

/// One pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CellView {
    /// Who sends.
    pub from: String,
    /// Who receives.
    pub to: String,
    /// The answers, one for each port, or for both families where these differ.
    pub answers: Vec<CellAnswerView>,
}

/// The answer for one port of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CellAnswerView {
    /// `80/tcp`; `tcp`: any port of that protocol; `any`: whatever the protocol.
    pub service: String,
    /// The address families it is for: 4, 6.
    pub families: Vec<u8>,
    /// Whether policies allow it.
    pub allowed: bool,
    /// Whether it also gets there.
    pub reachable: bool,
    /// Number of the text with the sender's reason.
    pub egress: usize,
    /// Number of the text with the receiver's reason.
    pub ingress: usize,
    /// Number of the text that tells what netfast does apart from policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<usize>,
}

/// A policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyView {
    /// The policy, and where it begins.
    #[serde(flatten)]
    pub policy: PlaceView,
    /// When it is asked, if it is a policy of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<TierView>,
    /// Whether it is under audit: not enforced.
    pub audit: bool,
    /// The endpoints it selects.
    pub endpoints: Vec<String>,
    /// What it says of what comes in; `null`: nothing, it does not isolate for that.
    pub ingress: Option<RulesView>,
    /// What it says of what goes out; `null`: nothing.
    pub egress: Option<RulesView>,
}

/// The place of a policy of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TierView {
    /// `Admin` or `Baseline`.
    pub name: String,
    /// The lowest is asked first.
    pub priority: u16,
}

/// What a policy says of one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RulesView {
    /// The rules. None: it allows nothing.
    pub rules: Vec<RuleView>,
    /// Packets that were dropped as no rule of any policy allowed them, at the endpoints that it isolates; `null`: nothing is
    /// up.
    pub denied: Option<u64>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleView {
    /// The file.
    pub file: String,
    /// The line.
    pub line: u32,
    /// What its author calls it, in a policy of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What becomes of what it speaks of: `accept`, or, in a policy of the cluster, `deny` or `pass`.
    pub action: &'static str,
    /// The peers it speaks of, in words.
    pub peers: String,
    /// The ports it speaks of, in words.
    pub ports: String,
    /// New flows, and flows judged again, that it decided on; `null`: nothing is up. Of several rules that allow a flow, one
    /// counts it.
    pub flows: Option<u64>,
}
