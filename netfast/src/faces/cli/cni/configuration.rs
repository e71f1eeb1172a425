//! The configuration that makes a runtime call netfast.

use std::path::Path;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use serde::Serialize;

use super::PLUGIN;
use crate::model::Name;
use crate::store::PathsOptions;

/// The version that every runtime in use takes: podman 4 and containerd 1.6 know no later one.
const VERSION: &str = "1.0.0";

/// A list of one plugin. Fields are in the order in which people write them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    cni_version: &'static str,
    name: &'a Name,
    plugins: [Plugin<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plugin<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    instance: Instance<'a>,
    #[serde(skip_serializing_if = "Capabilities::is_empty")]
    capabilities: Capabilities,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipam: Option<Ipam>,
}

/// Which instance is meant: without any of it, the one that `netfast` is without options.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Instance<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    state_dir: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_dir: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bpffs: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<&'a Path>,
}

impl<'a> Instance<'a> {
    fn of(paths: &'a PathsOptions) -> Self {
        let PathsOptions { state_dir, run_dir, bpffs, cgroup } = paths;
        Self {
            state_dir: state_dir.as_deref(),
            run_dir: run_dir.as_deref(),
            bpffs: bpffs.as_deref(),
            cgroup: cgroup.as_deref(),
        }
    }
}

/// What a runtime may tell the plugin.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "that is its form")]
struct Capabilities {
    #[serde(skip_serializing_if = "is_false")]
    port_mappings: bool,
    #[serde(skip_serializing_if = "is_false")]
    ips: bool,
    #[serde(skip_serializing_if = "is_false")]
    mac: bool,
    #[serde(skip_serializing_if = "is_false")]
    dns: bool,
    #[serde(skip_serializing_if = "is_false")]
    aliases: bool,
    #[serde(skip_serializing_if = "is_false")]
    ip_ranges: bool,
    #[serde(skip_serializing_if = "is_false")]
    bandwidth: bool,
}

impl Capabilities {
    /// All that the plugin understands.
    const ALL: Self = Self {
        port_mappings: true,
        ips: true,
        mac: true,
        dns: true,
        aliases: true,
        ip_ranges: true,
        bandwidth: true,
    };

    const fn is_empty(&self) -> bool {
        let Self { port_mappings, ips, mac, dns, aliases, ip_ranges, bandwidth } = self;
        !(*port_mappings || *ips || *mac || *dns || *aliases || *ip_ranges || *bandwidth)
    }
}

#[derive(Serialize)]
struct Ipam {
    /// A set of ranges for each address.
    ranges: Vec<[Range; 1]>,
}

#[derive(Serialize)]
struct Range {
    subnet: IpNet,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// The text of a configuration with netfast alone.
pub(super) fn list(name: &Name, subnets: &[IpNet], paths: &PathsOptions) -> Result<String> {
    let ranges = subnets.iter().map(|subnet| [Range { subnet: *subnet }]).collect();
    let plugin = Plugin {
        r#type: PLUGIN,
        instance: Instance::of(paths),
        capabilities: Capabilities::ALL,
        ipam: Some(Ipam { ranges }),
    };
    let list = List { cni_version: VERSION, name, plugins: [plugin] };
    let text = serde_json::to_string_pretty(&list).context("write JSON")?;
    Ok(text + "\n")
}

/// The text of netfast as one plugin among others, in one line. Ports are mapped unless another one does.
pub(super) fn chained(port_mappings: bool, paths: &PathsOptions) -> Result<String> {
    let plugin = Plugin {
        r#type: PLUGIN,
        instance: Instance::of(paths),
        capabilities: Capabilities { port_mappings, ..Capabilities::default() },
        ipam: None,
    };
    serde_json::to_string(&plugin).context("write JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_as_it_is_written() {
        let subnets = ["10.86.0.0/16".parse().unwrap(), "fd86::/64".parse().unwrap()];
        let text = list(&"netfast".parse().unwrap(), &subnets, &PathsOptions::default()).unwrap();
        let wanted = r#"{
  "cniVersion": "1.0.0",
  "name": "netfast",
  "plugins": [
    {
      "type": "netfast",
      "capabilities": {
        "portMappings": true,
        "ips": true,
        "mac": true,
        "dns": true,
        "aliases": true,
        "ipRanges": true,
        "bandwidth": true
      },
      "ipam": {
        "ranges": [
          [
            {
              "subnet": "10.86.0.0/16"
            }
          ],
          [
            {
              "subnet": "fd86::/64"
            }
          ]
        ]
      }
    }
  ]
}
"#;
        assert_eq!(text, wanted);
    }

    #[test]
    fn another_instance_is_named() {
        let paths = PathsOptions {
            state_dir: Some("/s".into()),
            bpffs: Some("/b".into()),
            ..PathsOptions::default()
        };
        assert_eq!(
            chained(true, &paths).unwrap(),
            r#"{"type":"netfast","stateDir":"/s","bpffs":"/b","capabilities":{"portMappings":true}}"#
        );
        assert_eq!(chained(false, &PathsOptions::default()).unwrap(), r#"{"type":"netfast"}"#);
    }
}
