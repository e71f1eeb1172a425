//! What the host has: which devices lead outside, and which addresses are its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result, bail};

use super::devices::{self, Device, Devices};
use super::surroundings::{Place, places};
use crate::compile::rows::Uplink;
use crate::model::World;
use crate::net::{self, Address, Link, Netlink, Scope};

/// The host's side of the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Devices that lead outside, by index.
    pub uplinks: Vec<Uplink>,
    /// The host's addresses, those of the instance's bridges not among them.
    pub addresses: BTreeSet<IpAddr>,
    /// Where which address was seen.
    pub places: Vec<Place>,
    /// Uplinks that were asked for by name and are not there.
    pub missing: Vec<String>,
    /// Devices behind a queueing discipline of somebody's, which packets out of them are to pass.
    pub shaped: BTreeSet<u32>,
    /// Devices at whose ingress somebody holds packets back.
    pub held: BTreeSet<u32>,
    /// Devices that could not be covered, with the reason.
    pub uncovered: Vec<(String, &'static str)>,
}

/// Looks at the host. `named`: the uplinks that were asked for; `None` means every addressed device.
///
/// # Errors
/// When the kernel does not answer.
pub(super) fn look(
    netlink: &Netlink,
    devices: &Devices<'_>,
    named: Option<&BTreeSet<String>>,
) -> Result<Facts> {
    let addresses = netlink.addresses().context("list the host's addresses")?;
    let links = links(netlink, &addresses, named).context("list the host's devices")?;
    let Facts { shaped, held, .. } =
        Facts::of_queueing(netlink).context("list the host's queueing disciplines")?;
    Ok(Facts { shaped, held, places: places(&addresses), ..facts(&links, &addresses, devices, named) })
}

/// The devices that matter: those with addresses, those they are ports of, and those that are named. There are few of them among
/// the containers' many, so each is asked for, unless it is the other way round.
fn links(
    netlink: &Netlink,
    addresses: &[Address],
    named: Option<&BTreeSet<String>>,
) -> Result<Vec<Link>, net::Error> {
    const FEW: usize = 32;
    let indexes: BTreeSet<u32> = addresses.iter().map(|address| address.ifindex).collect();
    if indexes.len() > FEW {
        return netlink.links();
    }
    let mut links = BTreeMap::new();
    // One that goes meanwhile is not there.
    let mut add = |link: Result<Link, net::Error>| match link {
        Ok(link) => Ok(links.entry(link.index).or_insert(link).controller),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    };
    let mut controllers = BTreeSet::new();
    for index in indexes {
        controllers.extend(add(netlink.link_by_index(index))?);
    }
    for name in named.into_iter().flatten() {
        controllers.extend(add(netlink.link(name))?);
    }
    for index in controllers {
        add(netlink.link_by_index(index))?;
    }
    Ok(links.into_values().collect())
}

