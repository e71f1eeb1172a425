//! `netfast endpoint`.

mod add;
mod label;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::options::{Format, FormatArgs};
use super::table::Table;
use super::{cells, output, root};
use crate::reconcile::instance::{Instance, Options};
use crate::reconcile::view::{DirectionView, EndpointView};

/// Change and look at endpoints.
#[derive(Debug, Subcommand)]
pub(super) enum Endpoint {
    Add(Box<add::Add>),
    Label(label::Label),
    /// Take endpoints down and forget them.
    Rm {
        /// Names, with NAMESPACE/ before them where several namespaces have the name.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Pass over names that no endpoint has.
        #[arg(long)]
        ignore_missing: bool,
    },
    /// List the endpoints.
    Ls(FormatArgs),
    /// Show everything about one endpoint.
    Inspect {
        /// Its name, with NAMESPACE/ before it where several namespaces have the name.
        name: String,
        #[command(flatten)]
        format: FormatArgs,
    },
}

impl Endpoint {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        root::need()?;
        match self {
            Self::Add(command) => command.run(options)?,
            Self::Label(command) => command.run(options)?,
            Self::Rm { names, ignore_missing } => {
                Instance::open(options)?.remove_endpoints(names, *ignore_missing)?;
            }
            Self::Ls(FormatArgs { format }) => {
                let endpoints = Instance::view(options)?.endpoints;
                output::show(*format, &endpoints, || match endpoints.as_slice() {
                    [] => "no endpoints\n".to_owned(),
                    endpoints => table(endpoints).render(""),
                })?;
            }
            Self::Inspect { name, format } => inspect(options, name, format.format)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn what(&self) -> String {
        match self {
            Self::Add(command) => command.what(),
            Self::Label(command) => command.what(),
            Self::Rm { .. } => "endpoint rm".to_owned(),
            Self::Ls(_) => "endpoint ls".to_owned(),
            Self::Inspect { name, .. } => format!("endpoint inspect {name}"),
        }
    }
}

fn inspect(options: &Options, name: &str, format: Format) -> Result<()> {
    let id = Instance::find(options, name)?;
    let view = Instance::view(options)?;
    let endpoint = view
        .endpoints
        .iter()
        .find(|e| e.name == id.name.as_str() && e.namespace == id.namespace.as_str())
        .with_context(|| format!("endpoint {id} is defined but not up (netfast up brings it up)"))?;
    output::show(format, endpoint, || details(endpoint))
}

/// The endpoints, a line each.
pub(super) fn table(endpoints: &[EndpointView]) -> Table<9> {
    let mut table = Table::new([
        "NAME",
        "NETWORK",
        "ADDRESSES",
        "MAC",
        "INTERFACE",
        "LABELS",
        "INGRESS",
        "EGRESS",
        "STATE",
    ]);
    for endpoint in endpoints {
        table.row([
            cells::endpoint_name(endpoint),
            endpoint.network.clone(),
            cells::addresses(endpoint),
            endpoint.mac.clone(),
            endpoint.host_ifname.clone(),
            cells::labels(&endpoint.labels),
            cells::direction(&endpoint.isolation.ingress),
            cells::direction(&endpoint.isolation.egress),
            cells::readiness(endpoint.ready),
        ]);
    }
    table
}

/// One endpoint, a line for each thing known of it.
fn details(endpoint: &EndpointView) -> String {
    let mut table = Table::bare();
    let list = |items: Vec<String>| items.join(", ");
    let counts = |counts: &BTreeMap<String, u64>| {
        list(counts.iter().map(|(reason, packets)| format!("{reason} {packets}")).collect())
    };
    for (name, value) in [
        ("name", endpoint.name.clone()),
        ("namespace", endpoint.namespace.clone()),
        ("labels", cells::labels(&endpoint.labels)),
        ("network", endpoint.network.clone()),
        ("addresses", cells::addresses(endpoint)),
        ("mac", endpoint.mac.clone()),
        ("mtu", endpoint.mtu.to_string()),
        ("sources", if endpoint.source_check { "" } else { "not checked" }.to_owned()),
        ("way in", if endpoint.redirect { "" } else { "by its host interface" }.to_owned()),
        ("netns", endpoint.netns.display().to_string()),
        ("host interface", endpoint.host_ifname.clone()),
        ("ports", list(endpoint.ports.iter().map(cells::named_port).collect())),
        ("published", endpoint.publish.join(", ")),
        ("command", cells::optional(endpoint.pid.map(|pid| format!("runs as process {pid}")))),
        ("ingress", isolation(&endpoint.isolation.ingress)),
        ("egress", isolation(&endpoint.isolation.egress)),
        ("state", cells::readiness(endpoint.ready)),
        ("dropped", counts(&endpoint.drops)),
        ("audited", counts(&endpoint.audited)),
    ] {
        if !value.is_empty() {
            table.row([name.to_owned(), value]);
        }
    }
    table.render("")
}

/// What a direction lets through, and where the policies that isolate it are written.
fn isolation(direction: &DirectionView) -> String {
    if !direction.isolated {
        return cells::direction(direction);
    }
    let policies = direction.policies.iter().zip(&direction.sources);
    let policies: Vec<_> = policies.map(|(policy, source)| format!("{policy} in {source}")).collect();
    format!("isolated by {}", policies.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn an_endpoint_is_a_line() {
        assert_eq!(
            table(&[testing::endpoint()]).render(""),
            "NAME  NETWORK  ADDRESSES           MAC                INTERFACE  LABELS   INGRESS      EGRESS  STATE\n\
             web   lab      10.77.0.2, fd77::2  02:00:00:00:00:10  nf1        app=web  default/web  open    ready\n"
        );
    }

    #[test]
    fn details_leave_out_what_is_not_there() {
        let text = details(&testing::endpoint());
        assert!(text.contains("dropped         policy_ingress 2\n"), "{text}");
        assert!(text.contains("audited         policy_egress 3\n"), "{text}");
        assert!(text.contains("ingress         isolated by default/web in web.yaml:3\n"), "{text}");
        assert!(text.contains("egress          open\n"), "{text}");
        assert!(!text.contains("command"), "{text}");
    }
}
