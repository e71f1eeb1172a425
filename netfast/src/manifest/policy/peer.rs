//! Peers: endpoints by selectors, or addresses by blocks.

use ipnet::IpNet;

use super::{hints, selector};
use crate::manifest::text::{TextError, cidr};
use crate::manifest::yaml::{Cursor, Fields, Report, Value};
use crate::model::Peer;
use crate::model::lint::Lint;

/// Reads a peer; `None` where it is not one, which `report` then says.
pub(super) fn read(cursor: &Cursor<'_>, report: &mut Report) -> Option<Peer> {
    let errors = report.errors();
    let known = ["podSelector", "namespaceSelector", "ipBlock"];
    let fields = Fields::open(cursor, &known, hints::peer, report);
    let pods = fields.get("podSelector").map(|c| selector::read(&c, report));
    let namespaces = fields.get("namespaceSelector").map(|c| selector::read(&c, report));
    let block = fields.get("ipBlock");
    if block.is_some() && (pods.is_some() || namespaces.is_some()) {
        // The one that comes second lacks its `-`.
        let both = ["ipBlock", "podSelector", "namespaceSelector"].map(|field| fields.get(field));
        let block_at = block.as_ref().map(|block| block.key_at);
        let second = if block_at.is_some_and(|at| at == cursor.at()) {
            both.into_iter().flatten().filter(|field| Some(field.key_at) != block_at).min_by_key(|f| f.key_at)
        } else {
            block.clone()
        };
        let (at, name) = second.map_or((cursor.at(), String::new()), |f| (f.key_at, f.field().to_owned()));
        let message = cursor.message("ipBlock and a selector in one peer");
        report.error_help(at, message, format!("put a `-` before {name}"));
    }
    if let Some(block) = block {
        return ip_block(&block, report);
    }
    if pods.is_none() && namespaces.is_none() {
        // What is wrong with it was said if it has unknown fields, or is no mapping.
        if report.errors() == errors {
            let help = "podSelector: {} is every endpoint of this namespace, namespaceSelector: {} every endpoint; for \
                        everyone, leave the list out";
            let is_null = matches!(&cursor.node.value, Value::Map(entries) if !entries.is_empty());
            let message = if is_null {
                "an empty peer: a field without a value counts as absent"
            } else {
                "an empty peer"
            };
            cursor.error_help(report, message, help);
        }
        return None;
    }
    Some(Peer::Endpoints { namespaces, endpoints: pods.unwrap_or_default() })
}

fn ip_block(cursor: &Cursor<'_>, report: &mut Report) -> Option<Peer> {
    let fields = Fields::plain(cursor, &["cidr", "except"], report);
    let outer = fields.need("cidr", report).and_then(|cursor| block(&cursor, report));
    let mut except = Vec::new();
    for item in fields.get("except").map(|c| c.items(report)).unwrap_or_default() {
        let Some(hole) = block(&item, report) else { continue };
        if except.contains(&hole) {
            let message = item.message(format!("{hole} is named twice"));
            report.warning(Lint::Repeated, item.at(), message, "drop one of them".to_owned());
        }
        match outer.map_or(Ok(()), |outer| check_hole(hole, outer)) {
            Ok(()) => except.push(hole),
            Err(error) => item.complain(report, error),
        }
    }
    Some(Peer::Block { cidr: outer?, except })
}

/// Reads a block. Old manifests have host bits set, so that is no error.
pub(super) fn block(cursor: &Cursor<'_>, report: &mut Report) -> Option<IpNet> {
    let net =
        cidr::parse(cursor.text_or_number(report)?).map_err(|error| cursor.complain(report, error)).ok()?;
    let block = net.trunc();
    if block != net {
        let message = cursor.message(format!("{net} has bits set beyond its prefix and is read as {block}"));
        let help = format!("was {}/{} meant?", net.addr(), net.max_prefix_len());
        report.warning(Lint::HostBits, cursor.at(), message, help);
    }
    Some(block)
}

/// A hole lies strictly inside of its block.
fn check_hole(hole: IpNet, outer: IpNet) -> Result<(), TextError> {
    let same_family = hole.addr().is_ipv4() == outer.addr().is_ipv4();
    if !same_family {
        let message = format!("{hole} is of another family than {outer}");
        Err(TextError::with_help(message, "it has nothing to be taken from: drop it"))
    } else if hole == outer {
        let message = format!("{hole} is all of the block");
        Err(TextError::with_help(message, "nothing is left: drop the peer"))
    } else if hole.contains(&outer) {
        Err(TextError::with_help(
            format!("{hole} is wider than its block {outer}"),
            "nothing is left: drop the peer",
        ))
    } else if !outer.contains(&hole) {
        let message = format!("{hole} lies outside of its block {outer}");
        Err(TextError::with_help(message, "it has nothing to be taken from: drop it"))
    } else {
        Ok(())
    }
}
