//! Endpoints whose devices another plugin made: finds those, and lets the programs have them.

use std::fmt::Display;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};

use super::assign::Records;
use super::check::{Problem, Remedy};
use super::host::Host;
use crate::kernel::Hook;
use crate::model::{EndpointId, World};
use crate::net::{Address, Netlink, Netns, Pair};
use crate::store::{AdoptedRecord, EndpointRecord, fault};

/// Writes into the records of such endpoints what their devices are now. One that was defined before and whose device has
/// gone is left out of `new`: that must not keep others from being changed. Returns those.
///
/// # Errors
/// When one that is new has no device that can be taken on, or that has not its addresses.
pub(super) fn find(host: &Host<'_>, world: &World, known: &World, new: &mut Records) -> Result<Vec<Problem>> {
    let is_adopted = |id: &EndpointId| world.endpoints.get(id).is_some_and(|e| e.attachment.is_adopted());
    if !new.endpoints.keys().any(is_adopted) {
        return Ok(Vec::new());
    }
    let addresses = host.netlink.addresses().context("list the host's addresses")?;
    let mut problems = Vec::new();
    for record in new.endpoints.values_mut().filter(|record| is_adopted(&record.id)) {
        let Err(error) = look(host.netlink, &addresses, record) else { continue };
        if known.endpoints.get(&record.id) != world.endpoints.get(&record.id) {
            return Err(error).with_context(|| format!("endpoint {}", record.id));
        }
        problems.push((record.id.clone(), left_out(&record.id, &format_args!("{error:#}"))));
    }
    new.endpoints.retain(|id, _| !problems.iter().any(|(lost, _)| lost == id));
    Ok(problems.into_iter().map(|(_, problem)| problem).collect())
}

/// Says that an endpoint cannot be there.
pub(super) fn left_out(id: &EndpointId, why: &dyn Display) -> Problem {
    Problem::new(Remedy::User, format_args!("endpoint {id} is left out: {why}"))
}

/// Finds an endpoint's device, and writes into its record what it is. `host` are the host's addresses.
fn look(netlink: &Netlink, host: &[Address], record: &mut EndpointRecord) -> Result<()> {
    let netns = Netns::open(&record.netns)?;
    if netns.inode()? == netlink.netns().inode()? {
        bail!("{} is the network namespace netfast runs in", record.netns.display());
    }
    let Pair { host: end, container, addresses } = netlink.find_pair(&netns, &record.container_ifname)?;
    for ip in record.addresses() {
        if !addresses.iter().any(|address| address.addr() == ip) {
            let has: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
            bail!("{} does not have the address {ip} (it has {has})", record.container_ifname);
        }
    }
    let bridge = end.controller.map(|index| netlink.link_by_index(index)).transpose()?;
    let bridge = bridge.filter(|link| link.kind.as_deref() == Some("bridge"));
    let gateway = bridge.as_ref().unwrap_or(&end);
    let own = || host.iter().filter(|address| address.ifindex == gateway.index).map(|address| address.ip);
    record.adopted = Some(AdoptedRecord {
        gateway: own().find_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }),
        gateway6: own().find_map(|ip| match ip {
            IpAddr::V6(ip) if !ip.is_unicast_link_local() => Some(ip),
            _ => None,
        }),
        gateway_mac: gateway.mac.unwrap_or_default(),
        bridge: bridge.as_ref().map(|bridge| bridge.index),
    });
    record.mac = container.mac.with_context(|| format!("{} has no MAC address", record.container_ifname))?;
    record.mtu = container.mtu.try_into().unwrap_or(u16::MAX);
    record.host_ifname = end.name;
    record.host_ifindex = Some(end.index);
    record.netns_inode = Some(netns.inode()?);
    Ok(())
}

/// Attaches the programs to an endpoint's device. From here on nothing passes, until its row says that it is ready.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn attach(host: &Host<'_>, record: &EndpointRecord) -> Result<()> {
    host.store.save_endpoint(record)?;
    for hook in [Hook::EndpointIngress, Hook::EndpointEgress] {
        fault::point("attach a program");
        host.datapath
            .attach(hook, &record.host_ifname, host.mode)
            .with_context(|| format!("endpoint {}: attach its programs", record.id))?;
    }
    Ok(())
}

/// What has changed of the devices since they were found, in plain words. Of one that is gone altogether nothing is told.
pub(super) fn check(netlink: &Netlink, records: &Records) -> Vec<String> {
    let adopted = || records.endpoints.values().filter(|record| record.adopted.is_some());
    if adopted().next().is_none() {
        return Vec::new();
    }
    let Ok(addresses) = netlink.addresses() else { return Vec::new() };
    adopted()
        .filter_map(|record| {
            let mut now = record.clone();
            look(netlink, &addresses, &mut now).ok()?;
            let what = if now.mac != record.mac {
                "its MAC address is another one now"
            } else if now != *record {
                "the host's end of its device is not what it was"
            } else {
                return None;
            };
            Some(format!("endpoint {}: {what}", record.id))
        })
        .collect()
}
