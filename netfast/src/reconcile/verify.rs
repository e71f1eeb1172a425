//! Whether an attachment is as it was made.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use super::attachments::AttachmentKey;
use super::check::{self, Remedy};
use super::instance::Instance;
use super::topology::addresses;
use crate::net::{Address, Link, Netlink, Netns, Route};

/// What an attachment was found to be.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What is not as it was made, in plain words.
    pub wrong: Vec<String>,
    routes: Vec<Route>,
}

impl Verified {
    /// Whether there is such a route in the container; `via`: `None` means by whatever gateway.
    pub fn has_route(&self, to: IpNet, via: Option<IpAddr>) -> bool {
        self.routes.iter().any(|route| route.to == to && (via.is_none() || route.via == via))
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
        if let Some(record) = self.store().endpoint(id)? {
            if record.netns_inode != Some(netns.inode()?) {
                wrong
                    .push("the container is in another network namespace than it was attached in".to_owned());
            }
            let own: Vec<_> = addresses(&record).collect();
            match link {
                None => wrong.push(format!("the container has no interface {}", key.ifname)),
                Some(link) => {
                    let held = netlink.addresses().context("list the container's addresses")?;
                    wrong.extend(of_link(link, record.mac, &own, &held));
                }
            }
        }
        let routes = netlink.routes().context("list the container's routes")?;
        Ok(Some(Verified { wrong, routes }))
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
