//! Networks of netfast's CNI plugin.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::lab::Lab;

impl Lab {
    /// The configuration of a network, as `netfast cni install` writes it for this lab's instance.
    pub fn cni_list(&self, name: &str, subnets: &[&str]) -> Result<Value> {
        let subnets = subnets.iter().flat_map(|subnet| ["--subnet", subnet]).collect::<Vec<_>>();
        let text = self.netfast_ok(&[&["cni", "install", "--print", "--name", name], &*subnets].concat())?;
        serde_json::from_str(&text).context("read what `netfast cni install --print` printed")
    }
}
