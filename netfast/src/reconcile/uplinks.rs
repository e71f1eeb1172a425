//! The programs at the uplinks, and the deny list.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use ipnet::IpNet;
use netfast_common::addr::Addr;
use netfast_common::rows::{CONFIG_DENY_IN_TC, Config};

use super::facts::Facts;
use super::host::Host;
use crate::compile::rows::Uplink;
use crate::kernel::{self, Datapath, Hook, Prefix, XdpOutcome};
use crate::store::fault;

/// Attaches to the uplinks there are, detaches from those that are none any more, and enforces the deny list.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn attach(host: &mut Host<'_>, facts: &Facts, deny: &BTreeSet<IpNet>) -> Result<()> {
    write_deny_list(host, deny)?;
    for uplink in &facts.uplinks {
        fault::point("attach to an uplink");
        let attached = host.datapath.attach(Hook::UplinkIngress, &uplink.name, host.mode);
        unless_gone(host, uplink, attached)
            .with_context(|| format!("attach to the uplink {}", uplink.name))?;
    }
    let is_uplink = |ifindex| facts.uplinks.iter().any(|uplink| uplink.ifindex == ifindex);
    for attached in host.datapath.attached()? {
        if attached.hook == Hook::UplinkIngress && !is_uplink(attached.ifindex) {
            fault::point("detach from an uplink");
            host.datapath.detach(attached.hook, attached.ifindex)?;
        }
    }
    let mut is_slot_taken = false;
    for uplink in facts.uplinks.iter().filter(|_| !deny.is_empty()) {
        fault::point("attach the deny list");
        let attached = host.datapath.attach_deny(&uplink.name);
        let outcome = unless_gone(host, uplink, attached)
            .with_context(|| format!("attach the deny list to the uplink {}", uplink.name))?;
        is_slot_taken |= outcome == Some(XdpOutcome::SlotTaken);
    }
    for attached in host.datapath.deny_attached()? {
        if deny.is_empty() || !is_uplink(attached.ifindex) {
            fault::point("detach the deny list");
            host.datapath.detach_deny(attached.ifindex)?;
        }
    }
    let config = host.datapath.maps.config.get(0)?;
    let others = config.flags & !CONFIG_DENY_IN_TC;
    let flags = others | if is_slot_taken { CONFIG_DENY_IN_TC } else { 0 };
    if config.flags != flags {
        fault::point("switch the deny list in tc");
        host.datapath.maps.config.set(0, Config { flags, ..config })?;
    }
    Ok(())
}

/// What an attempt came to; `None` where it failed because the device has gone since it was looked for: others' containers come
/// and go meanwhile.
fn unless_gone<T>(
    host: &Host<'_>,
    uplink: &Uplink,
    attached: kernel::Result<T>,
) -> kernel::Result<Option<T>> {
    match attached {
        Err(error) if host.netlink.link_by_index(uplink.ifindex).is_err_and(|e| e.is_not_found()) => {
            tracing::debug!(%error, device = uplink.name, "an uplink has gone");
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Whether the map holds the deny list.
///
/// # Errors
/// When it cannot be read.
pub(super) fn is_deny_list_written(datapath: &Datapath, deny: &BTreeSet<IpNet>) -> Result<bool> {
    let held = datapath.maps.denied.to_map().context("read the deny list")?;
    Ok(held.into_keys().eq(deny.iter().map(prefix).collect::<BTreeSet<_>>()))
}

fn write_deny_list(host: &mut Host<'_>, deny: &BTreeSet<IpNet>) -> Result<()> {
    let denied = &mut host.datapath.maps.denied;
    let wanted: BTreeSet<_> = deny.iter().map(prefix).collect();
    let old = denied.to_map().context("read the deny list")?;
    for prefix in wanted.iter().filter(|prefix| !old.contains_key(*prefix)) {
        fault::point("deny a source");
        denied.insert(prefix, 1).context("write the deny list")?;
    }
    for prefix in old.keys().filter(|prefix| !wanted.contains(*prefix)) {
        fault::point("admit a source");
        denied.remove(prefix).context("write the deny list")?;
    }
    Ok(())
}

fn prefix(net: &IpNet) -> Prefix<Addr> {
    let offset = if net.addr().is_ipv4() { Addr::V4_PREFIX } else { 0 };
    Prefix { key: Addr::from(net.network()), bits: u32::from(net.prefix_len()) + offset }
}
