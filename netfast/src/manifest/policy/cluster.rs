//! `spec` of a `ClusterNetworkPolicy`: its place, its subject and its rules.

use super::cluster_peer::{self, Direction};
use super::{cluster_port, hints};
use crate::manifest::yaml::{Cursor, Fields, Hint, Report, Value, show, suggest};
use crate::model::lint::Lint;
use crate::model::{Action, ClusterPolicy, Peer, Rule, Selector, Source, Tier, TierRule};

/// The longest name a rule may have.
const NAME_LENGTH: usize = 100;

/// What a policy of the cluster says.
pub(super) struct ClusterSpec {
    pub(super) tier: Tier,
    pub(super) priority: u16,
    pub(super) subject: Subject,
    pub(super) ingress: Vec<TierRule>,
    pub(super) egress: Vec<TierRule>,
}

/// Whom it concerns.
pub(super) struct Subject {
    pub(super) namespaces: Selector,
    pub(super) endpoints: Selector,
}

impl ClusterSpec {
    /// Reads a spec; `None` where a part is missing, which `report` then says.
    pub(super) fn read(cursor: &Cursor<'_>, report: &mut Report) -> Option<Self> {
        let known = ["tier", "priority", "subject", "ingress", "egress"];
        let fields = Fields::open(cursor, &known, hints::cluster_spec, report);
        let tier = fields.need("tier", report).and_then(|cursor| tier(&cursor, report));
        let priority = fields.need("priority", report).and_then(|cursor| priority(&cursor, report));
        let subject = fields.need("subject", report).and_then(|cursor| subject(&cursor, report));
        let (ingress, egress) = (fields.get("ingress"), fields.get("egress"));
        let rules = |cursor: Option<Cursor<'_>>, direction, report: &mut Report| -> Vec<TierRule> {
            let items = cursor.map(|cursor| cursor.items(report)).unwrap_or_default();
            items.iter().filter_map(|item| rule(item, direction, report)).collect()
        };
        let errors = report.errors();
        let ingress = rules(ingress, Direction::Ingress, report);
        let egress = rules(egress, Direction::Egress, report);
        if ingress.is_empty() && egress.is_empty() && report.errors() == errors {
            let message = cursor.message("a policy of the cluster without rules does nothing");
            let help = "it isolates nobody; a rule denies: ingress: [{action: Deny, from: [...]}]".to_owned();
            report.warning(Lint::NoRules, cursor.key_at, message, help);
        }
        Some(Self { tier: tier?, priority: priority?, subject: subject?, ingress, egress })
    }
}

fn tier(cursor: &Cursor<'_>, report: &mut Report) -> Option<Tier> {
    match cursor.text(report)? {
        "Admin" => return Some(Tier::Admin),
        "Baseline" => return Some(Tier::Baseline),
        text => one_of(cursor, "tier", text, &["Admin", "Baseline"], None, report),
    }
    None
}

fn action(cursor: &Cursor<'_>, report: &mut Report) -> Option<Action> {
    match cursor.text(report)? {
        "Accept" => return Some(Action::Accept),
        "Deny" => return Some(Action::Deny),
        "Pass" => return Some(Action::Pass),
        text => {
            let meant = match text.to_ascii_lowercase().as_str() {
                "allow" => Some("Accept"),
                "drop" | "reject" | "block" => Some("Deny"),
                "skip" | "continue" => Some("Pass"),
                _ => None,
            };
            one_of(cursor, "action", text, &["Accept", "Deny", "Pass"], meant, report);
        }
    }
    None
}

/// Complains of a word that is none of those there are.
fn one_of(
    cursor: &Cursor<'_>,
    what: &str,
    text: &str,
    known: &[&'static str],
    meant: Option<&str>,
    report: &mut Report,
) {
    let help = match meant.or_else(|| suggest(text, known)) {
        Some(word) => format!("write {word}"),
        None => format!("use {}", known.join(" or ")),
    };
    cursor.error_help(report, format!("unknown {what} {}", show(text)), help);
}

fn priority(cursor: &Cursor<'_>, report: &mut Report) -> Option<u16> {
    let number = cursor.integer(report)?;
    let priority = u16::try_from(number).ok().filter(|priority| *priority <= ClusterPolicy::MAX_PRIORITY);
    if priority.is_none() {
        let message = format!("priority {number} is not between 0 and {}", ClusterPolicy::MAX_PRIORITY);
        cursor.error_help(report, message, "the lowest is asked first");
    }
    priority
}

fn subject(cursor: &Cursor<'_>, report: &mut Report) -> Option<Subject> {
    let fields = Fields::open(cursor, &["namespaces", "pods"], hints::cluster_peer, report);
    let help = "write namespaces: {} for every endpoint";
    match cluster_peer::endpoints(cursor, &fields, "subject", help, report)? {
        Peer::Endpoints { namespaces, endpoints } => {
            Some(Subject { namespaces: namespaces.unwrap_or_default(), endpoints })
        }
        Peer::Block { .. } => None,
    }
}

fn rule(cursor: &Cursor<'_>, direction: Direction, report: &mut Report) -> Option<TierRule> {
    let (peers, hint): (_, Hint) = match direction {
        Direction::Ingress => ("from", hints::cluster_ingress),
        Direction::Egress => ("to", hints::cluster_egress),
    };
    let fields = Fields::open(cursor, &["name", "action", peers, "protocols", "ports"], hint, report);
    let source = Source { file: report.file().to_owned(), line: cursor.at().line };
    let name = fields.get("name").and_then(|cursor| rule_name(&cursor, report));
    let action = fields.need("action", report).and_then(|cursor| action(&cursor, report));
    let listed = fields.need(peers, report)?;
    let items = listed.items(report);
    if items.is_empty() && matches!(listed.node.value, Value::List(_)) {
        let help = "for every endpoint write [{namespaces: {}}]";
        listed.error_help(report, "a rule needs a peer at least", help);
    }
    let peers: Vec<Peer> =
        items.iter().flat_map(|item| cluster_peer::read(item, direction, report)).collect();
    let has_blocks = peers.iter().any(|peer| matches!(peer, Peer::Block { .. }));
    let ports = match (fields.get("protocols"), fields.get("ports")) {
        (Some(protocols), None) => Some(cluster_port::protocols(&protocols, has_blocks, report)),
        (None, Some(ports)) => Some(cluster_port::ports(&ports, has_blocks, report)),
        (None, None) => None,
        (Some(_), Some(ports)) => {
            let message = ports.message("beside protocols, whose older form it is");
            report.error_help(ports.key_at, message, "move what it says into protocols");
            None
        }
    };
    Some(TierRule { name, action: action?, rule: Rule { source, peers: Some(peers), ports } })
}

fn rule_name(cursor: &Cursor<'_>, report: &mut Report) -> Option<String> {
    let text = cursor.text(report)?;
    let length = text.chars().count();
    if length > NAME_LENGTH {
        cursor
            .error(report, format!("a rule's name of {length} characters, where {NAME_LENGTH} are the most"));
    }
    Some(text.to_owned())
}
