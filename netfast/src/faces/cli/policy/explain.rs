//! `netfast policy explain`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::super::error::NoAnswer;
use super::super::options::FormatArgs;
use super::super::{cells, output};
use super::asked::{FamilyArgs, WorldArgs, portless, service};
use crate::reconcile::instance::Options;
use crate::reconcile::judge::Service;
use crate::reconcile::judge::view::{BlockView, EndView, ExplainView, FamilyView, SideView};

const EXAMPLES: &str = "\
Examples:
  netfast policy explain --from web --to shop/db --port 5432
  netfast policy explain --from 198.51.100.7 --to web --port http   who has the address, or nobody
  netfast policy explain --from host --to db                        without a port: a ping
  netfast policy explain -f netfast.yaml --policy new.yaml --from web --to db --port 5432/tcp";

/// Say whether a new connection may be made, and why or why not.
///
/// It names the rule that allows it, or the policies that isolate an end and what their rules allow instead. Exits with 0 if
/// policies allow it, 1 if they do not, 2 if there is no answer.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::faces::cli) struct Explain {
    /// Who sends: an endpoint (`name` or `namespace/name`), an address, or `host` for the own host.
    #[arg(long, value_name = "END")]
    from: String,
    /// Who receives, named likewise.
    #[arg(long, value_name = "END")]
    to: String,
    /// The receiver's port: `80`, `80/udp`, or a name that it has for one. Without it a ping is asked for.
    #[arg(long, value_name = "PORT", value_parser = service)]
    port: Option<Service>,
    /// A protocol without ports: `icmp`, or its number.
    #[arg(long, value_name = "PROTOCOL", value_parser = portless, conflicts_with = "port")]
    protocol: Option<Service>,
    #[command(flatten)]
    family: FamilyArgs,
    #[command(flatten)]
    world: WorldArgs,
    #[command(flatten)]
    format: FormatArgs,
}

impl Explain {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        // Who asks must be able to tell a denial from what failed.
        let view = self.ask(options).map_err(NoAnswer)?;
        output::show(self.format.format, &view, || text(&view))?;
        Ok(ExitCode::from(u8::from(!view.allowed)))
    }

    fn ask(&self, options: &Options) -> Result<ExplainView> {
        let judge = self.world.judge(options)?;
        let (from, to) = (judge.end(&self.from)?, judge.end(&self.to)?);
        let service = self.port.as_ref().or(self.protocol.as_ref()).unwrap_or(&Service::Echo);
        judge.explain(&from, &to, service, self.family.families())
    }
}

