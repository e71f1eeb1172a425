//! Reads an instance for those who look at it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use netfast_common::counter::{self, Count, Path as CounterPath};
use netfast_common::reason::DropReason;
use netfast_common::rows::{ENDPOINT_READY, EndpointDropKey};

use super::assign::Records;
use super::check::{self, Problem, Remedy};
use super::converge::assigned;
use super::numbers;
use super::view::{
    CountView, CounterView, DirectionView, EndpointView, InstanceView, IsolationView, LinkView, MapView,
    NamedPortView, NetworkView, ObjectView, PortView, ProgramView, SubnetView, UplinkView,
};
use crate::compile::policy::{self, Isolation, PolicyRef, Tables};
use crate::kernel::{Bpffs, Datapath, Hook, MapUsage, ObjectState, XdpMode, active_readers, default_cgroup};
use crate::model::{Endpoint, Network, Publish, Subnet, World};
use crate::net::{Link, Netlink, Netns, alive};
use crate::store::{Definitions, EndpointRecord, Instance, NetworkRecord, Store};

/// Everything there is to see.
///
/// # Errors
/// When a state file or the kernel cannot be read.
pub(super) fn view(store: &Store) -> Result<InstanceView> {
    let netns = Netns::current()?;
    let instance = instance(store, &netns)?;
    let definitions = store.definitions()?;
    let records = match &instance {
        Some(_) => Records::read(store)?,
        None => Records::default(),
    };
    let datapath = Datapath::open(&Bpffs::at(&store.paths().bpffs))?;
    let links = Netlink::open(&netns)?.links()?;
    let numbers = numbers::read(store)?;
    let tables = policy::compile(&definitions.world, &assigned(&records), &numbers, usize::MAX)?;
    let shown = Shown { definitions: &definitions, records: &records, tables: &tables, links: &links };
    let mut view = InstanceView {
        up: instance.is_some() && datapath.is_some(),
        state_dir: store.paths().state_dir.clone(),
        run_dir: store.paths().run_dir.clone(),
        bpffs: store.paths().bpffs.clone(),
        problems: Vec::new(),
        limits: Vec::new(),
        networks: shown.networks(),
        endpoints: shown.endpoints(),
        ports: shown.ports(),
        uplinks: Vec::new(),
        programs: Vec::new(),
        object: None,
        maps: Vec::new(),
        links: Vec::new(),
        deny: definitions.deny.iter().map(ToString::to_string).collect(),
        policies: policy_names(&definitions.world),
        generation: 0,
        monitors: 0,
        flows: None,
        counters: CounterView::default(),
    };
    if instance.is_some() {
        let (limits, problems): (Vec<_>, Vec<_>) =
            check::problems(store)?.into_iter().partition(|problem| problem.remedy == Remedy::None);
        let texts = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.text).collect();
        view.limits = texts(limits);
        view.problems = texts(problems);
    }
    if let Some(datapath) = &datapath {
        view.monitors = active_readers(&Bpffs::at(&store.paths().bpffs))?.len();
        view.generation = datapath.maps.config.get(0)?.generation;
        view.uplinks = uplinks(datapath, &links, !definitions.deny.is_empty())?;
        view.programs = programs(datapath)?;
        view.object = object(datapath)?;
        view.maps = maps(datapath)?;
        view.links = attached(datapath, &links, instance.and_then(|instance| instance.cgroup))?;
        view.flows = Some(datapath.flow_counts()?.into());
        view.counters = counters(&datapath.maps.counters.all()?);
        mark_endpoints(datapath, &records, &mut view.endpoints)?;
    }
    Ok(view)
}

/// What is recorded of the instance; `None`: nothing since the last boot.
///
/// # Errors
/// When it cannot be read, or it is another network namespace's.
pub(super) fn instance(store: &Store, netns: &Netns) -> Result<Option<Instance>> {
    // What an earlier boot recorded is void.
    let instance = match store.instance()? {
        Some(instance) if instance.is_of_this_boot()? => Some(instance),
        _ => None,
    };
    if let Some(instance) = &instance
        && instance.netns.cookie != netns.cookie()?
    {
        bail!(
            "the instance in {} belongs to another network namespace, net:[{}] (run netfast there)",
            store.paths().state_dir.display(),
            instance.netns.ino
        );
    }
    Ok(instance)
}

/// What the tables of definitions and records are made from.
struct Shown<'a> {
    definitions: &'a Definitions,
    records: &'a Records,
    tables: &'a Tables,
    links: &'a [Link],
}

