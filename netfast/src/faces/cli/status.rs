//! `netfast status`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use netfast_common::reason::DropReason;

use super::options::FormatArgs;
use super::table::Table;
use super::{cells, endpoint, flow, output, port, root};
use crate::reconcile::instance::{Instance, Options};
use crate::reconcile::view::{
    CountView, CounterView, InstanceView, LinkView, MapView, NetworkView, ObjectView, ProgramView, UplinkView,
};

/// Exit code of `--check`: 1 and 2 tell of failures.
const UNWELL: u8 = 3;

/// Show the whole instance: what is not as it should be, networks, endpoints, ports, uplinks, programs and counters.
#[derive(Args, Debug)]
pub(super) struct Status {
    #[command(flatten)]
    format: FormatArgs,
    /// End with exit code 3 if it is not up, or if anything is not as it should be.
    #[arg(long)]
    check: bool,
}

impl Status {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        root::need()?;
        let view = Instance::view(options)?;
        output::show(self.format.format, &view, || text(&view))?;
        let is_well = view.up && view.problems.is_empty();
        Ok(if self.check && !is_well { ExitCode::from(UNWELL) } else { ExitCode::SUCCESS })
    }
}

fn text(view: &InstanceView) -> String {
    if !view.up {
        return "not up (netfast up -f FILE brings it up)\n".to_owned();
    }
    let mut text = String::new();
    let mut section = |title: &str, body: String| {
        if !body.is_empty() {
            let gap = if text.is_empty() { "" } else { "\n" };
            // Writing to a string cannot fail.
            let _ = write!(text, "{gap}{title}\n{body}");
        }
    };
    section("Not as it should be", lines(&view.problems));
    section("Networks", networks(&view.networks).render("  "));
    section("Endpoints", endpoint::table(&view.endpoints).render("  "));
    if !view.ports.is_empty() {
        section("Published ports", port::table(&view.ports).render("  "));
    }
    if !view.policies.is_empty() {
        section("Policies", format!("  {}\n", view.policies.join(", ")));
    }
    if !view.uplinks.is_empty() {
        section("Uplinks", uplinks(&view.uplinks).render("  "));
    }
    section("Not covered", lines(&view.limits));
    if !view.deny.is_empty() {
        section("Denied sources", format!("  {}\n", view.deny.join(", ")));
    }
    let object = view.object.as_ref().map(object).unwrap_or_default();
    section("Programs", programs(&view.programs, &view.links).render("  ") + &object);
    section("Maps", maps(&view.maps).render("  "));
    if view.monitors > 0 {
        section("Monitors", format!("  {} reading events\n", view.monitors));
    }
    if let Some(flows) = &view.flows {
        section("Flows", format!("  {}\n", flow::table_line(flows)));
    }
    section("Packets", paths(&view.counters).render("  "));
    let drops = counted(&view.counters.drops);
    section("Drops", if drops.is_empty() { "  none\n".to_owned() } else { drops.render("  ") });
    let audited = counted(&view.counters.audited);
    if !audited.is_empty() {
        section("Flows that policies under audit would have dropped", audited.render("  "));
    }
    text
}

fn lines(texts: &[String]) -> String {
    texts.iter().flat_map(|text| ["  ", text, "\n"]).collect()
}

fn networks(networks: &[NetworkView]) -> Table<6> {
    let mut table = Table::new(["NAME", "SUBNETS", "GATEWAYS", "BRIDGE", "MTU", "OUTSIDE"]);
    for network in networks {
        let outside = match (network.internal, network.routed) {
            (true, _) => "none (internal)",
            (false, true) => "routed",
            (false, false) => "masquerade",
        };
        let (subnets, gateways): (Vec<_>, Vec<_>) =
            network.more.iter().map(|more| (&more.subnet, more.gateway)).unzip();
        table.row([
            network.name.clone(),
            cells::with_more(network.subnet.as_ref(), network.subnet6.as_ref(), subnets),
            cells::with_more(network.gateway, network.gateway6, gateways),
            cells::optional(network.bridge.as_ref()),
            network.mtu.to_string(),
            outside.to_owned(),
        ]);
    }
    table
}

fn uplinks(uplinks: &[UplinkView]) -> Table<3> {
    let mut table = Table::new(["DEVICE", "MASQUERADE", "DENY LIST"]);
    for uplink in uplinks {
        let deny = uplink.deny.unwrap_or("off");
        table.row([uplink.device.clone(), cells::both(uplink.ip, uplink.ip6), deny.to_owned()]);
    }
    table
}

