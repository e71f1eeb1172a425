//! The namespace in which the kernel puts fragments in order: makes it, sees whether it is whole, takes it down.

use anyhow::{Context, Result};
use netfast_common::addr::DEFRAG_MAC;

use super::host::{Host, netns_dir};
use crate::kernel::Hook;
use crate::net::{DefragSpec, Netlink, Netns, defrag_state};
use crate::store::{DefragRecord, Instance, Paths, fault};

/// The file of the namespace, among those of endpoints: none of those begins like this.
const NETNS: &str = "+defrag";
const ALIAS: &str = "netfast defrag";

/// What is wrong with it. That there is none is nothing: this kernel cannot do it, and `netfast doctor` says so.
///
/// # Errors
/// When the kernel does not answer.
pub(super) fn check(netlink: &Netlink, record: Option<&DefragRecord>) -> Result<Option<String>> {
    let Some(record) = record else {
        return Ok(None);
    };
    let why = damage(netlink, record)?;
    Ok(why.map(|why| format!("the namespace for fragments: {why}")))
}

fn damage(netlink: &Netlink, record: &DefragRecord) -> Result<Option<&'static str>> {
    let netns = Netns::open(&record.netns).ok();
    let inode = netns.as_ref().and_then(|netns| netns.inode().ok());
    let Some(netns) = netns.filter(|_| inode.is_some() && inode == record.netns_inode) else {
        return Ok(Some("it is gone"));
    };
    match netlink.link(&record.device) {
        Ok(link) if Some(link.index) != record.ifindex || link.kind.as_deref() != Some("veth") => {
            Ok(Some("its device is gone"))
        }
        Ok(link) if !link.up => Ok(Some("its device is down")),
        Ok(_) => {
            let state = defrag_state(&netns).context("look into the namespace for fragments")?;
            Ok((state != record.state).then_some("its rules, routes or settings have been changed"))
        }
        Err(error) if error.is_not_found() => Ok(Some("its device is gone")),
        Err(error) => Err(error).context("look for the device of the namespace for fragments"),
    }
}

/// Sees that it is there. Where it cannot be made, everything else works.
///
/// # Errors
/// When what is left of a broken one cannot be removed, or a state file cannot be written.
pub(super) fn ensure(host: &Host<'_>, instance: &mut Instance) -> Result<()> {
    if let Some(record) = &instance.defrag {
        if damage(host.netlink, record)?.is_none() {
            return attach(host, record);
        }
        remove(host, record)?;
    }
    let mut record = usual(host.store.paths());
    instance.defrag = Some(record.clone());
    host.store.save_instance(instance)?;
    instance.defrag = match create(host, &mut record) {
        Ok(()) => Some(record),
        Err(error) => {
            tracing::warn!("fragments that overtake the first one of their packet are dropped: {error:#}");
            remove(host, &record)?;
            None
        }
    };
    fault::point("record the namespace for fragments");
    Ok(host.store.save_instance(instance)?)
}

/// Where it is in any case; not yet made.
pub(super) fn usual(paths: &Paths) -> DefragRecord {
    DefragRecord {
        device: format!("nf0-{:08x}", paths.number() >> 32),
        ifindex: None,
        netns: netns_dir(&paths.run_dir).join(NETNS),
        netns_inode: None,
        state: Vec::new(),
    }
}

fn create(host: &Host<'_>, record: &mut DefragRecord) -> Result<()> {
    fault::point("create the namespace for fragments");
    let netns = Netns::create(&record.netns)?;
    fault::point("create its veth pair");
    let ifindex = host.netlink.create_defrag(&DefragSpec {
        device: &record.device,
        alias: ALIAS,
        netns: &netns,
        mac: DEFRAG_MAC.octets(),
    })?;
    attach(host, record)?;
    fault::point("set its veth up");
    host.netlink.set_up(ifindex)?;
    record.ifindex = Some(ifindex);
    record.netns_inode = Some(netns.inode()?);
    record.state = defrag_state(&netns)?;
    Ok(())
}

fn attach(host: &Host<'_>, record: &DefragRecord) -> Result<()> {
    fault::point("attach to the device for fragments");
    host.datapath.attach(Hook::DefragIngress, &record.device, host.mode)?;
    Ok(())
}

fn remove(host: &Host<'_>, record: &DefragRecord) -> Result<()> {
    remove_device(host.netlink, record)?;
    // Also where a killed process did not come to record the device.
    for attached in host.datapath.attached()? {
        if attached.hook == Hook::DefragIngress {
            host.datapath.detach(attached.hook, attached.ifindex)?;
        }
    }
    remove_namespace(record)
}

/// Removes the device that leads there, if it is ours.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove_device(netlink: &Netlink, record: &DefragRecord) -> Result<()> {
    fault::point("remove the device for fragments");
    let failed = || format!("remove the device {}", record.device);
    match netlink.link(&record.device) {
        Ok(link) if link.kind.as_deref() == Some("veth") => {
            netlink.delete_link(link.index).map(drop).with_context(failed)
        }
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error).with_context(failed),
    }
}

/// Removes the namespace.
///
/// # Errors
/// When it cannot be unmounted.
pub(super) fn remove_namespace(record: &DefragRecord) -> Result<()> {
    fault::point("remove the namespace for fragments");
    Netns::remove(&record.netns).context("remove the namespace for fragments")
}
