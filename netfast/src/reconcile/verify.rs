//! Whether an attachment is as it was made.

use std::net::IpAddr;

use anyhow::{Context as _, Result};

use super::attachments::AttachmentKey;
use super::check::{self, Remedy};
use super::instance::Instance;
use crate::model;
use crate::net::{Address, Link, Netlink, Netns, Route};
use crate::store::EndpointRecord;

/// What an attachment was found to be.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What is not as it was made, in plain words.
    pub wrong: Vec<String>,
    routes: Vec<Route>,
}

impl Verified {
    /// What has become of a route of the container, in plain words; `None`: it is there. Without a gateway it may lead to any.
    pub fn lost_route(&self, wanted: &model::Route) -> Option<String> {
        let model::Route { to, via, options } = wanted;
        let mut there =
            self.routes.iter().filter(|r| r.to == *to && (via.is_none() || r.via == *via)).peekable();
        let via = via.map(|via| format!(" via {via}")).unwrap_or_default();
        if there.peek().is_none() {
            return Some(format!("the route to {to}{via} is gone"));
        }
        let is_as_wanted = there.any(|route| options.suit(*to, &route.options));
        (!is_as_wanted)
            .then(|| format!("the route to {to}{via} has another mtu, advmss, priority, table or scope"))
    }
}

impl Instance {
    /// Compares an attachment with its device in `netns`, with the host's end, its programs and the maps. `None`: there is
    /// no such attachment.
    ///
    /// # Errors
    /// When a state file or the kernel cannot be read.
    pub fn verify(&self, key: &AttachmentKey, netns: &Netns) -> Result<Option<Verified>> {
        let definitions = self.definitions()?;
        let found = definitions.attachments.iter().find(|attachment| attachment.key == *key);
        let Some(attachment) = found else { return Ok(None) };
        let id = &attachment.endpoint.id;
        let problems = check::problems_of(self.store(), definitions, Some(id))?;
        let problems = problems.into_iter().filter(|problem| problem.remedy == Remedy::Converge);
        let mut wrong: Vec<String> = problems.map(|problem| problem.text).collect();
        let netlink = Netlink::open(netns)?;
        let links = netlink.links().context("list the container's devices")?;
        let link = links.iter().find(|link| link.name == key.ifname);
        let record = self.store().endpoint(id)?;
        let own: Vec<_> = record.iter().flat_map(EndpointRecord::addresses).collect();
        if let Some(record) = &record {
            if record.netns_inode != Some(netns.inode()?) {
                wrong
                    .push("the container is in another network namespace than it was attached in".to_owned());
            }
            match link {
                None => wrong.push(format!("the container has no interface {}", key.ifname)),
                Some(link) => {
                    let held = netlink.addresses().context("list the container's addresses")?;
                    wrong.extend(of_link(link, record.mac, &own, &held));
                }
            }
        }
        let routes = netlink.routes().context("list the container's routes")?;
        let mut verified = Verified { wrong, routes };
        // What results of old versions do not tell of; but for routes of a family that it has no address of, which are not set.
        let is_kept = |route: &&model::Route| {
            let is_of_family = own.iter().any(|ip| ip.is_ipv4() == route.to.addr().is_ipv4());
            route.options != model::RouteOptions::default() && is_of_family
        };
        let lost = attachment.endpoint.routes.iter().filter(is_kept);
        let lost: Vec<_> = lost.filter_map(|route| verified.lost_route(route)).collect();
        verified.wrong.extend(lost);
        Ok(Some(verified))
    }
}

/// What a container's device has lost.
fn of_link(link: &Link, mac: [u8; 6], own: &[IpAddr], held: &[Address]) -> Vec<String> {
    let name = &link.name;
    let mut wrong = Vec::new();
    if link.kind.as_deref() != Some("veth") {
        wrong.push(format!("the container's interface {name} is no veth device"));
    }
    if link.mac != Some(mac) {
        wrong.push(format!("the container's interface {name} has another hardware address"));
    }
    if !link.up {
        wrong.push(format!("the container's interface {name} is down"));
    }
    for ip in own {
        if !held.iter().any(|address| address.ifindex == link.index && address.ip == *ip) {
            wrong.push(format!("the container's interface {name} has lost the address {ip}"));
        }
    }
    wrong
}
