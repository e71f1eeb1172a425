//! Published ports.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{PortRange, Protocol};

/// Ports of the host that lead to ports of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The host's address; `None`: all of them, of both families.
    pub host_ip: Option<IpAddr>,
    /// The host's ports, as many as the endpoint's, or several to choose a free one of for a single port; `None`: free
    /// ones are chosen of a range of netfast's.
    pub host: Option<PortRange>,
    /// The endpoint's ports.
    pub container: PortRange,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who may use it; empty: everyone.
    #[serde(default)]
    pub from: Vec<IpNet>,
    /// Whether processes of the host may bind these ports too, and may have done so: a container runtime does, to keep them.
    #[serde(default)]
    pub bindable: bool,
}

impl Publish {
    /// The host's ports, if it is them and no others; `None`: they are to be chosen.
    pub fn fixed_host(&self) -> Option<PortRange> {
        self.host.filter(|host| host.count() == self.container.count())
    }
}
