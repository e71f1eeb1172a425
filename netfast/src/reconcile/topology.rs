//! Bridges, namespaces and veth pairs: makes them, takes them down, and sees which are whole.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;

use super::assign::Records;
use super::check::{self, Problem};
use super::damage::Lost;
use super::host::Host;
use super::owner::Owner;
use super::{adopt, apart, assign, commands, damage, files, limits};
use crate::kernel::{Hook, Mode};
use crate::model::{Endpoint, EndpointId, Name, Network, World};
use crate::net::{self, BridgeSpec, ContainerSpec, Netlink, Netns, VethPair, VethSpec, configure_container};
use crate::store::{Definitions, EndpointRecord, NetworkRecord, Origin, fault};

/// Sees that the namespaces endpoints are to live in exist, before anything is changed. An endpoint that was defined
/// before and whose namespace has gone is left out of `new`: that must not keep others from being changed. Returns those.
/// A container never changes its namespace, so where a path means another one by now, or none, the container is gone.
///
/// # Errors
/// When one that is new does not exist, or is the host's own.
pub(super) fn check_namespaces(
    host: &Host<'_>,
    definitions: &Definitions,
    known: &World,
    new: &mut Records,
) -> Result<Vec<Problem>> {
    let own = host.netns.inode()?;
    let world = &definitions.world;
    let is_container = |id| definitions.origins.get(id) == Some(&Origin::Cni);
    let mut gone = Vec::new();
    let mut problems = Vec::new();
    // Those of devices that another plugin made are looked for with these.
    let is_adopted = |id| world.endpoints.get(id).is_some_and(|e: &Endpoint| e.attachment.is_adopted());
    let own_way = new.endpoints.values().filter(|record| !record.owns_netns && !is_adopted(&record.id));
    for record in own_way {
        let opened = Netns::open(&record.netns);
        let is_gone = match &opened {
            Ok(netns) => {
                is_container(&record.id)
                    && record.netns_inode.is_some()
                    && netns.inode().ok() != record.netns_inode
            }
            Err(e) => is_container(&record.id) || e.is_not_found(),
        };
        if is_gone && known.endpoints.get(&record.id) == world.endpoints.get(&record.id) {
            problems.push(check::left_out(&record.id, &record.netns));
            gone.push(record.id.clone());
            continue;
        }
        let netns = opened.with_context(|| format!("endpoint {}: open its network namespace", record.id))?;
        if netns.inode()? == own {
            bail!(
                "endpoint {}: {} is the network namespace netfast runs in (an endpoint needs one of its own)",
                record.id,
                record.netns.display()
            );
        }
    }
    new.endpoints.retain(|id, _| !gone.contains(id));
    Ok(problems)
}

/// Makes a network's bridge. The record is written first, so that a crash leaves nothing unknown. Where another instance has a
/// bridge of that name, it gets another one.
///
/// # Errors
/// When another device of that name exists, or the kernel refuses.
pub(super) fn create_network(host: &Host<'_>, network: &Network, record: &mut NetworkRecord) -> Result<()> {
    record.ifindex = None;
    host.store.save_network(record)?;
    if record.adopted {
        return Ok(());
    }
    let ifindex = match create_bridge(host, network, record) {
        Err(e) if e.is_exists() && is_of_another(host, &record.bridge) => {
            record.bridge = assign::other_bridge_name(record, Owner::of(host.store.paths()));
            host.store.save_network(record)?;
            create_bridge(host, network, record)
        }
        result => result,
    }
    .with_context(|| format!("network {}: create its bridge", record.name))?;
    record.ifindex = Some(ifindex);
    fault::point("record a bridge");
    host.store.save_network(record)?;
    Ok(())
}

fn create_bridge(host: &Host<'_>, network: &Network, record: &NetworkRecord) -> Result<u32, net::Error> {
    fault::point("create a bridge");
    host.netlink.create_bridge(&BridgeSpec {
        name: record.bridge.clone(),
        mac: record.mac,
        mtu: record.mtu.into(),
        addresses: gateways(network).collect(),
        alias: network_alias(record),
    })
}

