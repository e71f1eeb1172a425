//! `netfast endpoint add`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::super::{cells, output};
use crate::manifest::{self, TextError, netns, publish};
use crate::model::{Attachment, Endpoint, EndpointId, Name, NamedPort, Network, Publish};
use crate::reconcile::instance::{Instance, Options};

const EXAMPLES: &str = "\
Examples:
  netfast endpoint add probe                             a namespace of its own in the only network
  netfast endpoint add api -l app=api -p 9000:80         with a label and a published port
  netfast endpoint add vm --network lab --netns blue     into the existing namespace /run/netns/blue
  netfast endpoint add job -- python3 -m http.server 80  with a command that runs inside";

/// Add an endpoint to a running instance.
///
/// It stays until it is removed or the network goes down, whatever file is brought up meanwhile.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in super::super) struct Add {
    /// Its name.
    #[arg(value_parser = manifest::name::parse_label)]
    name: Name,
    /// Its namespace, in the sense of policies.
    #[arg(long, default_value = "default", value_parser = manifest::name::parse_label)]
    namespace: Name,
    /// The network it joins; may be left out where there is one only.
    #[arg(long, value_parser = manifest::name::parse)]
    network: Option<Name>,
    /// A label, for policies. May be repeated.
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = manifest::parse_label)]
    labels: Vec<(String, String)>,
    /// Its IPv4 address [default: the lowest free one].
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Its IPv6 address [default: the lowest free one].
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// Its MAC address.
    #[arg(long, value_parser = parse_mac)]
    mac: Option<Mac>,
    /// Largest IP packet in bytes [default: the network's].
    #[arg(long)]
    mtu: Option<u16>,
    /// Let it send from any MAC and IP address, for a virtual machine or a bridge inside.
    #[arg(long)]
    no_source_check: bool,
    /// Send packets to it out of its host veth, past what others attach there, instead of redirecting them inside.
    #[arg(long)]
    no_redirect: bool,
    /// A port it serves, as 80/tcp or http=80/tcp. May be repeated.
    #[arg(long = "port", value_name = "PORT", value_parser = manifest::parse_port)]
    ports: Vec<NamedPort>,
    /// A port of this host that leads to it, in any form of `docker run -p`. May be repeated.
    #[arg(short = 'p', long, value_name = "PORTS", value_parser = publish::parse)]
    publish: Vec<Publish>,
    /// An existing network namespace, by name or path.
    #[arg(long, value_name = "NETNS", value_parser = netns::parse, conflicts_with = "pid")]
    netns: Option<PathBuf>,
    /// A process whose network namespace it is.
    #[arg(long)]
    pid: Option<u32>,
    /// A command to run inside, and its arguments.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// A MAC address, in a type of its own: clap would read an array as several values.
#[derive(Clone, Copy, Debug)]
struct Mac([u8; 6]);

fn parse_mac(text: &str) -> Result<Mac, TextError> {
    manifest::parse_mac(text).map(Mac)
}

impl Add {
    pub(super) fn run(&self, options: &Options) -> Result<()> {
        let mut instance = Instance::open(options)?;
        let id = instance.add_endpoint(|networks| self.endpoint(networks))?;
        let (ip, ip6) = instance.addresses(&id)?;
        let addresses = cells::both(ip, ip6);
        output::line(&format!("endpoint {id}: {addresses}"))
    }

    pub(super) fn what(&self) -> String {
        format!("endpoint add {}", self.name)
    }

    fn endpoint(&self, networks: &BTreeMap<Name, Network>) -> Result<Endpoint> {
        let network = match (&self.network, networks.keys().collect::<Vec<_>>().as_slice()) {
            (Some(network), _) if networks.contains_key(network) => network.clone(),
            (None, [only]) => (*only).clone(),
            (_, []) => bail!("there is no network (bring one up first: netfast up -f FILE)"),
            (Some(network), known) => bail!("there is no network {network} (known: {})", join(known)),
            (None, known) => bail!("there are several networks (say which with --network: {})", join(known)),
        };
        let attachment = match (&self.netns, self.pid) {
            (Some(path), _) => Attachment::Path(path.clone()),
            (None, Some(pid)) => Attachment::Pid(pid),
            (None, None) => Attachment::Create,
        };
        let id = EndpointId { namespace: self.namespace.clone(), name: self.name.clone() };
        Ok(Endpoint {
            labels: self.labels.iter().cloned().collect(),
            ports: self.ports.clone(),
            publish: self.publish.clone(),
            ip: self.ip,
            ip6: self.ip6,
            mac: self.mac.map(|Mac(mac)| mac),
            mtu: self.mtu,
            source_check: !self.no_source_check,
            redirect: !self.no_redirect,
            attachment,
            command: Some(self.command.clone()).filter(|command| !command.is_empty()),
            ..Endpoint::new(id, network)
        })
    }
}

fn join(names: &[&Name]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::super::testing::network;
    use super::super::super::{Cli, Command};
    use super::super::Endpoint as Noun;
    use super::*;

    fn add(args: &[&str]) -> Box<Add> {
        let cli = Cli::try_parse_from([&["netfast", "endpoint", "add"], args].concat()).unwrap();
        match cli.command {
            Command::Endpoint(Noun::Add(add)) => add,
            other => panic!("{other:?}"),
        }
    }

    fn networks(names: &[&str]) -> BTreeMap<Name, Network> {
        let networks = names.iter().map(|name| network(name, "10.0.0.0/24"));
        networks.map(|n| (n.name.clone(), n)).collect()
    }

    #[test]
    fn arguments_become_an_endpoint() {
        let add = add(&[
            "web",
            "--namespace",
            "shop",
            "-l",
            "app=web",
            "--port",
            "http=80/tcp",
            "-p",
            "8080:80",
            "--netns",
            "blue",
            "--mac",
            "02:00:00:00:00:01",
            "--",
            "sleep",
            "-v",
        ]);
        let endpoint = add.endpoint(&networks(&["lab"])).unwrap();
        assert_eq!(endpoint.id.to_string(), "shop/web");
        assert_eq!(endpoint.network.as_str(), "lab");
        assert_eq!(endpoint.attachment, Attachment::Path("/run/netns/blue".into()));
        assert_eq!(endpoint.command.unwrap(), ["sleep", "-v"]);
        assert_eq!(endpoint.mac, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!((endpoint.publish.len(), endpoint.ports.len()), (1, 1));
    }

    #[test]
    fn the_network_must_be_clear() {
        let error = |networks: &[&str], args: &[&str]| {
            add(args).endpoint(&self::networks(networks)).unwrap_err().to_string()
        };
        assert!(error(&[], &["web"]).contains("netfast up -f FILE"));
        assert!(error(&["a", "b"], &["web"]).contains("--network: a, b"));
        assert!(error(&["a"], &["web", "--network", "c"]).contains("known: a"));
    }
}