fn text(view: &ExplainView) -> String {
    let ExplainView { from, to, service, families, .. } = view;
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    let verdict = |allowed: bool, reachable: bool| match (allowed, reachable) {
        (true, true) => "allowed",
        (true, false) => "allowed by policy, but it does not get there",
        (false, _) => "denied",
    };
    // What differs by nothing but the family is told once.
    let first = families.first().map_or(0, |family| family.family);
    let is_one = families
        .iter()
        .all(|family| families.first() == Some(&FamilyView { family: first, ..family.clone() }));
    let heading = match (is_one, families.as_slice()) {
        (true, [only, ..]) => {
            let names: Vec<_> = families.iter().map(|family| format!("IPv{}", family.family)).collect();
            format!("{} ({})", verdict(only.allowed, only.reachable), names.join(" and "))
        }
        (_, several) => {
            let each =
                several.iter().map(|f| format!("IPv{}: {}", f.family, verdict(f.allowed, f.reachable)));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    line(format!("{} -> {} {service}: {heading}", from.name, to.name));
    line(format!("  from     {}", end(from)));
    line(format!("  to       {}", end(to)));
    for family in if is_one { families.get(..1).unwrap_or_default() } else { families } {
        if !is_one {
            line(format!("  IPv{}", family.family));
        }
        for (name, side) in [("egress", &family.egress), ("ingress", &family.ingress)] {
            line(format!("  {name:7}  {}: {}", side.end, side.reason));
            for detail in details(side) {
                line(format!("             {detail}"));
            }
        }
        if let Some(note) = &family.note {
            line(format!("  note     {note}"));
        }
    }
    text
}

/// What an end is known as.
fn end(end: &EndView) -> String {
    let mut parts = match end.kind {
        "endpoint" => vec![format!("endpoint {}", end.name)],
        "host" => vec!["the own host".to_owned()],
        _ => vec!["an address outside".to_owned()],
    };
    parts.extend(end.addresses.iter().map(ToString::to_string));
    if end.unplaced {
        parts.push("without an address".to_owned());
    }
    if let Some(network) = &end.network {
        parts.push(format!("network {network}"));
    }
    let mut text = parts.join(", ");
    if let Some(labels) = &end.labels {
        let labels = if labels.is_empty() { "no labels".to_owned() } else { cells::labels(labels) };
        // Writing to a string cannot fail.
        let _ = write!(text, "; {labels}");
    }
    if let (Some(namespace), Some(labels)) = (&end.namespace, &end.namespace_labels) {
        let mut labels = labels.clone();
        // Every namespace has it, and it says nothing more than the name.
        labels.remove(crate::model::NAMESPACE_NAME_LABEL);
        let _ = write!(text, "; namespace {namespace}");
        if !labels.is_empty() {
            let _ = write!(text, " ({})", cells::labels(&labels));
        }
    }
    if !end.ports.is_empty() {
        let _ = write!(text, "; ports {}", end.ports.join(", "));
    }
    text
}

/// What a side says besides its reason: near misses, and the blocks that hold the other end.
fn details(side: &SideView) -> Vec<String> {
    let (near, far): (Vec<_>, Vec<_>) =
        side.misses.iter().partition(|miss| miss.allows_peer || miss.allows_port);
    let mut lines: Vec<_> = near.iter().map(|miss| miss.text.clone()).collect();
    match far.as_slice() {
        [] => {}
        [only] => lines.push(only.text.clone()),
        several => {
            let places: BTreeSet<_> =
                several.iter().map(|miss| format!("{}:{}", miss.rule.file, miss.rule.line)).collect();
            let places: Vec<_> = places.into_iter().collect();
            lines.push(format!(
                "{} rules allow neither this port nor this peer ({})",
                several.len(),
                places.join(", ")
            ));
        }
    }
    if side.isolated_by.is_empty() {
        lines.extend(side.blocks.iter().map(block));
    }
    lines
}

fn block(BlockView { cidr, except, rule }: &BlockView) -> String {
    let place = format!("{} in {}:{}", rule.policy, rule.file, rule.line);
    match except {
        None => format!("the other end's address is in {cidr}, named by {place}"),
        Some(except) => format!("the other end's address is in {except}, excepted from {cidr} by {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{judge, shop};
    use super::*;
    use crate::reconcile::judge::{Families, Judge};

    fn said(judge: &Judge, from: &str, to: &str, port: &str) -> String {
        let (from, to) = (judge.end(from).unwrap(), judge.end(to).unwrap());
        let service = if port.is_empty() { Service::Echo } else { service(port).unwrap() };
        match judge.explain(&from, &to, &service, Families::Both) {
            Ok(view) => text(&view),
            Err(error) => format!("{error:#}"),
        }
    }

    #[track_caller]
    fn check(from: &str, to: &str, port: &str, wanted: &str) {
        assert_eq!(said(&shop(), from, to, port).trim_end(), wanted.trim());
    }

    #[test]
    fn a_denial_names_the_policies_and_what_they_allow_instead() {
        check(
            "web",
            "db",
            "5432",
            "
web -> shop/db 5432/tcp: denied (IPv4 and IPv6)
  from     endpoint web, 10.77.0.3, fd77::3, network lab; app=web; namespace default; ports http=80/tcp
  to       endpoint shop/db, 10.77.0.4, fd77::4, network lab; app=db; namespace shop (team=blue); ports 5432/tcp
  egress   web: no policy isolates it
  ingress  shop/db: isolated by shop/db in policy.yaml:9, and no rule allows it
             shop/db in policy.yaml:16 allows this port, but not this peer: it has app=web, not app=api
             shop/db in policy.yaml:20 allows this port, but not this peer: its address is not in 198.51.100.0/24
",
        );
        let said = said(&shop(), "api", "db", "80");
        assert!(
            said.contains("             shop/db in policy.yaml:16 allows this peer, on 5432/tcp only\n"),
            "{said}"
        );
    }

    #[test]
    fn a_rule_that_allows_is_named_with_its_line() {
        check(
            "api",
            "web",
            "http",
            "
api -> web 80/tcp: allowed (IPv4 and IPv6)
  from     endpoint api, 10.77.0.2, fd77::2, network lab; app=api; namespace default
  to       endpoint web, 10.77.0.3, fd77::3, network lab; app=web; namespace default; ports http=80/tcp
  egress   api: no policy isolates it
  ingress  web: allowed by default/web in policy.yaml:7
",
        );
    }

    #[test]
    fn blocks_and_their_exceptions_are_named() {
        let denied = said(&shop(), "198.51.100.200", "shop/db", "5432");
        let hole = "             shop/db in policy.yaml:20 allows this port, but not this peer: its address is in 198.51.100.128/25, which is excepted from 198.51.100.0/24\n";
        assert!(denied.contains(hole), "{denied}");
        let allowed = said(&shop(), "198.51.100.1", "shop/db", "5432");
        assert!(
            allowed.starts_with(
                "198.51.100.1 -> shop/db 5432/tcp: allowed by policy, but it does not get there (IPv4)\n"
            ),
            "{allowed}"
        );
        let block = "             the other end's address is in 198.51.100.0/24, named by shop/db in policy.yaml:20\n";
        assert!(allowed.contains(block), "{allowed}");
    }

    #[test]
    fn families_that_differ_are_told_apart() {
        let networks = "
networks: {lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}}
endpoints: {a: {}, b: {}}
";
        let policy = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-v4}
spec:
  podSelector: {}
  ingress:
  - from: [{ipBlock: {cidr: 0.0.0.0/0}}]
";
        let said = said(&judge(networks, policy), "a", "b", "");
        assert_eq!(
            said,
            "a -> b icmp: IPv4: allowed, IPv6: denied
  from     endpoint a, 10.77.0.2, fd77::2, network lab; no labels; namespace default
  to       endpoint b, 10.77.0.3, fd77::3, network lab; no labels; namespace default
  IPv4
  egress   a: no policy isolates it
  ingress  b: allowed by default/only-v4 in policy.yaml:7
             the other end's address is in 0.0.0.0/0, named by default/only-v4 in policy.yaml:7
  IPv6
  egress   a: no policy isolates it
  ingress  b: isolated by default/only-v4 in policy.yaml:1, and no rule allows it
             default/only-v4 in policy.yaml:7 allows this port, but not this peer: its address is not in 0.0.0.0/0
"
        );
    }

    #[test]
    fn a_ping_is_asked_for_where_no_port_is_given() {
        let said = said(&shop(), "web", "api", "");
        assert!(said.starts_with("web -> api icmp: allowed (IPv4 and IPv6)\n"), "{said}");
    }

    #[test]
    fn a_published_port_is_followed() {
        check(
            "198.51.100.1",
            "10.77.0.1",
            "8080",
            "
198.51.100.1 -> host (10.77.0.1) 8080/tcp: allowed (IPv4)
  from     an address outside, 198.51.100.1
  to       the own host, 10.77.0.1
  egress   198.51.100.1: no policy is asked
  ingress  web: allowed by default/web in policy.yaml:7
  note     8080/tcp of the host is published: it leads to web 80/tcp
",
        );
    }

    #[test]
    fn what_has_no_answer_says_why() {
        check(
            "host",
            "192.0.2.7",
            "80",
            "neither host nor 192.0.2.7 is an endpoint: netfast has no say in it",
        );
        check("api", "web", "sql", "web has no port called sql (known: http)");
        check(
            "api",
            "host",
            "http",
            "only endpoints have names for ports, and host is none (give the number)",
        );
        check("192.0.2.1", "fd77::2", "80", "192.0.2.1 and api have no address family in common");
        assert_eq!(
            shop().end("127.0.0.1").unwrap_err().to_string(),
            "127.0.0.1 is no address of one end (say host for the own host)"
        );
    }

    #[test]
    fn what_is_in_the_way_apart_from_policies_is_told() {
        let networks = "
networks:
  lab: {subnet: 10.77.0.0/24}
  inner: {subnet: 10.78.0.0/24, internal: true}
endpoints:
  web: {network: lab, publish: [{host: 8080, container: 80, from: [192.0.2.0/24]}]}
  vault: {network: inner}
";
        let judge = judge(networks, "");
        for (from, to, port, wanted) in [
            (
                "web",
                "vault",
                "80",
                "the ends are in networks lab and inner: netfast drops what goes from one network to another, whatever policies say",
            ),
            (
                "vault",
                "192.0.2.7",
                "80",
                "network inner is internal: netfast lets nothing out of it, whatever policies say",
            ),
            (
                "web",
                "10.77.0.99",
                "80",
                "no endpoint of network lab has the address 10.77.0.99: netfast drops what goes there",
            ),
            (
                "192.0.2.7",
                "web",
                "81",
                "no published port of the host leads to web 81/tcp: netfast lets nothing else in from outside, whatever policies say",
            ),
            ("192.0.2.7", "web", "80", "8080/tcp of the host is published: it leads to web 80/tcp"),
            (
                "198.51.100.7",
                "web",
                "80",
                "8080/tcp of the host leads to web 80/tcp, but is not published for 198.51.100.7: netfast drops it, whatever policies say",
            ),
            (
                "198.51.100.7",
                "10.77.0.1",
                "8080",
                "8080/tcp of the host leads to web 80/tcp, but is not published for 198.51.100.7: netfast drops it, whatever policies say",
            ),
            ("web", "web", "80", "an endpoint reaches itself, whatever policies say"),
        ] {
            let said = said(&judge, from, to, port);
            assert_eq!(said.lines().last().unwrap(), format!("  note     {wanted}"), "{said}");
        }
    }
}
