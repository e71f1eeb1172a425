//! `CHECK`: looks whether an interface is as it was made.

use ipnet::IpNet;

use super::call::Call;
use super::chained;
use super::delegate::Delegate;
use super::failure::{Code, Failure, Result};
use super::result::{CniResult, mac_text};
use crate::manifest;
use crate::model;
use crate::reconcile::attachments::AttachmentView;
use crate::reconcile::instance::Instance;
use crate::reconcile::verify::Verified;

/// Fails where something is not as it was made.
pub(super) fn check(call: &Call) -> Result<()> {
    let Some(previous) = &call.config.said.prev_result else {
        return Err(Failure::new(Code::Config, "CHECK without prevResult"));
    };
    let previous = CniResult::parse(previous, "prevResult")?;
    let (_, netns) = call.netns()?;
    let key = call.key()?;
    let mut instance = Instance::open(&call.config.options())?;
    // What a plugin that came later has changed is no mistake.
    instance.follow()?;
    if let Some(mac) = mac_told(&previous, &key.ifname) {
        instance.follow_mac(&key, &netns, mac)?;
    }
    let unknown = || {
        let message =
            format!("container {} has no interface {} in network {}", key.container, key.ifname, key.network);
        Failure::new(Code::UnknownContainer, message)
    };
    let Some(view) = instance.attachment(&key)? else { return Err(unknown()) };
    let Some(mut verified) = instance.verify(&key, &netns)? else { return Err(unknown()) };
    drop(instance);
    let mut wrong = std::mem::take(&mut verified.wrong);
    for difference in compare(&previous, &view, &verified) {
        if !wrong.contains(&difference) {
            wrong.push(difference);
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::new(Code::Check, wrong.join("; ")));
    }
    match Delegate::of(call)? {
        Some(delegate) => delegate.forward(),
        None => Ok(()),
    }
}

/// The MAC address that a result has for the container's interface.
fn mac_told(previous: &CniResult, ifname: &str) -> Option<[u8; 6]> {
    let interface = previous.interfaces.iter().find(|i| !i.sandbox.is_empty() && i.name == ifname)?;
    manifest::parse_mac(&interface.mac).ok()
}

/// What differs between the result, what was attached, and what is in the container.
fn compare(previous: &CniResult, view: &AttachmentView, verified: &Verified) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = &view.container_ifname;
    let place = previous.interfaces.iter().position(|i| !i.sandbox.is_empty() && i.name == *name);
    match place.and_then(|place| previous.interfaces.get(place)) {
        None => wrong.push(format!("prevResult has no interface {name} in a container")),
        Some(interface) if interface.mac.is_empty() => {}
        Some(interface) if !interface.mac.eq_ignore_ascii_case(&mac_text(view.container_mac)) => {
            wrong.push(format!(
                "prevResult has {} for {name}, which was made with {}",
                interface.mac,
                mac_text(view.container_mac)
            ));
        }
        Some(_) => {}
    }
    if view.adopted {
        // Addresses and routes are the other plugin's.
        wrong.extend(chained::compare(previous, view));
        return wrong;
    }
    let expected: Vec<IpNet> = previous
        .ips
        .iter()
        .filter(|ip| ip.interface.is_none() || ip.interface == place)
        .map(|ip| ip.address)
        .collect();
    for address in &expected {
        if !view.addresses.contains(address) {
            wrong.push(format!("{address} of prevResult is not reserved for the container"));
        }
    }
    for address in view.addresses.iter().filter(|address| !expected.contains(address)) {
        wrong.push(format!("{address} of {name} is not in prevResult"));
    }
    for route in &previous.routes {
        match route.options() {
            Err(failure) => wrong.push(failure.to_string()),
            Ok(options) => {
                let route = model::Route { to: route.dst, via: route.gw, options };
                wrong.extend(verified.lost_route(&route));
            }
        }
    }
    wrong
}