/// Whether the device of that name is another instance's.
fn is_of_another(host: &Host<'_>, name: &str) -> bool {
    let owner = Owner::of(host.store.paths());
    host.netlink.link(name).is_ok_and(|link| owner.is_of_another_netfast(&link))
}

/// Makes an endpoint's namespace (unless it has one) and veth pair, and attaches the programs. The host's end stays
/// down: nothing passes until [`activate`]. Returns the MAC address of that end, if it was made here.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn create_endpoint(
    host: &Host<'_>,
    network: &Network,
    bridge: &NetworkRecord,
    endpoint: &Endpoint,
    record: &mut EndpointRecord,
) -> Result<Option<[u8; 6]>> {
    let failed = |what: &str| format!("endpoint {}: {what}", record.id);
    if record.adopted.is_some() {
        return adopt::attach(host, record).map(|()| None);
    }
    record.host_ifindex = None;
    record.netns_inode = None;
    record.command = None;
    // Before it is recorded, lest it be taken for what a crash has left.
    if host.netlink.link(&record.host_ifname).is_ok() && !is_of_another(host, &record.host_ifname) {
        bail!(failed(&format!("there is a device {} already (remove or rename it)", record.host_ifname)));
    }
    host.store.save_endpoint(record)?;
    fault::point("create a namespace");
    let netns = if record.owns_netns { Netns::create(&record.netns) } else { Netns::open(&record.netns) }
        .with_context(|| failed("its network namespace"))?;
    record.netns_inode = Some(netns.inode()?);
    let bridge_ifindex = bridge.ifindex.with_context(|| failed("its network has no bridge"))?;
    let pair = match create_pair(host, bridge_ifindex, &netns, record) {
        Err(e) if e.is_exists() && is_of_another(host, &record.host_ifname) => {
            record.host_ifname = assign::other_port_name(record, Owner::of(host.store.paths()));
            host.store.save_endpoint(&EndpointRecord { netns_inode: None, ..record.clone() })?;
            create_pair(host, bridge_ifindex, &netns, record)
        }
        result => result,
    };
    let failed = |what: &str| format!("endpoint {}: {what}", record.id);
    let pair = pair.with_context(|| failed("create its veth pair"))?;
    // The pins of its programs are called after this number. The namespace is noted last, as what has none is not whole.
    record.host_ifindex = Some(pair.host);
    host.store.save_endpoint(&EndpointRecord { netns_inode: None, ..record.clone() })?;
    for hook in [Hook::EndpointIngress, Hook::EndpointEgress] {
        fault::point("attach a program");
        host.datapath
            .attach(hook, &record.host_ifname, mode(host, endpoint))
            .with_context(|| failed("attach its programs"))?;
    }
    fault::point("write static neighbours");
    if !record.apart {
        add_forwarding(host, record, pair.host)?;
    }
    for ip in record.addresses() {
        add_neighbour(host, record, bridge_ifindex, ip)?;
    }
    fault::point("configure a container");
    configure_container(&netns, pair.container, &inside(network, endpoint, record))
        .with_context(|| failed("configure its device"))?;
    limits::set(host.netlink, endpoint, record)?;
    fault::point("record an endpoint");
    host.store.save_endpoint(record)?;
    Ok(pair.host_mac)
}

/// How an endpoint's programs are attached. Who is to hold back what it sends may want the place that filters take: a device has
/// one discipline of the kinds `clsact` and `ingress`.
fn mode(host: &Host<'_>, endpoint: &Endpoint) -> Mode {
    if endpoint.sends_by_host && host.mode == Mode::Soon { Mode::Auto } else { host.mode }
}

fn create_pair(
    host: &Host<'_>,
    bridge: u32,
    netns: &Netns,
    record: &EndpointRecord,
) -> Result<VethPair, net::Error> {
    fault::point("create a veth pair");
    host.netlink.create_veth(&VethSpec {
        host_name: &record.host_ifname,
        host_mac: Some(Owner::of(host.store.paths()).port_mac(record.incarnation)),
        bridge: (!record.apart).then_some(bridge),
        alias: &endpoint_alias(record),
        container_netns: netns,
        container_name: &record.container_ifname,
        container_mac: record.mac,
        mtu: record.mtu.into(),
    })
}

