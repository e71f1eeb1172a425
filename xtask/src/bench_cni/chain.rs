//! Chains of plugins that are compared.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netfast_tests::{Lab, Libcni, Ns, Sandbox};
use serde_json::{Value, json};

use super::{once, stock};

/// A list of plugins, a host that it works on, and what was measured.
pub(crate) struct Chain<'lab> {
    /// What it is called in the table.
    pub(crate) name: &'static str,
    /// What was measured.
    pub(crate) times: Vec<Times>,
    list: Value,
    runtime: Libcni<'lab>,
}

/// What a container's ADD and DEL took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) add: Took,
    pub(crate) del: Took,
}

/// What a call of all plugins of a list took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// From the first one's start to the last one's end.
    pub(crate) wall: Duration,
    /// What they and the processes they started kept a processor busy. The kernel's own threads are not in it.
    pub(crate) cpu: Duration,
}

impl<'lab> Chain<'lab> {
    /// netfast alone: everything that the others do.
    pub(crate) fn netfast(lab: &'lab Lab) -> Result<Self> {
        let directory = lab.binary().parent().context("the binary has no directory")?;
        let list = lab.cni_list("bench", &["10.86.0.0/16"])?;
        Ok(Self::new("netfast", list, Libcni::new(lab, &[directory])))
    }

    /// A bridge and addresses: neither ports nor a way outside.
    pub(crate) fn bridge(lab: &'lab Lab) -> Self {
        let plugins = json!([bridge(lab.dir(), false)]);
        Self::new("bridge", list(&plugins), Libcni::new(lab, &[stock()]))
    }

    /// What podman 4 calls for its own network.
    pub(crate) fn podman(lab: &'lab Lab) -> Self {
        let plugins = json!([
            bridge(lab.dir(), true),
            {"type": "portmap", "capabilities": {"portMappings": true}},
            {"type": "firewall"},
            {"type": "tuning"},
        ]);
        Self::new("bridge, portmap, firewall, tuning", list(&plugins), Libcni::new(lab, &[stock()]))
    }

    /// A bridge and addresses, and netfast for ports, policies and connections.
    pub(crate) fn chained(lab: &'lab Lab) -> Result<Self> {
        let directory = lab.binary().parent().context("the binary has no directory")?;
        let mut netfast = lab.cni_list("bench", &["10.89.0.0/16"])?["plugins"][0].take();
        // Addresses are the bridge's.
        netfast.as_object_mut().context("the plugin is no object")?.remove("ipam");
        let plugins = json!([bridge(lab.dir(), true), netfast]);
        Ok(Self::new("bridge, netfast", list(&plugins), Libcni::new(lab, &[stock(), directory])))
    }

    const fn new(name: &'static str, list: Value, runtime: Libcni<'lab>) -> Self {
        Self { name, times: Vec::new(), list, runtime }
    }

    /// Adds and removes a container.
    pub(crate) fn round(&self, number: usize) -> Result<Times> {
        once(&self.runtime, &self.list, number)
    }

    /// Adds a container that stays as long as its namespace is kept.
    pub(crate) fn add_one(&self, id: &str) -> Result<Ns> {
        let ns = Ns::new(id)?;
        self.runtime.add(&self.list, &Sandbox::new(id, &ns))?;
        Ok(ns)
    }
}

fn bridge(dir: &Path, masquerade: bool) -> Value {
    json!({
        "type": "bridge",
        "bridge": "cni-bench",
        "isGateway": true,
        "ipMasq": masquerade,
        "ipam": {
            "type": "host-local",
            "dataDir": dir.join("host-local"),
            "routes": [{"dst": "0.0.0.0/0"}],
            "ranges": [[{"subnet": "10.89.0.0/16"}]],
        },
    })
}

fn list(plugins: &Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": "bench", "plugins": plugins})
}
