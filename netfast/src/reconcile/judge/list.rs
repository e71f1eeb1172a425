//! The policies in force, and what became of their rules.

use super::view::{PlaceView, PolicyView, RuleView, RulesView};
use super::{Hits, Judge, words};
use crate::compile::policy::{Direction, PolicyRef};
use crate::model::{EndpointId, Policy, Rule};

impl Judge {
    /// The policies, in the order in which they were read. `hits`: what was counted, where something is up.
    pub fn policies(&self, hits: Option<&Hits>) -> Vec<PolicyView> {
        self.world.policies.iter().map(|policy| self.policy(policy, hits)).collect()
    }

    fn policy(&self, policy: &Policy, hits: Option<&Hits>) -> PolicyView {
        let endpoints = self.world.endpoints.values();
        let selected: Vec<&EndpointId> = endpoints
            .filter(|e| e.id.namespace == policy.namespace && policy.selector.matches(&e.labels))
            .map(|e| &e.id)
            .collect();
        let rules = |rules: &[Rule], direction| RulesView {
            rules: rules.iter().map(|rule| self.rule(policy, rule, direction, hits)).collect(),
            denied: hits.map(|hits| {
                let denied = |id: &&EndpointId| hits.denied.get(&((*id).clone(), direction)).copied();
                selected.iter().filter_map(denied).sum()
            }),
        };
        PolicyView {
            policy: PlaceView::from(&PolicyRef::from(policy)),
            ingress: policy.ingress.as_deref().map(|own| rules(own, Direction::Ingress)),
            egress: policy.egress.as_deref().map(|own| rules(own, Direction::Egress)),
            endpoints: selected.iter().map(ToString::to_string).collect(),
        }
    }

    fn rule(&self, policy: &Policy, rule: &Rule, direction: Direction, hits: Option<&Hits>) -> RuleView {
        let own = PolicyRef::from(policy);
        let number = self.tables.rule_info.iter().find(|(_, info)| {
            info.direction == direction && info.source == rule.source && info.policy == own
        });
        let count = |hits: &Hits| number.and_then(|(number, _)| hits.rules.get(number)).copied().unwrap_or(0);
        RuleView {
            file: rule.source.file.clone(),
            line: rule.source.line,
            peers: words::peers(rule, policy),
            ports: words::ports(rule),
            allowed: hits.map(count),
        }
    }
}