/// What an endpoint's device is to have inside its namespace.
pub(super) fn inside<'a>(
    network: &Network,
    endpoint: &'a Endpoint,
    record: &'a EndpointRecord,
) -> ContainerSpec<'a> {
    let first = record.ip.map(IpAddr::V4).into_iter().chain(record.ip6.map(IpAddr::V6));
    ContainerSpec {
        device: &record.container_ifname,
        addresses: prefixes(network, record).collect(),
        gateways: first.filter_map(|ip| network.gateway_of(ip)).collect(),
        default_route: endpoint.default_route && !network.internal,
        routes: &endpoint.routes,
    }
}

/// Makes an endpoint's device a port of a bridge; `None`: of none.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn set_port(
    host: &Host<'_>,
    record: &EndpointRecord,
    device: u32,
    bridge: Option<u32>,
) -> Result<()> {
    fault::point("set a port");
    match bridge {
        Some(bridge) => host.netlink.join_bridge(device, bridge),
        None => host.netlink.leave_bridge(device),
    }
    .with_context(|| format!("endpoint {}: make its device a port of its bridge, or none", record.id))
}

/// Has an endpoint's bridge know the port that it is behind.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn add_forwarding(host: &Host<'_>, record: &EndpointRecord, port: u32) -> Result<()> {
    host.netlink
        .add_fdb(port, record.mac)
        .with_context(|| format!("endpoint {}: write its forwarding entry", record.id))
}

fn add_neighbour(host: &Host<'_>, record: &EndpointRecord, bridge: u32, ip: IpAddr) -> Result<()> {
    host.netlink
        .add_neighbour(bridge, ip, record.mac)
        .with_context(|| format!("endpoint {}: write its neighbour entry", record.id))
}

/// Puts back what bridges and devices have lost.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn mend(host: &Host<'_>, world: &World, records: &Records) -> Result<()> {
    put_macs_back(host, records)?;
    for lost in damage::lost(host.netlink, world, records)? {
        match lost {
            // Those are up in the last step, `activate`, and these were the first one.
            Lost::Up(..) | Lost::Mac(_) => {}
            Lost::Gateway(bridge, name, address) => {
                fault::point("put an address back");
                host.netlink
                    .add_address(bridge, address)
                    .with_context(|| format!("give {name} back its address"))?;
            }
            Lost::Port(record, device, bridge) => set_port(host, record, device, bridge)?,
            Lost::Forwarding(record, port) => {
                fault::point("put a forwarding entry back");
                add_forwarding(host, record, port)?;
            }
            Lost::Neighbour(record, bridge, ip) => {
                fault::point("put a neighbour back");
                add_neighbour(host, record, bridge, ip)?;
            }
            Lost::Limit(limit) => limit.set(host.netlink)?,
        }
    }
    Ok(())
}

/// Gives bridges back their MAC addresses. With a change of it a bridge forgets all its neighbours, so it comes first.
fn put_macs_back(host: &Host<'_>, records: &Records) -> Result<()> {
    for record in records.networks.values() {
        let Some(bridge) = record.ifindex else { continue };
        let failed = || format!("give {} back its MAC address", record.bridge);
        if host.netlink.link_by_index(bridge).with_context(failed)?.mac != Some(record.mac) {
            fault::point("put a MAC address back");
            host.netlink.set_mac(bridge, record.mac).with_context(failed)?;
        }
    }
    Ok(())
}

/// Lets packets through: sets up the devices that are down, be they new, left so by a crash, or set down by somebody.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn activate(host: &Host<'_>, records: &Records) -> Result<()> {
    let down: BTreeSet<u32> =
        host.netlink.links()?.into_iter().filter(|link| !link.up).map(|link| link.index).collect();
    let bridges = records.networks.values().map(|record| (record.ifindex, &record.bridge));
    let own = records.endpoints.values().filter(|record| record.adopted.is_none());
    let devices = own.map(|record| (record.host_ifindex, &record.host_ifname));
    for (ifindex, name) in bridges.chain(devices) {
        if let Some(ifindex) = ifindex.filter(|ifindex| down.contains(ifindex)) {
            fault::point("set a device up");
            host.netlink.set_up(ifindex).with_context(|| format!("set {name} up"))?;
        }
    }
    Ok(())
}

