//! `ADD`: makes the interface.

use std::path::Path;

use super::addressing::{self, Addressing};
use super::call::Call;
use super::config::Bandwidth;
use super::delegate::Delegate;
use super::failure::{Code, Failure, Result};
use super::result::{CniResult, Dns, Interface, Ip, Route, mac_text};
use super::{chained, identity, network, policies, ports, resolver};
use crate::model::{self, Endpoint};
use crate::net::Netlink;
use crate::net::Netns;
use crate::reconcile::attachments::{Attachment, AttachmentView};
use crate::reconcile::instance::Instance;

/// Makes the interface, and returns the result as it is printed.
pub(super) fn add(call: &Call) -> Result<String> {
    if call.config.said.prev_result.is_some() {
        return chained::add(call);
    }
    let said = &call.config.said;
    let (netns, handle) = call.netns()?;
    refuse_bandwidth(said.runtime_config.bandwidth)?;
    refuse_taken(&handle, &call.environment.ifname)?;
    drop(handle);
    let (view, routes, dns) = match Delegate::of(call)? {
        None => {
            let addressing = Addressing::of(said)?.with_requested(call)?;
            attach(call, netns, addressing)?
        }
        Some(delegate) => {
            // Before it is asked: what it gave for the first call must not be taken back after the second.
            refuse_known(call)?;
            let addressing = delegate.add()?;
            attach(call, netns, addressing).inspect_err(|_| delegate.undo())?
        }
    };
    Ok(result(&view, netns, &routes, dns).print(call.config.version))
}

/// What an attachment is made of, with what the result is made of besides.
fn attach(
    call: &Call,
    netns: &Path,
    addressing: Addressing,
) -> Result<(AttachmentView, Vec<model::Route>, Dns)> {
    let said = &call.config.said;
    let dns = resolver::dns(said, addressing.dns.clone())?;
    let key = call.key()?;
    let endpoint = Endpoint {
        labels: identity::labels(call),
        publish: ports::publish(&said.runtime_config.port_mappings)?,
        ip: addressing.ip,
        ip6: addressing.ip6,
        ranges: addressing.ranges.clone(),
        aliases: identity::aliases(call),
        mac: addressing::mac(call)?,
        ifname: Some(key.ifname.clone()),
        default_route: said.is_default_gateway || addressing.default_route,
        routes: addressing.routes.clone(),
        attachment: model::Attachment::Path(netns.to_owned()),
        ..Endpoint::new(identity::endpoint(call)?, key.network.clone())
    };
    let routes = endpoint.routes.clone();
    let mut instance = Instance::open(&call.config.options())?;
    let known = instance.known(&key.network)?;
    policies::follow(&mut instance, said, known.policy_directory.as_ref())?;
    let network = network::network(&key.network, said, &addressing, known.network.as_ref());
    let view = instance.attach(Attachment { key, endpoint, network })?;
    Ok((view, routes, dns))
}

fn result(view: &AttachmentView, netns: &Path, routes: &[model::Route], dns: Dns) -> CniResult {
    let sandbox = netns.display().to_string();
    let device = |name: &str, mac: Option<[u8; 6]>, sandbox: String| Interface {
        name: name.to_owned(),
        mac: mac.map(mac_text).unwrap_or_default(),
        mtu: Some(view.mtu.into()),
        sandbox,
        ..Interface::default()
    };
    // The order is that of the bridge plugin.
    let interfaces = vec![
        device(&view.bridge, Some(view.bridge_mac), String::new()),
        device(&view.host_ifname, view.host_mac, String::new()),
        device(&view.container_ifname, Some(view.container_mac), sandbox),
    ];
    let container = interfaces.len() - 1;
    let ips = view.addresses.iter().zip(&view.gateways);
    let default_routes = view.gateways.iter().filter(|_| view.default_route).map(|gateway| {
        let everything = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        everything.parse().ok().map(|everything| Route::new(everything, Some(*gateway)))
    });
    CniResult {
        interfaces,
        ips: ips.map(|(address, gateway)| Ip::new(container, *address, Some(*gateway))).collect(),
        routes: default_routes
            .flatten()
            .chain(routes.iter().map(|route| Route::new(route.to, route.via)))
            .collect(),
        dns,
        ..CniResult::default()
    }
}

/// A limit that is not kept must not be taken for one that is.
fn refuse_bandwidth(bandwidth: Option<Bandwidth>) -> Result<()> {
    if bandwidth.is_none_or(|bandwidth| bandwidth.ingress_rate == 0 && bandwidth.egress_rate == 0) {
        return Ok(());
    }
    Err(Failure::new(Code::Unsupported, "bandwidth: netfast does not limit it").details(
        "add the plugin \"bandwidth\" to the list, after netfast, with the capability \"bandwidth\"",
    ))
}

fn refuse_taken(netns: &Netns, ifname: &str) -> Result<()> {
    let failed = |e: crate::net::Error| Failure::new(Code::Netns, e.to_string());
    match Netlink::open(netns).and_then(|netlink| netlink.link(ifname)) {
        Ok(_) => Err(Failure::new(Code::Config, format!("the container has an interface {ifname} already"))),
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) => Err(failed(e)),
    }
}

fn refuse_known(call: &Call) -> Result<()> {
    let key = call.key()?;
    match Instance::open(&call.config.options())?.attachment(&key)? {
        None => Ok(()),
        Some(_) => {
            let message = format!(
                "container {} has an interface {} in network {} already",
                key.container, key.ifname, key.network
            );
            Err(Failure::new(Code::Config, message))
        }
    }
}
