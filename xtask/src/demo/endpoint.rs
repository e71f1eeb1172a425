//! What the demo knows of an endpoint: its namespace, its addresses, and what netfast says about it.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use netfast_tests::{Lab, Ns};
use serde_json::Value;

/// An endpoint of the demo.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) ns: Ns,
    /// Its global addresses, IPv4 first: as its own namespace has them, whatever netfast may say.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Endpoint {
    pub(crate) fn find(lab: &Lab, name: &str) -> Result<Self> {
        let ns = lab.endpoint_ns(name).with_context(|| format!("find the endpoint {name}"))?;
        let text = ns.ip("-json address show scope global")?;
        let links: Value = serde_json::from_str(&text).context("the addresses that `ip` tells")?;
        let mut addresses: Vec<IpAddr> = links
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|link| link["addr_info"].as_array().into_iter().flatten())
            .filter_map(|info| info["local"].as_str()?.parse().ok())
            .collect();
        addresses.sort();
        Ok(Self { name: name.to_owned(), ns, addresses })
    }

    /// The policies that isolate it in `direction`, as `namespace/name`.
    pub(crate) fn isolating(&self, lab: &Lab, direction: &str) -> Result<Vec<String>> {
        let about = lab.netfast_json(&["endpoint", "inspect", &self.name])?;
        let policies = about["isolation"][direction]["policies"].as_array().into_iter().flatten();
        Ok(policies.filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    }
}
