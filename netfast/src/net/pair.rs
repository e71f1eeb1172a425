//! Veth pairs that somebody else made: a container's device, and its other end.

use std::os::fd::{AsFd, AsRawFd};

use ipnet::IpNet;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};

use super::netlink::Request;
use super::netns_file::LOOPBACK_INDEX;
use super::{Error, Link, Netlink, Netns, Scope};

/// A veth pair with one end here and the other in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The end that is here.
    pub host: Link,
    /// The container's end.
    pub container: Link,
    /// Addresses of the container's end that are valid everywhere, each with its on-link prefix.
    pub addresses: Vec<IpNet>,
}

/// Why a container's device is no end of a pair whose other end is here.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// There is no such device.
    #[error("there is no device {0} in its network namespace")]
    NoDevice(String),
    /// It is of another kind.
    #[error("{device} is a {kind} device (only one end of a veth pair can be taken on)")]
    NotVeth {
        /// The device.
        device: String,
        /// What it is instead.
        kind: String,
    },
    /// The other end is somewhere else.
    #[error("the other end of {0} is not in the network namespace that netfast runs in")]
    Elsewhere(String),
    /// The kernel did not answer.
    #[error(transparent)]
    Net(#[from] Error),
}

impl Netlink {
    /// Finds a container's device and its other end here.
    ///
    /// # Errors
    /// When there is no such pair, or the kernel does not answer.
    pub fn find_pair(&self, netns: &Netns, device: &str) -> Result<Pair, PairError> {
        let inside = Self::open(netns)?;
        let container = match inside.link(device) {
            Ok(link) => link,
            Err(e) if e.is_not_found() => return Err(PairError::NoDevice(device.to_owned())),
            Err(e) => return Err(e.into()),
        };
        if container.kind.as_deref() != Some("veth") {
            let unnamed = if container.index == LOOPBACK_INDEX { "loopback" } else { "physical" };
            let kind = container.kind.unwrap_or_else(|| unnamed.to_owned());
            return Err(PairError::NotVeth { device: device.to_owned(), kind });
        }
        let elsewhere = || PairError::Elsewhere(device.to_owned());
        let host = match container.peer_index.map(|index| self.link_by_index(index)) {
            Some(Ok(link)) => link,
            Some(Err(e)) if !e.is_not_found() => return Err(e.into()),
            _ => return Err(elsewhere()),
        };
        // Indexes are given anew in every namespace, so another container's device may have this one's.
        let is_its_peer = host.kind.as_deref() == Some("veth")
            && host.peer_index == Some(container.index)
            && host.peer_netnsid.is_some()
            && host.peer_netnsid == self.netnsid(netns)?;
        if !is_its_peer {
            return Err(elsewhere());
        }
        let addresses = inside.addresses()?.into_iter();
        let own = addresses.filter(|a| a.ifindex == container.index && a.scope == Scope::Global);
        let addresses = own.filter_map(|a| IpNet::new(a.ip, a.prefix).ok()).collect();
        Ok(Pair { host, container, addresses })
    }

    /// The number this namespace has for another one, if it has any.
    fn netnsid(&self, netns: &Netns) -> Result<Option<i32>, Error> {
        let request = Request { operation: "find", object: &"the number of a network namespace" };
        let mut message = NsidMessage::default();
        // An open file's number is never negative.
        message.attributes.push(NsidAttribute::Fd(netns.as_fd().as_raw_fd().unsigned_abs()));
        let RouteNetlinkMessage::NewNsId(answer) =
            self.get(request, RouteNetlinkMessage::GetNsId(message))?
        else {
            return Err(request.answer("the answer is about something else"));
        };
        let id = answer.attributes.iter().find_map(|attribute| match attribute {
            NsidAttribute::Id(id) => Some(*id),
            _ => None,
        });
        Ok(id.filter(|id| *id >= 0))
    }
}
