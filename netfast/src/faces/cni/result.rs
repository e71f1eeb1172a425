//! Results: what an interface has got, in the forms of all versions.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::{Code, Failure, Result};
use super::spelling;
use super::version::Version;
use crate::model::{self, RouteOptions};

/// A result, in the form of the newest version. Which version a list is printed for decides what of it is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CniResult {
    /// The version it is printed in.
    pub cni_version: String,
    /// Devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<Ip>,
    /// Routes inside the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// What the container is to resolve names with.
    pub dns: Dns,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Largest IP packet in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The container it is in, by the path of its network namespace; empty: it is the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// Path of its socket.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// Address of the card.
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ip {
    /// `4` or `6`, in old versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Which of the devices has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// The address, with the length of its prefix.
    pub address: IpNet,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

impl Ip {
    pub(super) const fn new(interface: usize, address: IpNet, gateway: Option<IpAddr>) -> Self {
        Self { version: None, interface: Some(interface), address, gateway }
    }
}

/// A route inside the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    /// Destinations.
    pub dst: IpNet,
    /// Who takes them on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// Largest IP packet in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// What the other end is told to send at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Lower ones come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// The table it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// How far it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u32>,
}

impl Route {
    pub(super) const fn new(dst: IpNet, gw: Option<IpAddr>) -> Self {
        Self { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }

    /// What is said of it besides. 0 says nothing: it is what there is anyway.
    pub(super) fn options(&self) -> Result<RouteOptions> {
        let said = |value: Option<u32>| value.filter(|value| *value != 0);
        let scope = said(self.scope).map(|scope| {
            u8::try_from(scope).map_err(|e| {
                Failure::new(Code::Config, format!("route to {}: scope is {scope}: {e}", self.dst))
            })
        });
        Ok(RouteOptions {
            mtu: said(self.mtu),
            advmss: said(self.advmss),
            priority: said(self.priority),
            table: said(self.table),
            scope: scope.transpose()?,
        })
    }
}

impl From<&model::Route> for Route {
    fn from(route: &model::Route) -> Self {
        let RouteOptions { mtu, advmss, priority, table, scope } = route.options;
        Self { dst: route.to, gw: route.via, mtu, advmss, priority, table, scope: scope.map(u32::from) }
    }
}

/// What a container is to resolve names with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Dns {
    /// Addresses of servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The own domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Domains to search in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl CniResult {
    /// Reads a result of any version that is spoken.
    pub(super) fn parse(value: &Value, what: &str) -> Result<Self> {
        serde_path_to_error::deserialize(spelling::correct(value.clone())).map_err(|error| {
            let path = error.path();
            Failure::new(Code::Decode, format!("{what} cannot be read: {path}: {}", error.inner()))
        })
    }

    /// As it is printed in a version.
    pub(super) fn print(&self, version: Version) -> String {
        let mut printed = Self { cni_version: version.text().to_owned(), ..self.clone() };
        for ip in &mut printed.ips {
            let family = if ip.address.addr().is_ipv4() { "4" } else { "6" };
            ip.version = Some(family.to_owned()).filter(|_| !version.has("1.0.0"));
        }
        if !version.has("1.1.0") {
            for interface in &mut printed.interfaces {
                let Interface { name, mac, sandbox, .. } = interface.clone();
                *interface = Interface { name, mac, sandbox, ..Interface::default() };
            }
            for route in &mut printed.routes {
                *route = Route::new(route.dst, route.gw);
            }
        }
        // Texts, numbers and addresses always have a JSON form.
        serde_json::to_string(&printed).unwrap_or_default()
    }
}

/// As results have a hardware address.
pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result() -> CniResult {
        CniResult {
            interfaces: vec![
                Interface { name: "nf-lab".to_owned(), mtu: Some(1500), ..Interface::default() },
                Interface {
                    name: "eth0".to_owned(),
                    mac: mac_text([2, 0x65, 0, 0, 0, 1]),
                    mtu: Some(1500),
                    sandbox: "/run/netns/c".to_owned(),
                    ..Interface::default()
                },
            ],
            ips: vec![Ip::new(1, "10.1.0.2/24".parse().unwrap(), Some("10.1.0.1".parse().unwrap()))],
            routes: vec![Route {
                mtu: Some(1400),
                ..Route::new("0.0.0.0/0".parse().unwrap(), Some("10.1.0.1".parse().unwrap()))
            }],
            dns: Dns { nameservers: vec!["192.0.2.53".to_owned()], ..Dns::default() },
            ..CniResult::default()
        }
    }

    fn printed(version: &str) -> Value {
        serde_json::from_str(&result().print(Version::parse(version).unwrap())).unwrap()
    }

    #[test]
    fn each_version_has_its_form() {
        let newest = json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "nf-lab", "mtu": 1500},
                {"name": "eth0", "mac": "02:65:00:00:00:01", "mtu": 1500, "sandbox": "/run/netns/c"},
            ],
            "ips": [{"interface": 1, "address": "10.1.0.2/24", "gateway": "10.1.0.1"}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400}],
            "dns": {"nameservers": ["192.0.2.53"]},
        });
        assert_eq!(printed("1.1.0"), newest);
        let mut older = newest;
        older["cniVersion"] = "1.0.0".into();
        older["routes"] = json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]);
        older["interfaces"][0] = json!({"name": "nf-lab"});
        older["interfaces"][1].as_object_mut().unwrap().remove("mtu");
        assert_eq!(printed("1.0.0"), older);
        for version in ["0.3.1", "0.4.0"] {
            older["cniVersion"] = version.into();
            older["ips"][0]["version"] = "4".into();
            assert_eq!(printed(version), older);
        }
    }

    #[test]
    fn results_of_all_versions_are_read() {
        for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let read = CniResult::parse(&printed(version), "prevResult").unwrap();
            let (again, version) =
                (read.print(Version::parse("1.0.0").unwrap()), Version::parse("1.0.0").unwrap());
            assert_eq!(again, result().print(version));
        }
        let failure = CniResult::parse(&json!({"ips": [{"address": "x"}]}), "prevResult").unwrap_err();
        assert_eq!(
            (failure.code, failure.msg.as_str()),
            (6, "prevResult cannot be read: ips[0].address: invalid IP address syntax")
        );
    }
}
