//! `spec` of a `NetworkPolicy`, and its defaults.

use super::rule::rules;
use super::{hints, selector};
use crate::manifest::yaml::{Cursor, Fields, Report, show, suggest};
use crate::model::lint::Lint;
use crate::model::{Rule, Selector};

/// What a policy says.
#[derive(Default)]
pub(super) struct Spec {
    pub(super) selector: Selector,
    pub(super) ingress: Option<Vec<Rule>>,
    pub(super) egress: Option<Vec<Rule>>,
}

/// The directions that `policyTypes` names.
struct Types {
    ingress: bool,
    egress: bool,
}

impl Spec {
    /// Reads a spec. Without one, a policy closes its namespace for ingress.
    pub(super) fn read(cursor: Option<&Cursor<'_>>, report: &mut Report) -> Self {
        let Some(cursor) = cursor else { return Self { ingress: Some(Vec::new()), ..Self::default() } };
        let known = ["podSelector", "policyTypes", "ingress", "egress"];
        let fields = Fields::open(cursor, &known, hints::spec, report);
        let selector =
            fields.get("podSelector").map(|cursor| selector::read(&cursor, report)).unwrap_or_default();
        let (ingress, egress) = (fields.get("ingress"), fields.get("egress"));
        let ingress_rules = ingress.as_ref().map(|c| rules(c, "from", report)).unwrap_or_default();
        let egress_rules = egress.as_ref().map(|c| rules(c, "to", report)).unwrap_or_default();
        let types = fields.get("policyTypes").and_then(|cursor| types(&cursor, report));
        if let Some(types) = &types {
            for (named, direction, field) in
                [(types.ingress, "Ingress", &ingress), (types.egress, "Egress", &egress)]
            {
                if let (false, Some(field)) = (named, field) {
                    let message = field.message("these rules do nothing");
                    report.warning(
                        Lint::UnlistedDirection,
                        field.key_at,
                        message,
                        format!("add {direction} to policyTypes"),
                    );
                }
            }
        } else if let Some(egress) = &egress {
            warn_of_default(egress, egress_rules.is_empty(), ingress_rules.is_empty(), report);
        }
        let types = types.unwrap_or(Types { ingress: true, egress: !egress_rules.is_empty() });
        Self {
            selector,
            ingress: types.ingress.then_some(ingress_rules),
            egress: types.egress.then_some(egress_rules),
        }
    }
}

/// What is read out of an absent `policyTypes` surprises many.
fn warn_of_default(egress: &Cursor<'_>, no_egress: bool, no_ingress: bool, report: &mut Report) {
    if no_egress {
        let message = egress.message("without policyTypes this does not close egress");
        report.warning(
            Lint::DefaultLeavesEgress,
            egress.key_at,
            message,
            "add policyTypes: [Egress]".to_owned(),
        );
    } else if no_ingress {
        let message = egress.message("without policyTypes this closes ingress too");
        report.warning(
            Lint::DefaultClosesIngress,
            egress.key_at,
            message,
            "to leave ingress alone, add policyTypes: [Egress]".to_owned(),
        );
    }
}

/// Reads `policyTypes`; `None` where it names nothing.
fn types(cursor: &Cursor<'_>, report: &mut Report) -> Option<Types> {
    let items = cursor.items(report);
    if items.is_empty() {
        return None;
    }
    if items.len() > 2 {
        cursor.error(report, format!("{} entries, where two are all there can be", items.len()));
    }
    let mut types = Types { ingress: false, egress: false };
    for item in items {
        match item.text(report) {
            Some("Ingress") if !types.ingress => types.ingress = true,
            Some("Egress") if !types.egress => types.egress = true,
            Some(text @ ("Ingress" | "Egress")) => {
                let message = item.message(format!("{text} is named twice"));
                report.warning(Lint::Repeated, item.at(), message, "drop one of them".to_owned());
            }
            Some(text) => {
                let known = ["Ingress", "Egress"];
                let help = match suggest(text, &known) {
                    _ if hints::both(text) => "write [Ingress, Egress]".to_owned(),
                    Some(word) => format!("write {word}"),
                    None => format!("use {}", known.join(" or ")),
                };
                item.error_help(report, format!("unknown policy type {}", show(text)), help);
            }
            None => {}
        }
    }
    Some(types)
}
