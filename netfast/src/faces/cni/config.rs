//! The configuration of a network as it comes on standard input.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::environment::is_name;
use super::failure::{Code, Failure, Result};
use super::result::{Dns, Route};
use super::spelling;
use super::version::Version;
use crate::model::Labels;
use crate::reconcile::instance::Options;
use crate::store::PathsOptions;

/// A configuration of a version that is spoken.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Its version.
    pub version: Version,
    /// What it says.
    pub said: Said,
    /// As it came: what a delegate gets.
    pub text: String,
}

/// What a configuration says. What is not known is others' business.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Said {
    /// The name of the network.
    #[serde(default)]
    pub name: String,
    /// How addresses are given.
    #[serde(default)]
    pub ipam: Ipam,
    /// What the container is to resolve names with.
    #[serde(default)]
    pub dns: Dns,
    /// Largest IP packet in bytes.
    pub mtu: Option<u16>,
    /// Everything without a better route goes to the network's gateway.
    #[serde(default = "yes")]
    pub is_default_gateway: bool,
    /// What goes outside has an address of the host, unless it is said otherwise.
    pub ip_masq: Option<bool>,
    /// No way outside.
    pub internal: Option<bool>,
    /// Packets are redirected into the container's namespace. `false`: they go past what others do at the host's end, as queueing.
    pub redirect: Option<bool>,
    /// Labels of every container in the network.
    #[serde(default, deserialize_with = "labels")]
    pub labels: Labels,
    /// Where policies are.
    pub policy_dir: Option<PathBuf>,
    /// Which instance is meant: its state.
    state_dir: Option<PathBuf>,
    /// What a reboot voids.
    run_dir: Option<PathBuf>,
    /// Its programs and maps.
    bpffs: Option<PathBuf>,
    /// The control group whose processes reach published ports.
    cgroup: Option<PathBuf>,
    /// Arguments of the user's.
    #[serde(default)]
    pub args: ConfigArgs,
    /// What the runtime adds for the capabilities that are declared.
    #[serde(default)]
    pub runtime_config: RuntimeConfig,
    /// What the plugin before this one, or `ADD`, has answered.
    pub prev_result: Option<Value>,
    /// The attachments there are: for `GC`.
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<ValidAttachment>>,
    /// The same under another name.
    #[serde(rename = "cni.dev/attachments")]
    attachments: Option<Vec<ValidAttachment>>,
}

/// How addresses are given, in the form of `host-local`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ipam {
    /// The plugin that gives them; `None`: this one.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A set of ranges for each address of the interface.
    #[serde(default)]
    pub ranges: Vec<Vec<Range>>,
    /// The same in an older form: one range.
    subnet: Option<IpNet>,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
    /// Routes inside the container.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// A file to take the container's resolver from.
    pub resolv_conf: Option<PathBuf>,
    /// Where `host-local` keeps its files.
    pub data_dir: Option<PathBuf>,
}

/// Addresses of a subnet.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Range {
    /// The subnet.
    pub subnet: IpNet,
    /// The first address that is given.
    #[serde(rename = "rangeStart")]
    pub start: Option<IpAddr>,
    /// The last one.
    #[serde(rename = "rangeEnd")]
    pub end: Option<IpAddr>,
    /// The gateway.
    pub gateway: Option<IpAddr>,
}

impl Ipam {
    /// All sets, that of the older form first.
    pub(super) fn sets(&self) -> Vec<Vec<Range>> {
        let Self { subnet, range_start: start, range_end: end, gateway, ranges, .. } = self.clone();
        let old = subnet.map(|subnet| vec![Range { subnet, start, end, gateway }]);
        old.into_iter().chain(ranges).collect()
    }

    /// The plugin that gives addresses, if it is another one.
    pub(super) fn delegate(&self) -> Option<&str> {
        self.kind.as_deref().filter(|kind| !kind.is_empty() && *kind != "netfast")
    }
}

/// Arguments of the user's: the form that is agreed on, and one that some use.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ConfigArgs {
    /// The form that is agreed on.
    #[serde(default)]
    pub cni: CniArgs,
    /// Labels beside it.
    #[serde(default, deserialize_with = "labels")]
    pub labels: Labels,
}

/// `args.cni`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct CniArgs {
    /// Addresses the interface is to have.
    #[serde(default)]
    pub ips: Vec<String>,
    /// Its hardware address.
    pub mac: Option<String>,
    /// Labels of the container.
    #[serde(default, deserialize_with = "labels")]
    pub labels: Labels,
}

