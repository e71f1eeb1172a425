//! What tests do with a lab's netfast again and again.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::lab::Lab;

impl Lab {
    /// Brings up what `manifest`, the text of a `netfast.yaml`, describes; or changes what is up into that.
    pub fn up(&self, manifest: &str) -> Result<()> {
        let path = self.file("netfast.yaml", manifest)?;
        self.netfast_ok(&["up", "-d", "-f", &path]).map(drop)
    }

    /// What netfast tells of an endpoint.
    pub fn inspect(&self, endpoint: &str) -> Result<Value> {
        self.netfast_json(&["endpoint", "inspect", endpoint])
    }

    /// An endpoint's IPv4 and IPv6 address.
    pub fn addresses(&self, endpoint: &str) -> Result<[IpAddr; 2]> {
        let about = self.inspect(endpoint)?;
        let address = |field: &str| -> Result<IpAddr> {
            Ok(about[field].as_str().with_context(|| format!("{endpoint} has no {field}"))?.parse()?)
        };
        Ok([address("ip")?, address("ip6")?])
    }

    /// How many packets netfast has dropped at an endpoint for `reason`.
    pub fn dropped(&self, endpoint: &str, reason: &str) -> Result<u64> {
        Ok(self.drops(endpoint)?.get(reason).copied().unwrap_or(0))
    }
}