impl Shown<'_> {
    fn world(&self) -> &World {
        &self.definitions.world
    }

    fn networks(&self) -> Vec<NetworkView> {
        let count = |network: &Network| {
            self.records.endpoints.values().filter(|record| record.network == network.name).count()
        };
        let view = |(network, record): (&Network, &NetworkRecord)| NetworkView {
            name: network.name.to_string(),
            bridge: (!record.adopted).then(|| record.bridge.clone()),
            subnet: network.subnet.map(|net| net.to_string()),
            subnet6: network.subnet6.map(|net| net.to_string()),
            gateway: network.gateway(),
            gateway6: network.gateway6(),
            more: network.more.iter().map(subnet_view).collect(),
            internal: network.internal,
            routed: network.routed,
            mtu: network.mtu,
            endpoints: count(network),
        };
        let networks = self.world().networks.values();
        networks.filter_map(|n| Some((n, self.records.networks.get(&n.name)?))).map(view).collect()
    }

    fn endpoints(&self) -> Vec<EndpointView> {
        let endpoints = self.world().endpoints.values();
        endpoints
            .filter_map(|endpoint| Some(self.endpoint(endpoint, self.records.endpoints.get(&endpoint.id)?)))
            .collect()
    }

    fn endpoint(&self, endpoint: &Endpoint, record: &EndpointRecord) -> EndpointView {
        let link = self.links.iter().find(|link| link.name == record.host_ifname);
        let isolation = self.tables.isolating.get(&endpoint.id);
        EndpointView {
            name: endpoint.id.name.to_string(),
            namespace: endpoint.id.namespace.to_string(),
            labels: endpoint.labels.clone(),
            network: endpoint.network.to_string(),
            ip: record.ip,
            ip6: record.ip6,
            more: record.more.clone(),
            mac: netfast_common::addr::Mac::new(record.mac).to_string(),
            mtu: record.mtu,
            source_check: endpoint.source_check,
            redirect: endpoint.redirect,
            netns: record.netns.clone(),
            host_ifname: record.host_ifname.clone(),
            host_ifindex: link.map(|link| link.index),
            ports: endpoint
                .ports
                .iter()
                .map(|port| NamedPortView {
                    name: port.name.clone(),
                    port: port.port,
                    protocol: port.protocol.name(),
                })
                .collect(),
            publish: record.publish.iter().map(|record| publish_text(&record.publish)).collect(),
            pid: record
                .command
                .as_ref()
                .filter(|command| alive(command.pid, command.start_time))
                .map(|command| command.pid),
            isolation: isolation.map(isolation_view).unwrap_or_default(),
            ready: false,
            drops: BTreeMap::new(),
            audited: BTreeMap::new(),
        }
    }

    fn ports(&self) -> Vec<PortView> {
        let records = self.records.endpoints.values();
        let mut ports: Vec<_> = records
            .flat_map(|record| record.publish.iter().map(move |own| (record, &own.publish)))
            .filter_map(|(record, publish)| Some((publish.host?, record, publish)))
            .collect();
        ports.sort_by_key(|(host, _, publish)| (*host, publish.protocol));
        ports
            .into_iter()
            .map(|(host, record, publish)| PortView {
                host_ip: publish.host_ip,
                host: host.to_string(),
                protocol: publish.protocol.name(),
                endpoint: record.id.to_string(),
                container: publish.container.to_string(),
                from: publish.from.clone(),
            })
            .collect()
    }
}

fn subnet_view(subnet: &Subnet) -> SubnetView {
    SubnetView { subnet: subnet.net.to_string(), gateway: subnet.gateway() }
}

/// All policies, those of the cluster last.
fn policy_names(world: &World) -> Vec<String> {
    let of_namespaces = world.policies.iter().map(PolicyRef::from);
    let of_cluster = world.cluster_policies.iter().map(PolicyRef::from);
    of_namespaces.chain(of_cluster).map(|policy| policy.to_string()).collect()
}

/// As `docker run -p` writes it.
fn publish_text(publish: &Publish) -> String {
    let Publish { host_ip, host, container, protocol, from: _, bindable: _ } = publish;
    let host = host.map(|host| format!("{host}:")).unwrap_or_default();
    let ip = match host_ip {
        None => String::new(),
        Some(ip) if ip.is_ipv6() => format!("[{ip}]:"),
        Some(ip) => format!("{ip}:"),
    };
    format!("{ip}{host}{container}/{protocol}")
}

fn isolation_view(isolation: &Isolation) -> IsolationView {
    let direction = |policies: &[PolicyRef]| DirectionView {
        isolated: !policies.is_empty(),
        policies: policies.iter().map(ToString::to_string).collect(),
        sources: policies.iter().map(|policy| policy.source.to_string()).collect(),
    };
    IsolationView { ingress: direction(&isolation.ingress), egress: direction(&isolation.egress) }
}

/// Adds what the kernel knows of the endpoints.
fn mark_endpoints(datapath: &Datapath, records: &Records, views: &mut [EndpointView]) -> Result<()> {
    let attached = datapath.attached()?;
    let drops = datapath.maps.endpoint_drops.to_map()?;
    let incarnations: BTreeMap<_, _> = records
        .endpoints
        .values()
        .map(|r| ((r.id.namespace.to_string(), r.id.name.to_string()), r.incarnation))
        .collect();
    for view in views {
        let Some(incarnation) = incarnations.get(&(view.namespace.clone(), view.name.clone())) else {
            continue;
        };
        if let Some(ifindex) = view.host_ifindex {
            let row = datapath.maps.endpoints.get(&ifindex)?;
            let hooks = [Hook::EndpointIngress, Hook::EndpointEgress];
            view.ready = row.is_some_and(|row| row.flags & ENDPOINT_READY != 0)
                && hooks
                    .iter()
                    .all(|hook| attached.iter().any(|a| a.hook == *hook && a.ifindex == ifindex && a.alive));
        }
        for (key, count) in drops.iter().filter(|(key, _)| key.incarnation == *incarnation) {
            let counts =
                if key.reason & EndpointDropKey::AUDITED == 0 { &mut view.drops } else { &mut view.audited };
            let code = u8::try_from(key.reason & !EndpointDropKey::AUDITED).ok();
            if let Some(reason) = code.and_then(DropReason::from_code) {
                counts.insert(reason.name().to_owned(), count.packets);
            }
        }
    }
    Ok(())
}