/// Each program, and how often and where it is attached: places of one hook share a line.
fn programs(programs: &[ProgramView], links: &[LinkView]) -> Table<5> {
    let mut table = Table::new(["PROGRAM", "ID", "TYPE", "HOOK", "ATTACHED TO"]).right(&[1]);
    for program in programs {
        let own: Vec<_> = links.iter().filter(|link| link.program == program.name).collect();
        let mut hooks: Vec<_> = own.iter().map(|link| (link.hook, link.direction)).collect();
        hooks.sort_unstable();
        hooks.dedup();
        if hooks.is_empty() {
            hooks.push(("", None));
        }
        for hook in hooks {
            let targets: Vec<_> = own
                .iter()
                .filter(|link| (link.hook, link.direction) == hook)
                .map(|link| format!("{}{}", link.target, if link.alive { "" } else { " (gone)" }))
                .collect();
            let hook = [Some(hook.0), hook.1].into_iter().flatten().collect::<Vec<_>>().join(" ");
            table.row([
                program.name.clone(),
                program.id.to_string(),
                program.kind.to_owned(),
                hook,
                targets.join(", "),
            ]);
        }
    }
    table
}

/// Whose the programs are.
fn object(object: &ObjectView) -> String {
    let ObjectView { digest, own, is_own } = object;
    if *is_own {
        format!("  of object {digest}, which is this netfast's\n")
    } else {
        format!(
            "  of object {digest}, another netfast's; this one's is {own} and replaces it with the next change\n"
        )
    }
}

/// The maps that fill up, under the names of their limits, and what all maps cost together.
fn maps(maps: &[MapView]) -> Table<4> {
    let mut table = Table::new(["LIMIT", "USED", "OF", "MEMORY"]).right(&[1, 2, 3]);
    for map in maps {
        if let (Some(limit), Some(used)) = (map.limit, map.used) {
            table.row([limit.to_owned(), used.to_string(), map.size.to_string(), cells::memory(map.bytes)]);
        }
    }
    if !maps.is_empty() {
        let total = maps.iter().map(|map| map.bytes).sum();
        table.row(["all maps".to_owned(), String::new(), String::new(), cells::memory(total)]);
    }
    table
}

fn paths(counters: &CounterView) -> Table<3> {
    let mut table = Table::new(["PATH", "PACKETS", "BYTES"]).right(&[1, 2]);
    for (path, count) in &counters.paths {
        table.row([path.clone(), count.packets.to_string(), count.bytes.to_string()]);
    }
    table
}

/// The reasons for which anything was counted, with what they mean.
fn counted(counts: &BTreeMap<String, CountView>) -> Table<4> {
    let mut table = Table::new(["REASON", "PACKETS", "BYTES", "MEANING"]).right(&[1, 2]);
    for (name, count) in counts.iter().filter(|(_, count)| count.packets > 0) {
        let reason = DropReason::ALL.iter().find(|reason| reason.name() == name);
        table.row([
            name.clone(),
            count.packets.to_string(),
            count.bytes.to_string(),
            reason.map(|reason| reason.explanation().to_owned()).unwrap_or_default(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn everything_is_shown() {
        let text = text(&testing::instance());
        for part in [
            "Not as it should be\n  the device nf2 is down\n\n",
            "\nNot covered\n  the device tun0 is not covered\n",
            "Networks\n  NAME  SUBNETS                  GATEWAYS",
            "lab   10.77.0.0/24, fd77::/64",
            "8080/tcp  web:80",
            "eth0    192.0.2.1   xdp-native",
            "nf1, nf2 (gone)",
            "another netfast's; this one's is fedcba9876543210",
            "LIMIT     USED    OF   MEMORY\n  flows        9  1024  3.0 MiB\n  all maps     -     -  3.6 MiB",
            "Monitors\n  1 reading events\n",
            "Flows\n  entries: 4 of 131072 settled, 2 of 32768 new; 12 made, 5 removed, 0 flushed, 1 evicted\n",
            "policy_ingress        2    148  a policy isolates the receiver",
            "\nFlows that policies under audit would have dropped\n  REASON         PACKETS  BYTES",
            "policy_egress        3    222  a policy isolates the sender",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("martian"), "{text}");
    }

    #[test]
    fn what_is_not_up_says_what_to_do() {
        assert_eq!(text(&testing::nothing()), "not up (netfast up -f FILE brings it up)\n");
    }
}