/// Takes an endpoint down, whatever is left of it, and forgets it.
///
/// # Errors
/// When something of it cannot be removed.
pub(super) fn remove_endpoint(host: &Host<'_>, records: &Records, record: &EndpointRecord) -> Result<()> {
    let failed = |what: &str| format!("endpoint {}: {what}", record.id);
    commands::stop(host.store, record)?;
    let delete = if host.ends_soon { Netlink::delete_link_soon } else { Netlink::delete_link };
    remove_device_by(host.netlink, Owner::of(host.store.paths()), record, delete)?;
    if let Some(ifindex) = record.host_ifindex {
        for hook in [Hook::EndpointIngress, Hook::EndpointEgress] {
            fault::point("detach a program");
            host.datapath.detach(hook, ifindex).with_context(|| failed("detach its programs"))?;
        }
    }
    if let Some(bridge) = records.networks.get(&record.network).and_then(|network| network.ifindex) {
        for ip in record.addresses() {
            fault::point("remove a neighbour");
            // With the bridge, its neighbours are gone too.
            if let Err(e) = host.netlink.delete_neighbour(bridge, ip)
                && !e.is_not_found()
            {
                return Err(e).with_context(|| failed("remove its neighbour entry"));
            }
        }
    }
    remove_namespace(record)?;
    files::remove_log(host.run_dir(), &record.id)?;
    host.store.remove_endpoint(&record.id)?;
    Ok(())
}

/// Removes an endpoint's veth pair, if it is there and neither another plugin's nor another instance's.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove_device(netlink: &Netlink, owner: Owner, record: &EndpointRecord) -> Result<()> {
    remove_device_by(netlink, owner, record, Netlink::delete_link)
}

fn remove_device_by(
    netlink: &Netlink,
    owner: Owner,
    record: &EndpointRecord,
    delete: impl FnOnce(&Netlink, u32) -> Result<bool, net::Error>,
) -> Result<()> {
    if record.adopted.is_some() {
        return Ok(());
    }
    let failed = |what: &str| format!("endpoint {}: {what} its veth pair", record.id);
    fault::point("remove a veth pair");
    let alias = endpoint_alias(record);
    let is_left = |link: &net::Link| {
        let is_earlier = !owner.is_anothers(link) && link.alias.as_deref() == Some(&alias);
        link.mac == Some(owner.port_mac(record.incarnation)) || is_earlier
    };
    match find(netlink, &record.host_ifname, record.host_ifindex, &alias, is_left) {
        Ok(Some(link)) => delete(netlink, link.index).map(drop).with_context(|| failed("remove")),
        Ok(None) => remove_far_end(record),
        Err(e) => Err(e).with_context(|| failed("find")),
    }
}

/// Removes the container's end of a pair whose other end was moved to where it cannot be found: it would be in the new
/// one's way. With a namespace that netfast made it goes by itself.
fn remove_far_end(record: &EndpointRecord) -> Result<()> {
    let failed = || format!("endpoint {}: remove what is left of its device", record.id);
    let Ok(netns) = Netns::open(&record.netns) else { return Ok(()) };
    if record.owns_netns || record.netns_inode.is_none() || netns.inode().ok() != record.netns_inode {
        return Ok(());
    }
    let netlink = Netlink::open(&netns).with_context(failed)?;
    match netlink.link(&record.container_ifname) {
        Ok(link) if link.kind.as_deref() == Some("veth") && link.mac == Some(record.mac) => {
            netlink.delete_link(link.index).map(drop).with_context(failed)
        }
        Ok(_) => Ok(()),
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) => Err(e).with_context(failed),
    }
}