fn facts(
    links: &[Link],
    addresses: &[Address],
    devices: &Devices<'_>,
    named: Option<&BTreeSet<String>>,
) -> Facts {
    let (adopted, own): (Vec<Device<'_>>, Vec<Device<'_>>) =
        devices.endpoints.iter().partition(|device| device.is_adopted());
    let veths = own.iter().map(|device| (device.index, device.name));
    let (indexes, taken): (BTreeSet<_>, BTreeSet<&str>) =
        devices.bridges.iter().copied().chain(veths).unzip();
    let is_ours = |link: &Link| {
        // Somebody may have renamed it. Another device may have got its index, but not its alias.
        taken.contains(link.name.as_str())
            || (indexes.contains(&Some(link.index))
                && link.alias.as_deref().is_some_and(|alias| alias.starts_with("netfast ")))
    };
    // What is the host's on a link that another plugin made is the host's, but no way outside.
    let is_adopted = |link: &Link| adopted.iter().any(|device| device.index == Some(link.index));
    let is_shared =
        |link: &Link| adopted.iter().any(|device| device.place == devices::Place::Adopted(Some(link.index)));
    let mut facts = Facts::default();
    for link in links.iter().filter(|link| !is_ours(link)) {
        let own: Vec<&Address> = addresses.iter().filter(|address| address.ifindex == link.index).collect();
        // What a port has by accident reaches nobody, and comes and goes with every container of another plugin.
        let is_accident = |ip: &IpAddr| is_link_local(ip) && is_port(link, links);
        let addresses = own.iter().map(|address| address.ip);
        facts.addresses.extend(addresses.filter(|ip| !ip.is_loopback() && !is_accident(ip)));
        if is_adopted(link) {
            continue;
        }
        if link.loopback || own.is_empty() || named.is_some_and(|named| !named.contains(&link.name)) {
            continue;
        }
        if is_port(link, links) {
            // It may have an address by accident: the kernel gives every device a link-local one that comes up.
            if named.is_some() {
                facts.uncovered.push((link.name.clone(), "it is a port of a device that has the addresses"));
            }
            continue;
        }
        if !link.is_ethernet() {
            facts.uncovered.push((link.name.clone(), "it has no Ethernet header"));
            continue;
        }
        let best = |is_family: fn(&IpAddr) -> bool| {
            own.iter()
                .filter(|address| is_family(&address.ip) && address.scope == Scope::Global)
                .map(|address| address.ip)
                .next()
        };
        facts.uplinks.push(Uplink {
            ifindex: link.index,
            name: link.name.clone(),
            ip: best(IpAddr::is_ipv4).and_then(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }),
            ip6: best(IpAddr::is_ipv6).and_then(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None }),
            mtu: link.mtu,
            shared: is_shared(link),
        });
    }
    facts.uplinks.sort();
    let is_there = |name: &&String| links.iter().any(|link| link.name == **name);
    facts.missing = named.into_iter().flatten().filter(|name| !is_there(name)).cloned().collect();
    facts
}

impl Facts {
    /// Where others hold packets back, and nothing else.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(super) fn of_queueing(netlink: &Netlink) -> Result<Self, net::Error> {
        let qdiscs = netlink.qdiscs()?;
        // A veth has none by itself, which is told as one of this kind.
        let shaping = qdiscs.iter().filter(|qdisc| qdisc.is_root && qdisc.kind != "noqueue");
        let holding = qdiscs.iter().filter(|qdisc| qdisc.kind == "ingress");
        Ok(Self {
            shaped: shaping.map(|qdisc| qdisc.ifindex).collect(),
            held: holding.map(|qdisc| qdisc.ifindex).collect(),
            ..Self::default()
        })
    }

    /// Whether packets are redirected into an endpoint's namespace. `None`: it has no device.
    pub(super) fn is_redirected(&self, device: &Device<'_>) -> Option<bool> {
        Some(device.redirect && !self.shaped.contains(&device.index?))
    }

    /// Whether what an endpoint sends goes by way of the host. `None`: it has no device.
    pub(super) fn is_held(&self, device: &Device<'_>) -> Option<bool> {
        Some(self.held.contains(&device.index?) || device.sends_by_host)
    }

    /// Sees that no network takes an address the host has already.
    ///
    /// # Errors
    /// When one does.
    pub(super) fn check_subnets(&self, world: &World) -> Result<()> {
        for network in world.networks.values() {
            if let Some(ip) = self.addresses.iter().find(|ip| network.subnet_of(**ip).is_some()) {
                bail!(
                    "network {}: its subnet holds {ip}, which is an address of this host (choose another subnet)",
                    network.name
                );
            }
        }
        Ok(())
    }
}

pub(super) fn is_link_local(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Whether a device only carries the frames of a bridge, a bond or the like. A VRF leaves its devices their addresses.
fn is_port(link: &Link, links: &[Link]) -> bool {
    let controller = links.iter().find(|other| Some(other.index) == link.controller);
    controller.is_some_and(|controller| controller.kind.as_deref() != Some("vrf"))
}