/// What the runtime adds for the capabilities that are declared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuntimeConfig {
    /// `portMappings`.
    #[serde(default)]
    pub port_mappings: Vec<PortMapping>,
    /// `ips`.
    #[serde(default)]
    pub ips: Vec<String>,
    /// `mac`.
    pub mac: Option<String>,
    /// `ipRanges`.
    #[serde(default)]
    pub ip_ranges: Vec<Vec<Range>>,
    /// `dns`.
    pub dns: Option<RuntimeDns>,
    /// `aliases`.
    #[serde(default)]
    pub aliases: Value,
    /// `bandwidth`.
    pub bandwidth: Option<Bandwidth>,
}

/// A port of the host that leads to one of the container.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PortMapping {
    /// The host's port; 0: none.
    #[serde(default)]
    pub host_port: i64,
    /// The container's port.
    pub container_port: i64,
    /// The protocol, in any case; none: TCP.
    #[serde(default)]
    pub protocol: String,
    /// The host's address; empty: all.
    #[serde(default, rename = "hostIP")]
    pub host_ip: String,
}

/// What the runtime wants the container to resolve names with.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct RuntimeDns {
    #[serde(default)]
    servers: Vec<String>,
    #[serde(default)]
    searches: Vec<String>,
    #[serde(default)]
    options: Vec<String>,
}

impl From<RuntimeDns> for Dns {
    fn from(RuntimeDns { servers, searches, options }: RuntimeDns) -> Self {
        Self { nameservers: servers, domain: String::new(), search: searches, options }
    }
}

/// Limits in bits a second, and in bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Bandwidth {
    /// Into the container.
    pub ingress_rate: u64,
    /// How much may come at once.
    pub ingress_burst: u64,
    /// Out of the container.
    pub egress_rate: u64,
    /// How much may go at once.
    pub egress_burst: u64,
}

/// An attachment that `GC` is to leave alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct ValidAttachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container: String,
    /// The interface inside.
    pub ifname: String,
}

impl Config {
    /// Reads a configuration.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let decode = |error: &dyn std::fmt::Display| {
            Failure::new(Code::Decode, format!("the configuration cannot be read: {error}"))
        };
        let value: Value = serde_json::from_str(text).map_err(|e| decode(&e))?;
        let value = spelling::correct(value);
        if !value.is_object() {
            return Err(decode(&"it is no JSON object"));
        }
        let version = match value.get("cniVersion") {
            None => Version::parse("")?,
            Some(version) => {
                Version::parse(version.as_str().ok_or_else(|| decode(&"cniVersion is no text"))?)?
            }
        };
        let said: Said = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            if path == "." { decode(error.inner()) } else { decode(&format!("{path}: {}", error.inner())) }
        })?;
        if said.name.is_empty() {
            return Err(Failure::new(Code::Config, "the configuration has no name"));
        }
        if !is_name(&said.name) {
            let message = format!(
                "name is {:?} (it starts with a letter or digit, and has letters, digits, '_', '.' and '-' only)",
                said.name
            );
            return Err(Failure::new(Code::Config, message));
        }
        Ok(Self { version, said, text: text.to_owned() })
    }

    /// The version that an answer to `text` is to have, also if nothing else of it can be read.
    pub(super) fn version_of(text: &str) -> String {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        spelling::correct(value)["cniVersion"].as_str().unwrap_or_default().to_owned()
    }

    /// Which instance is meant.
    pub(super) fn options(&self) -> Options {
        let Said { state_dir, run_dir, bpffs, cgroup, .. } = self.said.clone();
        Options { paths: PathsOptions { state_dir, run_dir, bpffs, cgroup }, ..Options::default() }
    }

    /// The attachments that `GC` is to leave alone; `None`: the configuration does not say.
    pub(super) fn valid_attachments(&self) -> Option<&[ValidAttachment]> {
        self.said.valid_attachments.as_deref().or(self.said.attachments.as_deref())
    }
}

const fn yes() -> bool {
    true
}

