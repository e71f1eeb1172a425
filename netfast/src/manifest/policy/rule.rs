//! Rules: who, and on which ports.

use super::{hints, peer, port};
use crate::manifest::yaml::{Cursor, Fields, Report};
use crate::model::{Rule, Source};

/// Reads the rules of one direction, whose peers stand in the field `peers`: `from` or `to`.
pub(super) fn rules(cursor: &Cursor<'_>, peers: &'static str, report: &mut Report) -> Vec<Rule> {
    cursor.mappings(report).iter().map(|item| rule(item, peers, report)).collect()
}

fn rule(cursor: &Cursor<'_>, peers: &'static str, report: &mut Report) -> Rule {
    let hint = if peers == "from" { hints::ingress } else { hints::egress };
    let fields = Fields::open(cursor, &[peers, "ports"], hint, report);
    let source = Source { file: report.file().to_owned(), line: cursor.at().line };
    // An empty list means the same as none: everyone, every port.
    let peers = fields.get(peers).map(|c| c.mappings(report)).filter(|items| !items.is_empty());
    let peers = peers.map(|items| items.iter().filter_map(|item| peer::read(item, report)).collect());
    let ports = fields.get("ports").map(|c| c.mappings(report)).filter(|items| !items.is_empty());
    let ports = ports.map(|items| items.iter().filter_map(|item| port::read(item, report)).collect());
    Rule { source, peers, ports }
}
