//! netfast, brought up as its users do it: an instance with files of its own in the peer's host namespace.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use super::cgroup::Cgroup;
use super::ground::{CLIENT, DEVICE, Ground, OUTSIDE, SERVER, SUBNET, UPLINK_SUBNET, wait_for};
use super::{FIRST_PORT, Site, last, middle, stranger};
use crate::bench::plan::Scale;
use crate::kernel::{Bpffs, Datapath};
use crate::model::{
    Endpoint, EndpointId, Name, Network, Operator, Peer, Policy, PortMatch, PortRange, Ports, Protocol,
    Publish, Requirement, Rule, Selector, Source, World,
};
use crate::net::Netns;
use crate::reconcile::instance::{Instance, Options};
use crate::store::{Definitions, Paths, PathsOptions};

const APP: &str = "app";
const NETWORK: &str = "bench";

/// Numbers instances, so that each has a directory and a cgroup of its own.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// An instance that is up; taken down when dropped.
pub(crate) struct Installed {
    options: Options,
    host: Netns,
    cgroup: Cgroup,
    scale: Scale,
}

impl Installed {
    /// Brings an instance up.
    pub(super) fn new(ground: &Ground, scale: Scale, site: &Site) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = site.directory.join(format!("netfast-{number}"));
        fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
        let cgroup = Cgroup::new(&site.cgroup, number)?;
        let path = |name: &str| Some(directory.join(name));
        let paths = PathsOptions {
            state_dir: path("state"),
            run_dir: path("run"),
            bpffs: path("bpf"),
            cgroup: Some(cgroup.path.clone()),
        };
        let options = Options { paths, ..Options::default() };
        let installed = Self { options, host: ground.host.try_clone()?, cgroup, scale };
        let world = world(scale)?;
        installed.change(|definitions| definitions.world = world)?;
        for container in installed.containers()? {
            wait_for(&container, DEVICE)?;
        }
        Ok(installed)
    }

    /// The client's container and the server's.
    pub(super) fn containers(&self) -> Result<[Netns; 2]> {
        let open = |name| anyhow::Ok(Netns::open(&Instance::exec_context(&self.options, name)?.netns)?);
        Ok([open("client")?, open("server")?])
    }

    /// Changes what the instance is asked for.
    pub(crate) fn change(&self, edit: impl FnOnce(&mut Definitions) + Send) -> Result<()> {
        self.host.run(|| {
            Instance::open(&self.options)?.change(|definitions| {
                edit(definitions);
                Ok(())
            })
        })?
    }

    /// Publishes the ports of its scale anew, or none.
    pub(crate) fn publish(&self, on: bool) -> Result<()> {
        let publish = if on { published(self.scale) } else { Vec::new() };
        self.change(|definitions| {
            for endpoint in definitions.world.endpoints.values_mut() {
                if endpoint.ip == Some(SERVER) {
                    endpoint.publish.clone_from(&publish);
                }
            }
        })
    }

    /// Adds an endpoint with a published port.
    pub(crate) fn add(&self, name: &str, port: u16) -> Result<()> {
        let mut endpoint = endpoint(name, "more")?;
        endpoint.publish.push(publish(port, port, Protocol::Tcp));
        self.host.run(|| {
            Instance::open(&self.options)?.add_endpoint(|_| Ok(endpoint.clone()))?;
            Ok(())
        })?
    }

    /// Removes an endpoint.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let names = [id(name)?.to_string()];
        self.host.run(|| Instance::open(&self.options)?.remove_endpoints(&names, false))?
    }

    /// Denies the world outside, or no longer.
    pub(crate) fn deny_outside(&self, on: bool) -> Result<()> {
        let source = IpNet::from(IpAddr::V4(OUTSIDE));
        self.change(|definitions| {
            if on {
                definitions.deny.insert(source);
            } else {
                definitions.deny.remove(&source);
            }
        })
    }

    /// Calls `work` with the process in the cgroup of the instance, so that its connections are seen by the programs of
    /// the host's sockets: all, the containers' too, as where these are attached to the root.
    pub(crate) fn inside<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.cgroup.hold(work)
    }

    /// Programs and maps.
    pub(crate) fn datapath(&self) -> Result<Datapath> {
        let paths = Paths::resolve(self.options.paths.clone())?;
        let datapath = self.host.run(|| Datapath::open(&Bpffs::at(&paths.bpffs)))??;
        datapath.context("the instance has no maps")
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let down = self.host.run(|| Instance::open(&self.options).and_then(Instance::down));
        match down {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("an instance of the benchmark cannot be taken down: {error:#}"),
            Err(error) => tracing::warn!(%error, "an instance of the benchmark cannot be taken down"),
        }
    }
}

