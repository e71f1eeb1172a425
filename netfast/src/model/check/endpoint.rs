//! Endpoints: their network, addresses and namespaces.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Problem, Subject, network};
use crate::model::{Attachment, Endpoint, EndpointId, Name, Network, World};

pub(super) fn check(world: &World) -> Vec<Problem> {
    let mut problems = Vec::new();
    for endpoint in world.endpoints.values() {
        let subject = Subject::Endpoint(endpoint.id.clone());
        names(endpoint, &subject, &mut problems);
        if let Some(mac) = endpoint.mac {
            problems.extend(mac_problem(mac).map(|message| Problem::new(&subject, "mac", message)));
        }
        match world.networks.get(&endpoint.network) {
            Some(network) if network.adopted != endpoint.attachment.is_adopted() => {
                let message = if network.adopted {
                    format!("network {} is another plugin's, which makes what is in it", network.name)
                } else {
                    format!(
                        "network {} is netfast's own, and another plugin's devices cannot be in it",
                        network.name
                    )
                };
                problems.push(Problem::new(&subject, "network", message).help("choose another network"));
            }
            Some(network) if network.adopted => outside(endpoint, world, &subject, &mut problems),
            Some(network) => inside(endpoint, network, &subject, &mut problems),
            None => problems.push(unknown_network(endpoint, world, &subject)),
        }
    }
    twice(world, &mut problems);
    problems
}

/// An endpoint's name becomes its host name, and both become file names.
fn names(endpoint: &Endpoint, subject: &Subject, problems: &mut Vec<Problem>) {
    for (field, name) in [("name", &endpoint.id.name), ("namespace", &endpoint.id.namespace)] {
        let name = name.as_str();
        if name.contains('.') || name.len() > 63 {
            let message = format!("{name:?} is not a host name: no dots, at most 63 characters");
            problems.push(Problem::new(subject, field, message));
        }
    }
}

fn unknown_network(endpoint: &Endpoint, world: &World, subject: &Subject) -> Problem {
    let known: Vec<&str> = world.networks.keys().map(Name::as_str).collect();
    let known =
        if known.is_empty() { "there is none".to_owned() } else { format!("known: {}", known.join(", ")) };
    Problem::new(subject, "network", format!("there is no network {}", endpoint.network)).help(known)
}

/// What an endpoint must be in its network.
fn inside(endpoint: &Endpoint, network: &Network, subject: &Subject, problems: &mut Vec<Problem>) {
    if let Some(message) = endpoint.mtu.and_then(|mtu| network::mtu(mtu, network)) {
        problems.push(Problem::new(subject, "mtu", message));
    }
    for (field, ip) in addresses(endpoint) {
        if let Some(message) = address_problem(ip, network) {
            problems.push(Problem::new(subject, field, message));
        }
    }
}

/// What an endpoint must be in a network that another plugin made: apart from netfast's own.
fn outside(endpoint: &Endpoint, world: &World, subject: &Subject, problems: &mut Vec<Problem>) {
    for (field, ip) in addresses(endpoint) {
        if let Some(network) = world.networks.values().find(|network| network.subnet_of(ip).is_some()) {
            let message = format!("{ip} is an address of network {}, which is netfast's own", network.name);
            problems.push(Problem::new(subject, field, message).help("give one of the two another subnet"));
        }
    }
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = (&'static str, IpAddr)> + '_ {
    endpoint.asked().map(|ip| (if ip.is_ipv4() { "ip" } else { "ip6" }, ip))
}

fn address_problem(ip: IpAddr, network: &Network) -> Option<String> {
    if network.may_assign(ip) {
        return None;
    }
    let name = &network.name;
    let Some(subnet) = network.subnet_of(ip) else {
        let of_family = network.subnets().map(|subnet| subnet.net);
        let of_family = of_family.filter(|net| net.addr().is_ipv4() == ip.is_ipv4());
        let nets: Vec<_> = of_family.map(|net| net.to_string()).collect();
        return Some(if nets.is_empty() {
            format!("network {name} has no subnet of this family")
        } else {
            format!("{ip} is not in {} of network {name}", nets.join(" or "))
        });
    };
    Some(if ip == subnet.gateway() {
        format!("{ip} is the gateway of network {name}")
    } else if ip.is_ipv4() && ip == subnet.net.broadcast() {
        format!("{ip} is the broadcast address of network {name}")
    } else {
        format!("{ip} is the first address of network {name}, which means the network itself")
    })
}

fn mac_problem(mac: [u8; 6]) -> Option<&'static str> {
    if mac == [0; 6] {
        Some("all zeros are no address")
    } else if mac[0] & 1 == 1 {
        Some("a multicast address; the first byte must be even")
    } else {
        None
    }
}

/// What only one endpoint may have.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Unique<'a> {
    Ip(IpAddr),
    Mac([u8; 6]),
    /// One device of each name, that is.
    Namespace(&'a std::path::Path, &'a str),
    Process(u32, &'a str),
}

fn twice(world: &World, problems: &mut Vec<Problem>) {
    let mut owners: BTreeMap<Unique<'_>, &EndpointId> = BTreeMap::new();
    for endpoint in world.endpoints.values() {
        let subject = Subject::Endpoint(endpoint.id.clone());
        let mut claims: Vec<_> = addresses(endpoint).map(|(field, ip)| (field, Unique::Ip(ip))).collect();
        claims.extend(endpoint.mac.map(|mac| ("mac", Unique::Mac(mac))));
        match &endpoint.attachment {
            // One namespace may have devices of several plugins.
            Attachment::Create | Attachment::Adopted(_) => {}
            Attachment::Path(path) => claims.push(("netns", Unique::Namespace(path, endpoint.ifname()))),
            Attachment::Pid(pid) => claims.push(("pid", Unique::Process(*pid, endpoint.ifname()))),
        }
        for (field, claim) in claims {
            if let Some(owner) = owners.get(&claim) {
                let problem = match claim {
                    Unique::Ip(_) | Unique::Mac(_) => {
                        Problem::new(&subject, field, format!("endpoint {owner} has the same"))
                    }
                    Unique::Namespace(_, ifname) | Unique::Process(_, ifname) => {
                        let message =
                            format!("endpoint {owner} is there already, and both would be {ifname}");
                        Problem::new(&subject, field, message)
                    }
                };
                problems.push(problem);
            } else {
                owners.insert(claim, &endpoint.id);
            }
        }
    }
}