/// A device that was made: by its index, where it was recorded, whatever it is called now. A record written before the device
/// was made does not know that, so the one of its name is looked at: `is_left` tells whether a crash has left it.
fn find(
    netlink: &Netlink,
    name: &str,
    ifindex: Option<u32>,
    alias: &str,
    is_left: impl Fn(&net::Link) -> bool,
) -> Result<Option<net::Link>, net::Error> {
    let (found, is_recorded) = match ifindex {
        Some(ifindex) => (netlink.link_by_index(ifindex), true),
        None => (netlink.link(name), false),
    };
    let is_ours = |link: &net::Link| {
        if is_recorded { link.name == name || link.alias.as_deref() == Some(alias) } else { is_left(link) }
    };
    match found {
        Ok(link) => Ok(Some(link).filter(is_ours)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

fn endpoint_alias(record: &EndpointRecord) -> String {
    alias_of_endpoint(&record.id)
}

/// The host's end of an endpoint's pair, where no record tells of it.
///
/// # Errors
/// When the kernel does not answer.
pub(super) fn find_by_alias(netlink: &Netlink, owner: Owner, id: &EndpointId) -> Result<Option<net::Link>> {
    let alias = alias_of_endpoint(id);
    let links = netlink.links().context("list the host's devices")?;
    let is_its = |link: &net::Link| {
        link.kind.as_deref() == Some("veth") && link.alias.as_deref() == Some(alias.as_str())
    };
    Ok(links.into_iter().find(|link| is_its(link) && !owner.is_anothers(link)))
}

/// The alias of the device of an endpoint.
pub(super) fn alias_of_endpoint(id: &EndpointId) -> String {
    format!("netfast endpoint {id}")
}

fn network_alias(record: &NetworkRecord) -> String {
    alias_of_network(&record.name)
}

/// The alias of the bridge of a network.
pub(super) fn alias_of_network(name: &Name) -> String {
    format!("netfast network {name}")
}

/// Removes the namespace netfast made for an endpoint.
///
/// # Errors
/// When it cannot be unmounted.
pub(super) fn remove_namespace(record: &EndpointRecord) -> Result<()> {
    if record.owns_netns {
        fault::point("remove a namespace");
        Netns::remove(&record.netns)
            .with_context(|| format!("endpoint {}: remove its network namespace", record.id))?;
    }
    Ok(())
}

/// Takes a network's bridge down and forgets it.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove_network(host: &Host<'_>, record: &NetworkRecord) -> Result<()> {
    remove_bridge(host.netlink, record)?;
    if let Some(bridge) = record.ifindex {
        apart::detach_from(host, bridge)?;
    }
    files::remove_network(host.run_dir(), &record.name)?;
    host.store.remove_network(&record.name)?;
    Ok(())
}

/// Removes a network's bridge, if it is there and no other plugin's.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove_bridge(netlink: &Netlink, record: &NetworkRecord) -> Result<()> {
    let failed = |what: &str| format!("network {}: {what} its bridge", record.name);
    if record.adopted {
        return Ok(());
    }
    fault::point("remove a bridge");
    // A device of that name that was there before netfast made any refused the network; it is not ours. A bridge made but not
    // finished has no alias yet, but the MAC address of the record.
    let is_left = |link: &net::Link| link.kind.as_deref() == Some("bridge") && link.mac == Some(record.mac);
    match find(netlink, &record.bridge, record.ifindex, &network_alias(record), is_left) {
        Ok(Some(link)) => netlink.delete_link(link.index).map(drop).with_context(|| failed("remove")),
        Ok(None) => Ok(()),
        Err(e) => Err(e).with_context(|| failed("find")),
    }
}

/// The network of an endpoint.
///
/// # Errors
/// When the world has none of that name.
pub(super) fn network_of<'a>(world: &'a World, record: &EndpointRecord) -> Result<&'a Network> {
    world
        .networks
        .get(&record.network)
        .with_context(|| format!("endpoint {}: there is no network {}", record.id, record.network))
}

/// The addresses of a network's bridge, with the lengths of its subnets.
pub(super) fn gateways(network: &Network) -> impl Iterator<Item = IpNet> + '_ {
    network.subnets().map(|subnet| subnet.with_prefix(subnet.gateway()))
}

/// The addresses of an endpoint, with the lengths of its network's subnets.
pub(super) fn prefixes<'a>(
    network: &'a Network,
    record: &'a EndpointRecord,
) -> impl Iterator<Item = IpNet> + 'a {
    record.addresses().filter_map(|ip| Some(network.subnet_of(ip)?.with_prefix(ip)))
}