/// Labels are an object, or, as is agreed on for `args.cni`, a list of keys and values.
fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
    #[derive(Deserialize)]
    struct Pair {
        key: String,
        value: String,
    }

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "labels are an object, or a list of objects with key and value")]
    enum Form {
        Object(Labels),
        List(Vec<Pair>),
    }

    let labels = match Form::deserialize(deserializer)? {
        Form::Object(labels) => labels,
        Form::List(pairs) => pairs.into_iter().map(|pair| (pair.key, pair.value)).collect(),
    };
    for (key, value) in &labels {
        crate::manifest::parse_label(&format!("{key}={value}")).map_err(serde::de::Error::custom)?;
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> (u32, String) {
        let failure = Config::parse(text).unwrap_err();
        (failure.code, failure.msg)
    }

    #[test]
    fn without_anything_else_a_name_will_do() {
        let config = Config::parse(r#"{"cniVersion": "1.0.0", "name": "lab", "type": "netfast"}"#).unwrap();
        assert_eq!((config.version.text(), config.said.name.as_str()), ("1.0.0", "lab"));
        assert!(config.said.is_default_gateway && config.said.ip_masq.is_none());
        assert!(config.said.ipam.sets().is_empty() && config.said.ipam.delegate().is_none());
        assert_eq!(config.valid_attachments(), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, code, message) in [
            ("", 6, "the configuration cannot be read: EOF while parsing a value at line 1 column 0"),
            ("[]", 6, "the configuration cannot be read: it is no JSON object"),
            (r#"{"cniVersion": 1}"#, 6, "the configuration cannot be read: cniVersion is no text"),
            (
                r#"{"cniVersion": "0.2.0", "mtu": "x"}"#,
                1,
                "the configuration has CNI version \"0.2.0\", netfast speaks 0.3.1, 0.4.0, 1.0.0, 1.1.0",
            ),
            (
                r#"{"cniVersion": "1.0.0", "name": "a", "runtimeConfig": {"portMappings": [{"hostPort": "x"}]}}"#,
                6,
                "the configuration cannot be read: runtimeConfig.portMappings[0].hostPort: invalid type: string \"x\", \
                 expected i64",
            ),
            (
                r#"{"cniVersion": "1.0.0", "name": "a", "ipam": {"ranges": [[{"subnet": "10.0.0.0"}]]}}"#,
                6,
                "the configuration cannot be read: ipam.ranges[0][0].subnet: invalid IP address syntax",
            ),
            (r#"{"cniVersion": "1.0.0"}"#, 7, "the configuration has no name"),
            (
                r#"{"cniVersion": "1.0.0", "name": "a/b"}"#,
                7,
                "name is \"a/b\" (it starts with a letter or digit, and has letters, digits, '_', '.' and '-' only)",
            ),
        ] {
            assert_eq!(failure(text), (code, message.to_owned()), "{text}");
        }
    }

    #[test]
    fn labels_come_in_two_forms() {
        let config = Config::parse(
            r#"{"cniVersion": "1.0.0", "name": "a", "labels": {"Name": "x"},
                "args": {"labels": {"tier": "db"}, "cni": {"labels": [{"key": "app", "value": "web"}]}}}"#,
        );
        let said = config.unwrap().said;
        assert_eq!(said.labels["Name"], "x");
        assert_eq!((said.args.labels["tier"].as_str(), said.args.cni.labels["app"].as_str()), ("db", "web"));
        let (code, message) = failure(r#"{"cniVersion": "1.0.0", "name": "a", "labels": {"a b": "x"}}"#);
        assert_eq!(code, 6);
        assert!(message.contains("\"a b\" is not a label key"), "{message}");
        let (_, message) = failure(r#"{"cniVersion": "1.0.0", "name": "a", "labels": ["a"]}"#);
        assert!(
            message.ends_with("labels: labels are an object, or a list of objects with key and value"),
            "{message}"
        );
    }

    #[test]
    fn both_names_of_what_is_to_stay_are_known() {
        for name in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            let text = format!(
                r#"{{"cniVersion": "1.1.0", "name": "a", "{name}": [{{"containerID": "c", "ifname": "eth0"}}]}}"#
            );
            let config = Config::parse(&text).unwrap();
            let valid = config.valid_attachments().unwrap();
            assert_eq!((valid[0].container.as_str(), valid[0].ifname.as_str()), ("c", "eth0"));
        }
        let both = r#"{"cniVersion": "1.1.0", "name": "a", "cni.dev/valid-attachments": [], "cni.dev/attachments": []}"#;
        assert_eq!(Config::parse(both).unwrap().valid_attachments(), Some(&[][..]));
    }

    #[test]
    fn the_older_form_of_a_range_is_a_set() {
        let config = Config::parse(
            r#"{"cniVersion": "0.3.1", "name": "a", "ipam": {"type": "netfast", "subnet": "10.1.0.0/24",
                "rangeStart": "10.1.0.10", "gateway": "10.1.0.254", "ranges": [[{"subnet": "fd01::/64"}]]}}"#,
        );
        let sets = config.unwrap().said.ipam.sets();
        assert_eq!(sets.len(), 2);
        assert_eq!(sets[0][0].start, Some("10.1.0.10".parse().unwrap()));
        assert_eq!(sets[1][0].subnet, "fd01::/64".parse().unwrap());
    }

    #[test]
    fn the_version_is_known_though_the_rest_is_wrong() {
        assert_eq!(Config::version_of(r#"{"CNIVersion": "0.4.0", "name": 1}"#), "0.4.0");
        assert_eq!(Config::version_of("nothing"), "");
    }
}