/// Two endpoints, and policies for both: what the client may do, and what may be done to the server.
fn world(scale: Scale) -> Result<World> {
    let network = Network { subnet: Some(SUBNET.parse()?), ..Network::new(NETWORK.parse()?) };
    let mut world = World { networks: [(network.name.clone(), network)].into(), ..World::default() };
    for (name, ip) in [("client", CLIENT), ("server", SERVER)] {
        let mut endpoint = endpoint(name, name)?;
        endpoint.ip = Some(ip);
        if name == "server" {
            endpoint.publish = published(scale);
        }
        world.endpoints.insert(endpoint.id.clone(), endpoint);
    }
    let outside: IpNet = UPLINK_SUBNET.parse()?;
    let mut ingress: Vec<_> =
        (1..scale.rules).map(|number| rule(vec![stranger_of(number)], Some(443))).collect();
    ingress.push(rule(vec![labelled("client"), block(outside)], None));
    world.policies.push(policy("server", Some(ingress), None)?);
    let egress = rule(vec![labelled("server"), block(outside)], None);
    world.policies.push(policy("client", None, Some(vec![egress]))?);
    Ok(world)
}

fn id(name: &str) -> Result<EndpointId> {
    Ok(EndpointId { namespace: "default".parse()?, name: name.parse()? })
}

fn endpoint(name: &str, app: &str) -> Result<Endpoint> {
    let network: Name = NETWORK.parse()?;
    let labels = [(APP.to_owned(), app.to_owned())].into();
    Ok(Endpoint { labels, ..Endpoint::new(id(name)?, network) })
}

fn published(scale: Scale) -> Vec<Publish> {
    let used = middle(scale.ports);
    vec![publish(FIRST_PORT, last(scale.ports), Protocol::Tcp), publish(used, used, Protocol::Udp)]
}

const fn publish(first: u16, last: u16, protocol: Protocol) -> Publish {
    let range = PortRange { first, last };
    Publish {
        host_ip: None,
        host: Some(range),
        container: range,
        protocol,
        from: Vec::new(),
        bindable: false,
    }
}

fn policy(app: &str, ingress: Option<Vec<Rule>>, egress: Option<Vec<Rule>>) -> Result<Policy> {
    Ok(Policy {
        namespace: "default".parse()?,
        name: app.parse()?,
        source: Source::default(),
        selector: select(app),
        ingress,
        egress,
        audit: false,
    })
}

fn rule(peers: Vec<Peer>, port: Option<u16>) -> Rule {
    let tcp = |port| PortMatch { protocol: Protocol::Tcp, ports: Ports::Range(PortRange::single(port)) };
    Rule { source: Source::default(), peers: Some(peers), ports: port.map(|port| vec![tcp(port)]) }
}

fn labelled(app: &str) -> Peer {
    Peer::Endpoints { namespaces: None, endpoints: select(app) }
}

fn select(app: &str) -> Selector {
    let operator = Operator::In([app.to_owned()].into());
    Selector { requirements: vec![Requirement { key: APP.to_owned(), operator }] }
}

const fn block(cidr: IpNet) -> Peer {
    Peer::Block { cidr, except: Vec::new() }
}

fn stranger_of(number: u16) -> Peer {
    let address: Ipv4Addr = stranger(number);
    block(IpNet::from(IpAddr::V4(address)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::check;

    #[test]
    fn worlds_of_every_size_contradict_nothing() {
        for scale in [Scale::ONE, Scale::ports(10_000), Scale::rules(10_000)] {
            let world = world(scale).unwrap();
            assert_eq!(check(&world), [], "{scale:?}");
            let rules = world.policies[0].ingress.as_ref().map(Vec::len);
            assert_eq!(rules, Some(usize::from(scale.rules)));
        }
    }
}
