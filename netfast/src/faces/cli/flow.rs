//! `netfast flow`.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use netfast_common::conntrack::SECOND;
use netfast_common::protocol;

use super::options::FormatArgs;
use super::table::Table;
use super::{deny, output, root};
use crate::reconcile::flows::{
    self, EndView, FlowFilter, FlowState, FlowView, FlowsView, SocketView, TableView,
};
use crate::reconcile::instance::{Instance, Options};

const LS_EXAMPLES: &str = "\
Examples:
  netfast flow ls                                    what goes on
  netfast flow ls --endpoint web --state established
  netfast flow ls --addr 192.0.2.0/24 --protocol tcp
  netfast flow ls --all -o json                      everything that is in the tables, for programs";

const FLUSH_EXAMPLES: &str = "\
Examples:
  netfast flow flush --endpoint web           everything to and from one endpoint
  netfast flow flush --protocol udp --port 53
  netfast flow flush --all                    everything

A connection that is forgotten may go on: its next packet is judged as a first one would be, by the policies in force. But
the source port it is masqueraded with can become another one, and of a published port only the client's packets lead back
to the endpoint. A connection that this concerns is reset by the other side.";

/// Look at flows, and forget them.
#[derive(Debug, Subcommand)]
pub(super) enum Flow {
    /// List the flows: who speaks with whom, as what, since when, and by which policies.
    #[command(after_help = LS_EXAMPLES)]
    Ls {
        #[command(flatten)]
        filter: FilterArgs,
        /// Show those that are over, too.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Forget flows: the next packet of each is judged as the first one of a new flow.
    #[command(after_help = FLUSH_EXAMPLES)]
    Flush {
        #[command(flatten)]
        filter: FilterArgs,
        /// Forget all of them. Needed where nothing else says which.
        #[arg(long)]
        all: bool,
    },
}

/// Which flows are meant: those that have all of it, at either end, translated or not.
#[derive(Args, Clone, Debug)]
pub(super) struct FilterArgs {
    /// Those to and from this endpoint, with NAMESPACE/ before it where several namespaces have the name.
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Those with this address, or one in this block.
    #[arg(long, value_name = "IP|CIDR", value_parser = deny::parse)]
    addr: Option<IpNet>,
    /// Those with this port.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Those of this protocol: tcp, udp, icmp, icmpv6, sctp, or a number.
    #[arg(long, value_name = "PROTOCOL", value_parser = parse_protocol)]
    protocol: Option<u8>,
    /// Those in this state: new, one-way (not TCP), replied (of TCP half-open), established, closing, closed.
    #[arg(long, value_name = "STATE")]
    state: Option<FlowState>,
}

impl FilterArgs {
    fn filter(&self) -> FlowFilter {
        let Self { endpoint, addr, port, protocol, state } = self.clone();
        FlowFilter { endpoint, addr, port, protocol, state }
    }
}

impl Flow {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        root::need()?;
        match self {
            Self::Ls { filter, all, format } => {
                let view = flows::list(options, &filter.filter(), *all)?;
                output::show(format.format, &view, || text(&view))?;
            }
            Self::Flush { filter, all } => {
                let filter = filter.filter();
                ensure!(
                    *all || !filter.is_empty(),
                    "which flows? (name some by --endpoint, --addr, --port, --protocol or --state, or take --all)"
                );
                let removed = Instance::open(options)?.flush(&filter)?;
                output::line(&format!("{} forgotten", counted(removed)))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn what(&self) -> String {
        match self {
            Self::Ls { .. } => "flow ls",
            Self::Flush { .. } => "flow flush",
        }
        .to_owned()
    }
}

fn parse_protocol(text: &str) -> Result<u8, String> {
    match text {
        "tcp" => Ok(protocol::TCP),
        "udp" => Ok(protocol::UDP),
        "icmp" => Ok(protocol::ICMP),
        "icmpv6" => Ok(protocol::ICMPV6),
        "sctp" => Ok(protocol::SCTP),
        other => other.parse().map_err(|_not_a_number| {
            "not a protocol (there are tcp, udp, icmp, icmpv6, sctp, and the numbers 0 to 255)".to_owned()
        }),
    }
}

fn text(view: &FlowsView) -> String {
    let mut text = String::new();
    if !view.flows.is_empty() {
        text.push_str(&table(&view.flows).render(""));
        text.push('\n');
    }
    text + &format!("{}, {}\n", counted(view.flows.len()), table_line(&view.table))
}

fn counted(flows: usize) -> String {
    match flows {
        0 => "no flows".to_owned(),
        1 => "1 flow".to_owned(),
        many => format!("{many} flows"),
    }
}

/// The tables of flows in one line.
pub(super) fn table_line(table: &TableView) -> String {
    let TableView { settled, settled_size, new, new_size, made, removed, flushed, evicted } = table;
    format!(
        "entries: {settled} of {settled_size} settled, {new} of {new_size} new; {made} made, {removed} removed, \
         {flushed} flushed, {evicted} evicted"
    )
}

/// The flows, a line each.
fn table(flows: &[FlowView]) -> Table<11> {
    let mut table = Table::new([
        "STATE",
        "PROTOCOL",
        "ORIGINATOR",
        "RESPONDER",
        "TRANSLATED",
        "AGE",
        "IDLE",
        "LEFT",
        "PACKETS",
        "BYTES",
        "POLICY",
    ])
    .right(&[5, 6, 7, 8, 9]);
    for flow in flows {
        let both = |sent: u64, replied: u64| format!("{sent}/{replied}");
        table.row([
            flow.state.to_string(),
            flow.protocol.clone(),
            end(&flow.originator),
            end(&flow.responder),
            translated(flow),
            duration(flow.age_ns),
            duration(flow.idle_ns),
            if flow.over { "over".to_owned() } else { duration(flow.left_ns) },
            both(flow.sent.packets, flow.replied.packets),
            both(flow.sent.bytes, flow.replied.bytes),
            format!("{} ({})", if flow.current { "current" } else { "to be re-checked" }, flow.generation),
        ]);
    }
    table
}

/// An end as `web 10.77.0.4:80`.
fn end(end: &EndView) -> String {
    let name = match (&end.endpoint, end.kind) {
        (Some(name), _) => name,
        (None, "endpoint") => "(gone)",
        (None, kind) => kind,
    };
    format!("{name} {}", socket(&end.socket))
}

fn translated(flow: &FlowView) -> String {
    let source = flow.source_nat.map(|nat| format!("from {}", socket(&nat)));
    let destination = flow.destination_nat.map(|nat| format!("to {}", socket(&nat)));
    [source, destination].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn socket(socket: &SocketView) -> String {
    let SocketView { addr, port } = *socket;
    match (addr, port) {
        (addr, None) => addr.to_string(),
        (addr @ (IpAddr::V4(_) | IpAddr::V6(_)), Some(port)) => SocketAddr::new(addr, port).to_string(),
    }
}

/// A time in its two largest units.
fn duration(ns: u64) -> String {
    let seconds = ns / SECOND;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::flows::CountsView;

    fn socket(text: &str) -> SocketView {
        let socket: SocketAddr = text.parse().unwrap();
        SocketView { addr: socket.ip(), port: Some(socket.port()) }
    }

    fn published() -> FlowView {
        FlowView {
            state: FlowState::Established,
            protocol: "tcp".to_owned(),
            originator: EndView { kind: "outside", endpoint: None, socket: socket("198.51.100.1:5000") },
            responder: EndView {
                kind: "endpoint",
                endpoint: Some("web".to_owned()),
                socket: socket("192.0.2.1:8080"),
            },
            source_nat: None,
            destination_nat: Some(socket("10.77.0.4:80")),
            age_ns: 61 * SECOND,
            idle_ns: 0,
            left_ns: 8000 * SECOND,
            over: false,
            settled: true,
            sent: CountsView { packets: 5, bytes: 400 },
            replied: CountsView { packets: 4, bytes: 1300 },
            generation: 3,
            current: true,
        }
    }

    fn ping() -> FlowView {
        let end = |name: Option<&str>, addr: &str, port| EndView {
            kind: "endpoint",
            endpoint: name.map(str::to_owned),
            socket: SocketView { addr: addr.parse().unwrap(), port },
        };
        FlowView {
            state: FlowState::OneWay,
            protocol: "icmpv6".to_owned(),
            originator: end(Some("shop/client"), "fd77::2", Some(7)),
            responder: end(None, "fd77::3", None),
            destination_nat: None,
            left_ns: 0,
            over: true,
            generation: 2,
            current: false,
            ..published()
        }
    }

    #[test]
    fn a_flow_is_a_line() {
        let table =
            TableView { settled: 2, settled_size: 8, new: 1, new_size: 4, made: 9, ..TableView::default() };
        let view = FlowsView { flows: vec![ping(), published()], table };
        assert_eq!(
            text(&view),
            "\
STATE        PROTOCOL  ORIGINATOR                 RESPONDER           TRANSLATED         AGE  IDLE   LEFT  PACKETS     BYTES  POLICY
one-way      icmpv6    shop/client [fd77::2]:7    (gone) fd77::3      -                1m01s    0s   over      5/4  400/1300  to be re-checked (2)
established  tcp       outside 198.51.100.1:5000  web 192.0.2.1:8080  to 10.77.0.4:80  1m01s    0s  2h13m      5/4  400/1300  current (3)

2 flows, entries: 2 of 8 settled, 1 of 4 new; 9 made, 0 removed, 0 flushed, 0 evicted
"
        );
    }

    #[test]
    fn without_flows_there_is_no_table() {
        let view = FlowsView { flows: Vec::new(), table: TableView::default() };
        assert_eq!(
            text(&view),
            "no flows, entries: 0 of 0 settled, 0 of 0 new; 0 made, 0 removed, 0 flushed, 0 evicted\n"
        );
    }

    #[test]
    fn programs_get_stable_names() {
        let json = serde_json::to_value(published()).unwrap();
        for (field, wanted) in [
            ("/state", "\"established\""),
            (
                "/originator",
                "{\"addr\":\"198.51.100.1\",\"endpoint\":null,\"kind\":\"outside\",\"port\":5000}",
            ),
            ("/destination_nat/addr", "\"10.77.0.4\""),
            ("/source_nat", "null"),
            ("/left_ns", "8000000000000"),
            ("/replied/bytes", "1300"),
        ] {
            assert_eq!(json.pointer(field).unwrap().to_string(), wanted, "{field}");
        }
        assert_eq!(serde_json::to_value(FlowState::OneWay).unwrap(), "one-way");
    }

    #[test]
    fn times_are_in_two_units() {
        for (seconds, wanted) in
            [(0, "0s"), (59, "59s"), (60, "1m00s"), (3600, "1h00m"), (8000, "2h13m"), (90_000, "1d01h")]
        {
            assert_eq!(duration(seconds * SECOND), wanted);
        }
    }

    #[test]
    fn protocols_have_names_and_numbers() {
        assert_eq!(parse_protocol("icmpv6"), Ok(58));
        assert_eq!(parse_protocol("47"), Ok(47));
        assert!(parse_protocol("256").unwrap_err().starts_with("not a protocol"));
    }
}
