//! A matrix for the terminal: a grid as long as one fits, else a list.

use std::collections::BTreeMap;

use super::super::super::table::{Table, aligned};
use crate::reconcile::judge::view::{CellAnswerView, CellView, EndView, MatrixView};

/// Characters of the widest grid.
const WIDTH: usize = 120;
const DENIED: &str = "-";
const ITSELF: &str = ".";

pub(super) fn text(view: &MatrixView) -> String {
    let grid = grid(view);
    let mut text =
        if grid.lines().all(|line| line.chars().count() <= WIDTH) { grid } else { list(view).render("") };
    text.push('\n');
    text.push_str(&legend(view));
    text
}

/// Who sends in rows, who receives in columns.
fn grid(view: &MatrixView) -> String {
    let cells: BTreeMap<_, _> =
        view.cells.iter().map(|cell| ((cell.from.as_str(), cell.to.as_str()), ports(cell))).collect();
    let name = |end: &EndView| end.name.clone();
    let header = std::iter::once("FROM \\ TO".to_owned()).chain(view.ends.iter().map(name));
    let rows = view.ends.iter().map(|from| {
        let cell =
            |to: &EndView| cells.get(&(from.name.as_str(), to.name.as_str())).cloned().unwrap_or_default();
        std::iter::once(name(from)).chain(view.ends.iter().map(cell)).collect()
    });
    aligned(&std::iter::once(header.collect()).chain(rows).collect::<Vec<_>>())
}

/// A line for each sender and all that it reaches on the same ports.
fn list(view: &MatrixView) -> Table<3> {
    let mut table = Table::new(["FROM", "ON", "TO"]);
    for from in &view.ends {
        let mut by_ports: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for cell in view.cells.iter().filter(|cell| cell.from == from.name) {
            let ports = ports(cell);
            if ports != DENIED && ports != ITSELF && !ports.is_empty() {
                by_ports.entry(ports).or_default().push(cell.to.clone());
            }
        }
        let mut name = from.name.clone();
        if by_ports.is_empty() {
            table.row([name, DENIED.to_owned(), String::new()]);
            continue;
        }
        for (ports, to) in by_ports {
            table.row([std::mem::take(&mut name), ports, to.join(", ")]);
        }
    }
    table
}

/// The ports of a pair on which something is allowed.
fn ports(cell: &CellView) -> String {
    if cell.from == cell.to {
        return ITSELF.to_owned();
    }
    if cell.answers.is_empty() {
        return String::new();
    }
    let allowed: Vec<_> =
        cell.answers.iter().filter(|answer| answer.allowed).map(|a| port(cell, a)).collect();
    if allowed.is_empty() { DENIED.to_owned() } else { allowed.join(",") }
}

fn port(cell: &CellView, answer: &CellAnswerView) -> String {
    let CellAnswerView { service, families, reachable, .. } = answer;
    let is_split = cell.answers.iter().filter(|other| other.service == *service).count() > 1;
    let family = match (is_split, families.as_slice()) {
        (true, [family]) => format!("@v{family}"),
        _ => String::new(),
    };
    if *reachable { format!("{service}{family}") } else { format!("({service}{family})") }
}

fn legend(view: &MatrixView) -> String {
    let outside: Vec<_> = view
        .ends
        .iter()
        .filter(|end| end.kind == "outside")
        .map(|end| {
            let addresses: Vec<_> = end.addresses.iter().map(ToString::to_string).collect();
            format!("outside: {}", addresses.join(" and "))
        })
        .collect();
    let mut lines = vec![
        "any: whatever the protocol and port; -: nothing of what was asked for; .: the endpoint itself"
            .to_owned(),
    ];
    if view.cells.iter().flat_map(|cell| &cell.answers).any(|answer| answer.allowed && !answer.reachable) {
        lines.push(
            "(80/tcp): policies allow it, but it does not get there (other network, or not published)"
                .to_owned(),
        );
    }
    lines.extend(outside);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::super::asked::service;
    use super::super::super::testing::{judge, shop};
    use super::*;
    use crate::reconcile::judge::MatrixOptions;

    #[test]
    fn a_small_world_is_a_grid() {
        assert_eq!(
            text(&shop().matrix(&MatrixOptions::default()).unwrap()),
            "FROM \\ TO  api    web     shop/db   host  outside\n\
             api        .      80/tcp  5432/tcp  any   any\n\
             web        any    .       -         any   any\n\
             shop/db    -      -       .         -     -\n\
             host       any    any     any\n\
             outside    (any)  80/tcp  -\n\
             \n\
             any: whatever the protocol and port; -: nothing of what was asked for; .: the endpoint itself\n\
             (80/tcp): policies allow it, but it does not get there (other network, or not published)\n\
             outside: 192.0.2.1 and 2001:db8::1\n"
        );
    }

    #[test]
    fn a_wide_world_is_a_list() {
        let endpoints: Vec<_> = (10..30).map(|number| format!("endpoint-{number}: {{}}")).collect();
        let endpoints = endpoints.join(", ");
        let yaml = format!("networks: {{lab: {{subnet: 10.77.0.0/24}}}}\nendpoints: {{{endpoints}}}\n");
        let options = MatrixOptions { services: vec![service("80").unwrap()], ..MatrixOptions::default() };
        let text = text(&judge(&yaml, "").matrix(&options).unwrap());
        assert!(
            text.starts_with("FROM         ON        TO\nendpoint-10  80/tcp    endpoint-11, "),
            "{text}"
        );
    }
}