fn device(links: &[Link], ifindex: u32) -> String {
    let link = links.iter().find(|link| link.index == ifindex);
    link.map_or_else(|| format!("#{ifindex}"), |link| link.name.clone())
}

fn uplinks(datapath: &Datapath, links: &[Link], is_denying: bool) -> Result<Vec<UplinkView>> {
    let deny = datapath.deny_attached()?;
    let rows = datapath.maps.uplinks.to_map()?;
    let views = rows.into_iter().map(|(ifindex, row)| {
        let mode = deny.iter().find(|attached| attached.ifindex == ifindex).map(|a| xdp_hook(a.mode));
        let ip = |addr: netfast_common::addr::Addr| {
            Some(std::net::IpAddr::from(addr)).filter(|ip| !ip.is_unspecified())
        };
        UplinkView {
            device: device(links, ifindex),
            ifindex,
            ip: ip(row.ip4).and_then(|ip| if let std::net::IpAddr::V4(ip) = ip { Some(ip) } else { None }),
            ip6: ip(row.ip6).and_then(|ip| if let std::net::IpAddr::V6(ip) = ip { Some(ip) } else { None }),
            deny: if is_denying { Some(mode.unwrap_or("tcx")) } else { None },
        }
    });
    Ok(views.collect())
}

fn xdp_hook(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Driver => "xdp-native",
        XdpMode::Generic => "xdp-generic",
    }
}

fn programs(datapath: &Datapath) -> Result<Vec<ProgramView>> {
    let programs = datapath.programs()?;
    Ok(programs
        .into_iter()
        .map(|program| ProgramView { name: program.name.to_owned(), id: program.id, kind: program.kind })
        .collect())
}

/// Which object is in force: while a replacement is not finished, the one that is to go.
fn object(datapath: &Datapath) -> Result<Option<ObjectView>> {
    let ObjectState { pinned, own } = datapath.object()?;
    let other = pinned.iter().find(|digest| *digest != own);
    let digest = other.or(pinned.first()).cloned();
    Ok(digest.map(|digest| ObjectView { is_own: digest == own, digest, own }))
}

fn maps(datapath: &Datapath) -> Result<Vec<MapView>> {
    let usage = datapath.usage()?.into_iter();
    Ok(usage
        .map(|MapUsage { name, limit, size, used, bytes }| MapView { name, limit, size, used, bytes })
        .collect())
}

fn attached(datapath: &Datapath, links: &[Link], cgroup: Option<PathBuf>) -> Result<Vec<LinkView>> {
    let mut views: Vec<_> = datapath
        .attached()?
        .into_iter()
        .map(|attached| LinkView {
            program: attached.hook.program().to_owned(),
            hook: attached.kind.name(),
            direction: Some(if attached.hook.is_egress() { "egress" } else { "ingress" }),
            target: device(links, attached.ifindex),
            program_id: Some(attached.program_id),
            alive: attached.alive,
        })
        .collect();
    views.extend(datapath.deny_attached()?.into_iter().map(|attached| LinkView {
        program: "deny_xdp".to_owned(),
        hook: xdp_hook(attached.mode),
        direction: Some("ingress"),
        target: device(links, attached.ifindex),
        program_id: Some(attached.program_id),
        alive: attached.alive,
    }));
    if datapath.sockets_attached()?.is_some() {
        let cgroup = cgroup.or_else(|| default_cgroup().ok()).unwrap_or_default();
        let sockets =
            datapath.programs()?.into_iter().filter(|program| program.kind.starts_with("cgroup_sock"));
        views.extend(sockets.map(|program| LinkView {
            program: program.name.to_owned(),
            hook: "cgroup",
            direction: None,
            target: cgroup.display().to_string(),
            program_id: None,
            alive: true,
        }));
    }
    Ok(views)
}

fn counters(counts: &[Count]) -> CounterView {
    let count = |index: u32| {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        counts
            .get(index)
            .map_or_else(CountView::default, |c| CountView { packets: c.packets, bytes: c.bytes })
    };
    CounterView {
        paths: CounterPath::ALL
            .iter()
            .map(|path| (path.name().to_owned(), count(counter::path_index(*path))))
            .collect(),
        drops: DropReason::ALL
            .iter()
            .map(|reason| (reason.name().to_owned(), count(counter::drop_index(*reason))))
            .collect(),
        audited: [DropReason::PolicyIngress, DropReason::PolicyEgress]
            .map(|reason| (reason.name().to_owned(), count(counter::audit_index(reason))))
            .into(),
    }
}
