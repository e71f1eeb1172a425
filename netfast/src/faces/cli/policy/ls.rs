//! `netfast policy ls`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::super::options::FormatArgs;
use super::super::output;
use super::super::table::Table;
use super::asked::WorldArgs;
use crate::reconcile::instance::Options;
use crate::reconcile::judge::view::{PolicyView, RulesView};

/// List the policies in force: where they are written, whom they isolate, and how often their rules decided.
#[derive(Args, Debug)]
pub(in crate::faces::cli) struct Ls {
    /// List the rules, each with what it speaks of and the flows it decided on.
    #[arg(long)]
    rules: bool,
    #[command(flatten)]
    world: WorldArgs,
    #[command(flatten)]
    format: FormatArgs,
}

impl Ls {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        let judge = self.world.judge(options)?;
        let hits = self.world.hits(options)?;
        let policies = judge.policies(hits.as_ref());
        output::show(self.format.format, &policies, || match policies.as_slice() {
            [] => "there are no policies: nobody is isolated\n".to_owned(),
            policies if self.rules => rules(policies).render(""),
            policies => table(policies).render(""),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The directions of a policy.
fn directions(policy: &PolicyView) -> impl Iterator<Item = (&'static str, &RulesView)> {
    let both = [("ingress", &policy.ingress), ("egress", &policy.egress)];
    both.into_iter().filter_map(|(name, rules)| Some((name, rules.as_ref()?)))
}

/// The policy, when it is asked if that is not with all others, and whether it is enforced.
fn name(view: &PolicyView) -> String {
    let tier = view.tier.as_ref().map(|tier| format!("{} {}", tier.name, tier.priority));
    let notes: Vec<_> = tier.into_iter().chain(view.audit.then(|| "audit".to_owned())).collect();
    if notes.is_empty() {
        view.policy.policy.clone()
    } else {
        format!("{} ({})", view.policy.policy, notes.join(", "))
    }
}

fn place(file: &str, line: u32) -> String {
    format!("{file}:{line}")
}

/// A number, or nothing.
fn number(count: Option<u64>) -> String {
    count.map(|count| count.to_string()).unwrap_or_default()
}

/// A line for each policy and direction.
fn table(policies: &[PolicyView]) -> Table<7> {
    let mut table = Table::new(["POLICY", "SOURCE", "ENDPOINTS", "DIRECTION", "RULES", "HITS", "DENIED"])
        .right(&[4, 5, 6]);
    for view in policies {
        let mut head = [name(view), place(&view.policy.file, view.policy.line), endpoints(&view.endpoints)];
        for (direction, RulesView { rules, denied }) in directions(view) {
            let [name, source, endpoints] = std::mem::take(&mut head);
            let hits = match rules.as_slice() {
                [] => denied.map(|_| 0),
                rules => rules.iter().map(|rule| rule.flows).sum(),
            };
            table.row([
                name,
                source,
                endpoints,
                direction.to_owned(),
                rules.len().to_string(),
                number(hits),
                number(*denied),
            ]);
        }
    }
    table
}

/// How many endpoints, and the names of the first.
fn endpoints(names: &[String]) -> String {
    const LISTED: usize = 3;
    match names {
        [] => "none".to_owned(),
        [one] => one.clone(),
        names if names.len() <= LISTED => format!("{}: {}", names.len(), names.join(", ")),
        names => {
            let first: Vec<_> = names.iter().take(LISTED).map(String::as_str).collect();
            format!("{}: {}, ...", names.len(), first.join(", "))
        }
    }
}

/// A line for each rule.
fn rules(policies: &[PolicyView]) -> Table<7> {
    let mut table =
        Table::new(["POLICY", "DIRECTION", "SOURCE", "ACTION", "PEERS", "PORTS", "HITS"]).right(&[6]);
    for view in policies {
        for (direction, RulesView { rules, .. }) in directions(view) {
            if rules.is_empty() {
                let source = place(&view.policy.file, view.policy.line);
                let nobody = "nobody".to_owned();
                table.row([
                    name(view),
                    direction.to_owned(),
                    source,
                    String::new(),
                    nobody,
                    String::new(),
                    String::new(),
                ]);
            }
            for rule in rules {
                table.row([
                    name(view),
                    direction.to_owned(),
                    place(&rule.file, rule.line),
                    rule.action.to_owned(),
                    rule.peers.clone(),
                    rule.ports.clone(),
                    number(rule.flows),
                ]);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::testing::shop;
    use super::*;
    use crate::reconcile::judge::Hits;
    use crate::reconcile::judge::view::TierView;

    #[test]
    fn policies_are_listed_by_direction() {
        let mut policies = shop().policies(None);
        assert_eq!(
            table(&policies).render(""),
            "POLICY       SOURCE         ENDPOINTS  DIRECTION  RULES\n\
             default/web  policy.yaml:1  web        ingress        1\n\
             shop/db      policy.yaml:9  shop/db    ingress        2\n\
             -            -              -          egress         0\n"
        );
        policies.truncate(1);
        policies[0].endpoints = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let ingress = policies[0].ingress.as_mut().unwrap();
        ingress.denied = Some(7);
        ingress.rules[0].flows = Some(12);
        assert_eq!(
            table(&policies).render(""),
            "POLICY       SOURCE         ENDPOINTS        DIRECTION  RULES  HITS  DENIED\n\
             default/web  policy.yaml:1  4: a, b, c, ...  ingress        1    12       7\n"
        );
    }

    #[test]
    fn policies_of_the_cluster_and_under_audit_say_so() {
        let mut policies = shop().policies(None);
        policies.truncate(1);
        policies[0].tier = Some(TierView { name: "Admin".to_owned(), priority: 7 });
        assert_eq!(name(&policies[0]), "default/web (Admin 7)");
        policies[0].audit = true;
        assert_eq!(name(&policies[0]), "default/web (Admin 7, audit)");
    }

    #[test]
    fn rules_are_listed_in_words() {
        let policies = shop().policies(Some(&Hits::default()));
        assert_eq!(
            rules(&policies).render(""),
            "POLICY       DIRECTION  SOURCE          ACTION  PEERS                                     PORTS     HITS\n\
             default/web  ingress    policy.yaml:7   accept  everybody                                 http/tcp     0\n\
             shop/db      ingress    policy.yaml:16  accept  endpoints with app=api of all namespaces  5432/tcp     0\n\
             shop/db      ingress    policy.yaml:20  accept  198.51.100.0/24 except 198.51.100.128/25  any          0\n\
             shop/db      egress     policy.yaml:9   -       nobody                                    -            -\n"
        );
    }
}
