//! The policies in force, and what became of their rules.

use super::view::{PlaceView, PolicyView, RuleView, RulesView, TierView};
use super::{Hits, Judge, words};
use crate::compile::policy::{Direction, PolicyRef};
use crate::model::{Action, ClusterPolicy, Endpoint, EndpointId, Policy, Rule, TierRule};

impl Judge {
    /// The policies: those of the cluster in the order in which they are asked, then the others as they were read. `hits`:
    /// what was counted, where something is up.
    pub fn policies(&self, hits: Option<&Hits>) -> Vec<PolicyView> {
        let mut cluster: Vec<_> = self.world.cluster_policies.iter().collect();
        cluster.sort_by_key(|policy| policy.place());
        let cluster = cluster.into_iter().map(|policy| self.cluster_policy(policy, hits));
        cluster.chain(self.world.policies.iter().map(|policy| self.policy(policy, hits))).collect()
    }

    fn policy(&self, policy: &Policy, hits: Option<&Hits>) -> PolicyView {
        let selected = self.selected(|endpoint| {
            endpoint.id.namespace == policy.namespace && policy.selector.matches(&endpoint.labels)
        });
        let own = PolicyRef::from(policy);
        let audit = self.world.audit || policy.audit;
        let rules = |rules: &[Rule], direction| RulesView {
            rules: rules
                .iter()
                .map(|rule| RuleView {
                    peers: words::peers(rule, Some(&policy.namespace)),
                    ..self.rule(&own, rule, direction, hits)
                })
                .collect(),
            // What none of its rules allows passes while it is under audit.
            denied: hits.filter(|_| !audit).map(|hits| {
                let denied = |id: &&EndpointId| hits.denied.get(&((*id).clone(), direction)).copied();
                selected.iter().filter_map(denied).sum()
            }),
        };
        PolicyView {
            policy: PlaceView::from(&own),
            tier: None,
            audit,
            ingress: policy.ingress.as_deref().map(|own| rules(own, Direction::Ingress)),
            egress: policy.egress.as_deref().map(|own| rules(own, Direction::Egress)),
            endpoints: selected.iter().map(ToString::to_string).collect(),
        }
    }

    fn cluster_policy(&self, policy: &ClusterPolicy, hits: Option<&Hits>) -> PolicyView {
        let selected = self.selected(|endpoint| {
            policy.namespaces.matches(&self.world.namespace_labels(&endpoint.id.namespace))
                && policy.endpoints.matches(&endpoint.labels)
        });
        let own = PolicyRef::from(policy);
        let rules = |rules: &[TierRule], direction| {
            let view = |TierRule { name, action, rule }: &TierRule| RuleView {
                name: name.clone(),
                action: word(*action),
                ..self.rule(&own, rule, direction, hits)
            };
            (!rules.is_empty()).then(|| RulesView { rules: rules.iter().map(view).collect(), denied: None })
        };
        PolicyView {
            policy: PlaceView::from(&own),
            tier: Some(TierView { name: policy.tier.to_string(), priority: policy.priority }),
            audit: self.world.audit || policy.audit,
            ingress: rules(&policy.ingress, Direction::Ingress),
            egress: rules(&policy.egress, Direction::Egress),
            endpoints: selected.iter().map(ToString::to_string).collect(),
        }
    }

    fn selected(&self, is_selected: impl Fn(&Endpoint) -> bool) -> Vec<&EndpointId> {
        self.world.endpoints.values().filter(|endpoint| is_selected(endpoint)).map(|e| &e.id).collect()
    }

    fn rule(&self, own: &PolicyRef, rule: &Rule, direction: Direction, hits: Option<&Hits>) -> RuleView {
        let number = self.tables.rule_info.iter().find(|(_, info)| {
            info.direction == direction && info.source == rule.source && info.policy == *own
        });
        let count = |hits: &Hits| number.and_then(|(number, _)| hits.rules.get(number)).copied().unwrap_or(0);
        RuleView {
            file: rule.source.file.clone(),
            line: rule.source.line,
            name: None,
            action: word(Action::Accept),
            peers: words::peers(rule, None),
            ports: words::ports(rule),
            flows: hits.map(count),
        }
    }
}

const fn word(action: Action) -> &'static str {
    match action {
        Action::Accept => "accept",
        Action::Deny => "deny",
        Action::Pass => "pass",
    }
}
