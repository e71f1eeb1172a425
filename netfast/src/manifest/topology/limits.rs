//! The sizes of the maps, and the range of ports for masquerade.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::manifest::text::{cidr, port};
use crate::manifest::yaml::{Cursor, Fields, Report};
use crate::model::{LIMITS, Limits, PortRange};

/// The smallest port that flows may be masqueraded with: those below are services'.
const FIRST_PORT: u16 = 1024;

/// Reads `limits`; what it does not name has its default.
pub(super) fn limits(cursor: &Cursor<'_>, report: &mut Report) -> Limits {
    let fields = Fields::plain(cursor, &LIMITS.map(|limit| limit.name), report);
    let mut limits = Limits::default();
    for limit in LIMITS {
        let Some(field) = fields.get(limit.name) else { continue };
        let Some(number) = field.integer(report) else { continue };
        match u32::try_from(number) {
            Ok(number) if (limit.least..=limit.most).contains(&number) => {
                *(limit.field)(&mut limits) = number;
            }
            _ => field.error(report, format!("{number} is not between {} and {}", limit.least, limit.most)),
        }
    }
    limits
}

/// Reads `masquerade`: the source ports, and the destinations that are left out.
pub(super) fn masquerade(cursor: &Cursor<'_>, report: &mut Report) -> (Option<PortRange>, BTreeSet<IpNet>) {
    let fields = Fields::plain(cursor, &["ports", "except"], report);
    let ports = fields.get("ports").and_then(|field| source_ports(&field, report));
    let items = fields.get("except").map(|field| field.items(report)).unwrap_or_default();
    (ports, items.iter().filter_map(|item| item.parse(report, cidr::parse_strict)).collect())
}

fn source_ports(field: &Cursor<'_>, report: &mut Report) -> Option<PortRange> {
    let text = field.text_or_number(report)?;
    let range = port::range(text).map_err(|error| field.complain(report, error)).ok()?;
    if range.first < FIRST_PORT {
        field.error(report, format!("ports below {FIRST_PORT} are not for masquerade"));
        return None;
    }
    Some(range)
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    fn read_text(text: &str) -> (Limits, Option<PortRange>, Vec<String>) {
        let mut report = Report::new("n", text);
        let world = read(text, &mut report).world;
        (world.limits, world.masquerade, report.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn destinations_are_left_out_of_masquerade() {
        let text = "masquerade: {except: [10.0.0.0/8, 'fd00::/8', 10.0.0.1/8]}\n";
        let mut report = Report::new("n", text);
        let world = read(text, &mut report).world;
        let blocks: Vec<_> = world.not_masqueraded.iter().map(ToString::to_string).collect();
        assert_eq!((blocks, world.masquerade), (vec!["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()], None));
        let found: Vec<_> = report.finish().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("n:1:47: masquerade.except[2]: "), "{found:?}");
    }

    #[test]
    fn what_is_not_named_has_its_default() {
        let (limits, masquerade, found) =
            read_text("limits: {flows: 128, endpoints: 7}\nmasquerade: {ports: 2000-2003}\n");
        assert_eq!(found, [""; 0]);
        assert_eq!(limits, Limits { flows: 128, endpoints: 7, ..Limits::default() });
        assert_eq!(masquerade, Some(PortRange { first: 2000, last: 2003 }));
        let (limits, masquerade, found) = read_text("limits: {}\nmasquerade: {ports: 4000}\n");
        assert_eq!((limits, found), (Limits::default(), Vec::new()));
        assert_eq!(masquerade, Some(PortRange::single(4000)));
        assert_eq!(read_text("masquerade: {}\n").1, None);
    }

    #[test]
    fn each_limit_has_a_place_of_its_own_and_a_default_within_its_bounds() {
        let mut limits = Limits::default();
        for (value, limit) in (1..).zip(LIMITS) {
            assert!((limit.least..=limit.most).contains((limit.field)(&mut limits)), "{}", limit.name);
            *(limit.field)(&mut limits) = value;
        }
        for (value, limit) in (1..).zip(LIMITS) {
            assert_eq!(*(limit.field)(&mut limits), value, "{}", limit.name);
        }
        let stored = serde_json::to_value(limits).unwrap();
        let mut names: Vec<_> = stored.as_object().unwrap().keys().map(String::as_str).collect();
        let mut known = LIMITS.map(|limit| limit.name);
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn mistakes_have_a_place() {
        let mut found = Vec::new();
        for text in [
            "limits: {flows: 127}",
            "limits: {denied: 0}",
            "limits: {rules: 99999999999999999999}",
            "limits: {flows: many}",
            "limits: {flow: 1000}",
            "limits: 7",
            "masquerade: {ports: 80-20000}",
            "masquerade: {ports: 2000-1999}",
            "masquerade: {ports: 65536}",
            "masquerade: {port: 2000}",
        ] {
            found.extend(read_text(text).2);
        }
        assert_eq!(
            found,
            [
                "n:1:17: limits.flows: 127 is not between 128 and 16777216",
                "n:1:18: limits.denied: 0 is not between 1 and 16777216",
                "n:1:17: limits.rules: 9223372036854775807 is not between 16 and 16777216",
                "n:1:17: limits.flows: \"many\" is not a whole number",
                "n:1:10: limits.flow: unknown field (did you mean flows?)",
                "n:1:9: limits: `limits` is a mapping, not a number",
                "n:1:21: masquerade.ports: ports below 1024 are not for masquerade",
                "n:1:21: masquerade.ports: the range 2000-1999 ends before it begins (write 1999-2000)",
                "n:1:21: masquerade.ports: port 65536 is not between 1 and 65535",
                "n:1:14: masquerade.port: unknown field (did you mean ports?)",
            ]
        );
    }
}
