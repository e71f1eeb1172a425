//! A verdict with its reasons, in names.

use std::fmt;
use std::net::IpAddr;

use netfast_common::policy::{RuleRow, Verdict};
use serde::Serialize;

use super::{Direction, Family, PolicyRef, RuleInfo, Side, Tables};
use crate::model::EndpointId;

/// Whether a new connection may be made, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Whether both ends agree.
    pub allowed: bool,
    /// What the sender's side says.
    pub egress: Reason,
    /// What the receiver's side says.
    pub ingress: Reason,
}

/// Why one end agrees or does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Policies are not asked: the end is outside, or the own host is the other end, or both ends are the same endpoint.
    NotPoliced,
    /// No policy isolates the endpoint in this direction, and no rule speaks of this.
    NotIsolated,
    /// This rule allows it.
    Rule(RuleInfo),
    /// This rule of a policy of the cluster denies it.
    Denied(RuleInfo),
    /// These policies isolate the endpoint, and none of their rules allows it.
    Isolated(Vec<PolicyRef>),
}

impl Tables {
    /// The verdict on a new connection, and why; `None` if an end is an endpoint these tables do not have. Protocols
    /// without ports ask with port 0.
    pub fn answer(&self, from: &Side, to: &Side, protocol: u8, port: u16) -> Option<Answer> {
        let policed = |id| self.subjects.contains_key(id).then_some(());
        for end in [from, to] {
            if let Some(id) = end.endpoint() {
                policed(id)?;
            }
        }
        if from.endpoint().is_some() && from.endpoint() == to.endpoint() {
            return Some(Answer { allowed: true, egress: Reason::NotPoliced, ingress: Reason::NotPoliced });
        }
        let explained = self.verdict(from, to, protocol, port)?;
        let is_host = matches!(from, Side::Host(_));
        let egress = self.reason(from, Direction::Egress, explained.egress);
        let ingress =
            if is_host { Reason::NotPoliced } else { self.reason(to, Direction::Ingress, explained.ingress) };
        Some(Answer { allowed: egress.agrees() && ingress.agrees(), egress, ingress })
    }

    fn reason(&self, side: &Side, direction: Direction, verdict: Verdict) -> Reason {
        let Some(id) = side.endpoint() else { return Reason::NotPoliced };
        match verdict {
            Verdict::Open => Reason::NotIsolated,
            Verdict::Allowed(row) => self.rule(row).map_or(Reason::NotIsolated, Reason::Rule),
            Verdict::Denied(row) => match self.rule(row) {
                Some(rule) => Reason::Denied(rule),
                None => Reason::Isolated(self.isolating_in(id, direction).to_vec()),
            },
        }
    }

    /// The rule that decided, if one did.
    fn rule(&self, row: RuleRow) -> Option<RuleInfo> {
        self.rule_info.get(&row.number()).cloned()
    }

    /// The policies that isolate an endpoint in a direction.
    pub fn isolating_in(&self, endpoint: &EndpointId, direction: Direction) -> &[PolicyRef] {
        self.isolating.get(endpoint).map_or(&[], |isolation| match direction {
            Direction::Ingress => &isolation.ingress,
            Direction::Egress => &isolation.egress,
        })
    }
}

impl Reason {
    /// Whether this end agrees.
    pub fn agrees(&self) -> bool {
        !matches!(self, Self::Isolated(_) | Self::Denied(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPoliced => f.write_str("no policy is asked"),
            Self::NotIsolated => f.write_str("no policy isolates it"),
            Self::Rule(rule) => write!(f, "allowed by {rule}"),
            Self::Denied(rule) => write!(f, "denied by {rule}"),
            Self::Isolated(policies) => {
                f.write_str("isolated by ")?;
                for (n, policy) in policies.iter().enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    write!(f, "{comma}{policy} in {}", policy.source)?;
                }
                f.write_str(", and no rule allows it")
            }
        }
    }
}

impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => write!(f, "cluster/{}", self.name),
        }
    }
}

/// As `shop/web in web.yaml:7`, or `cluster/base, rule no-dns, in base.yaml:9`.
impl fmt::Display for RuleInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, name, source, .. } = self;
        match name {
            Some(name) => write!(f, "{policy}, rule {name}, in {source}"),
            None => write!(f, "{policy} in {source}"),
        }
    }
}

impl Side {
    /// The end's address family.
    pub fn family(&self) -> Family {
        match self {
            Self::Endpoint(_, family) => *family,
            Self::Further(_, addr) | Self::Host(addr) | Self::Outside(addr) => match addr {
                IpAddr::V4(_) => Family::V4,
                IpAddr::V6(_) => Family::V6,
            },
        }
    }

    /// The endpoint that the end is.
    pub const fn endpoint(&self) -> Option<&EndpointId> {
        match self {
            Self::Endpoint(id, _) | Self::Further(id, _) => Some(id),
            Self::Outside(_) | Self::Host(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::build::{Scene, having, pods, policy, rule, side, tcp};
    use super::*;

    fn answer(from: &str, to: &str, port: u16) -> Answer {
        let scene = Scene::default().with("x/web", "app=web", "10.0.0.1", &[]).with(
            "x/db",
            "app=db",
            "10.0.0.2",
            &[],
        );
        let only_web = rule(Some(vec![pods(having("app=web"))]), Some(vec![tcp(80, 80)]));
        let scene = scene.and(policy("x", "db", having("app=db"), Some(vec![only_web]), None));
        scene.compile().answer(&side(from), &side(to), 6, port).unwrap()
    }

    #[test]
    fn each_end_gives_its_reason() {
        let allowed = answer("x/web", "x/db", 80);
        assert!(allowed.allowed && allowed.egress == Reason::NotIsolated);
        assert!(allowed.ingress.to_string().starts_with("allowed by x/db in "), "{}", allowed.ingress);
        let denied = answer("x/web", "x/db", 81);
        assert!(!denied.allowed);
        assert!(denied.ingress.to_string().starts_with("isolated by x/db in "), "{}", denied.ingress);
        let outside = answer("192.0.2.1", "x/db", 80);
        assert!(!outside.allowed && outside.egress == Reason::NotPoliced);
    }

    #[test]
    fn the_own_host_and_the_endpoint_itself_are_always_let_in() {
        for from in ["host:10.0.0.254", "x/db"] {
            let answer = answer(from, "x/db", 81);
            assert!(answer.allowed && answer.ingress == Reason::NotPoliced, "{answer:?}");
        }
    }
}
