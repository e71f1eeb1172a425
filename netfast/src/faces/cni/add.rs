//! `ADD`: makes the interface.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use super::addressing::{self, Addressing};
use super::call::Call;
use super::delegate::Delegate;
use super::failure::{Code, Failure, Result};
use super::result::{CniResult, Dns, Interface, Ip, Route, mac_text};
use super::{bandwidth, chained, identity, network, policies, ports, resolver};
use crate::model::{self, Endpoint};
use crate::net::{self, Netlink, Netns};
use crate::reconcile::attachments::{Attachment, AttachmentKey, AttachmentView};
use crate::reconcile::instance::Instance;

/// Makes the interface, and returns the result as it is printed.
pub(super) fn add(call: &Call) -> Result<String> {
    if call.config.said.prev_result.is_some() {
        return chained::add(call);
    }
    let said = &call.config.said;
    let (netns, handle) = call.netns()?;
    let default_routes = look(&handle, &call.environment.ifname)?;
    drop(handle);
    let (view, routes, dns) = match Delegate::of(call)? {
        None => {
            let addressing = Addressing::of(said)?.with_requested(call)?;
            attach(call, netns, &addressing)?
        }
        Some(delegate) => {
            // Before it is asked: what it gave for the first call must not be taken back after the second.
            refuse_known(call)?;
            let addressing = delegate.add()?;
            attach(call, netns, &addressing).inspect_err(|_| delegate.undo())?
        }
    };
    Ok(result(&view, netns, &default_routes, &routes, dns).print(call.config.version))
}

/// What an attachment is made of, with what the result is made of besides.
fn attach(
    call: &Call,
    netns: &Path,
    addressing: &Addressing,
) -> Result<(AttachmentView, Vec<model::Route>, Dns)> {
    let said = &call.config.said;
    let dns = resolver::dns(said, addressing.dns.clone())?;
    let key = call.key()?;
    let limits = bandwidth::limits(said.runtime_config.bandwidth)?;
    let redirect = said.redirect.unwrap_or(true);
    let endpoint = Endpoint {
        labels: identity::labels(call),
        publish: ports::publish(&said.runtime_config.port_mappings)?,
        aliases: identity::aliases(call),
        mac: addressing::mac(call)?,
        ifname: Some(key.ifname.clone()),
        default_route: said.is_default_gateway || addressing.default_route,
        routes: addressing.routes.clone(),
        // A packet that is redirected meets no queue.
        redirect: redirect && limits.ingress.is_none(),
        sends_by_host: !redirect,
        ingress_limit: limits.ingress,
        egress_limit: limits.egress,
        attachment: model::Attachment::Path(netns.to_owned()),
        ..addressing.sets.endpoint(identity::endpoint(call)?, key.network.clone())
    };
    let routes = endpoint.routes.clone();
    let mut instance = Instance::open(&call.config.options())?;
    let known = instance.known(&key.network)?;
    policies::follow(&mut instance, said, known.policy_directory.as_ref())?;
    let network = network::network(&key.network, said, addressing, known.network.as_ref());
    let view = instance.attach(Attachment { key, endpoint, network })?;
    Ok((view, routes, dns))
}

/// The result. `others` are default routes that were there before, which stay.
fn result(
    view: &AttachmentView,
    netns: &Path,
    others: &[IpNet],
    routes: &[model::Route],
    dns: Dns,
) -> CniResult {
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
    let first = [IpAddr::is_ipv4, IpAddr::is_ipv6].into_iter();
    let first = first.filter_map(|is_of_family| view.gateways.iter().find(|ip| is_of_family(ip)));
    let default_routes = first.filter(|_| view.default_route).filter_map(|gateway| {
        let everything: IpNet = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" }.parse().ok()?;
        let is_there = others.contains(&everything) || routes.iter().any(|r| r.is_default_of(*gateway));
        Some(Route::new(everything, Some(*gateway))).filter(|_| !is_there)
    });
    CniResult {
        interfaces,
        ips: ips.map(|(address, gateway)| Ip::new(container, *address, Some(*gateway))).collect(),
        routes: default_routes.chain(routes.iter().map(Route::from)).collect(),
        dns,
        ..CniResult::default()
    }
}

/// Looks at a container before it is attached: refuses a name that is taken. Returns the families that have a default route.
fn look(netns: &Netns, ifname: &str) -> Result<Vec<IpNet>> {
    let failed = |e: net::Error| Failure::new(Code::Netns, e.to_string());
    let netlink = Netlink::open(netns).map_err(failed)?;
    match netlink.link(ifname) {
        Ok(_) => {
            return Err(Failure::new(
                Code::Config,
                format!("the container has an interface {ifname} already"),
            ));
        }
        Err(e) if e.is_not_found() => {}
        Err(e) => return Err(failed(e)),
    }
    let routes = netlink.routes().map_err(failed)?;
    let default = |route: &&net::Route| route.to.prefix_len() == 0 && route.options.is_in_main();
    Ok(routes.iter().filter(default).map(|route| route.to).collect())
}

fn refuse_known(call: &Call) -> Result<()> {
    let key = call.key()?;
    if Instance::open(&call.config.options())?.attachment(&key)?.is_none() {
        return Ok(());
    }
    let AttachmentKey { container, ifname, network } = key;
    let message = format!("container {container} has an interface {ifname} in network {network} already");
    Err(Failure::new(Code::Config, message))
}
