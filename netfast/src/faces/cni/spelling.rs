//! Keys as they are spelt: runtimes written in Go match keys without regard to case, and some send `HostPort` for
//! `hostPort`.

use serde_json::{Map, Value};

/// The keys that are known, as the specification spells them.
const KEYS: &[&str] = &[
    "address",
    "addresses",
    "advmss",
    "aliases",
    "args",
    "bandwidth",
    "bpffs",
    "cgroup",
    "cni",
    "cni.dev/attachments",
    "cni.dev/valid-attachments",
    "cniVersion",
    "containerID",
    "containerPort",
    "dataDir",
    "dns",
    "domain",
    "dst",
    "egressBurst",
    "egressRate",
    "gateway",
    "gw",
    "hostIP",
    "hostPort",
    "ifname",
    "ingressBurst",
    "ingressRate",
    "interface",
    "interfaces",
    "internal",
    "ipam",
    "ipMasq",
    "ipRanges",
    "ips",
    "isDefaultGateway",
    "key",
    "labels",
    "mac",
    "mtu",
    "name",
    "nameservers",
    "options",
    "policyDir",
    "portMappings",
    "prevResult",
    "priority",
    "protocol",
    "rangeEnd",
    "ranges",
    "rangeStart",
    "redirect",
    "resolvConf",
    "routes",
    "runDir",
    "runtimeConfig",
    "sandbox",
    "scope",
    "search",
    "searches",
    "servers",
    "stateDir",
    "subnet",
    "subnet6",
    "table",
    "type",
    "value",
    "version",
];

/// Those whose objects have keys of the user's, which are left as they are.
const FREE: &[&str] = &["aliases", "labels"];

/// Those of which an empty text is nothing, as that is an address's form in Go.
const MAY_BE_EMPTY: &[&str] = &["gateway", "gw", "rangeEnd", "rangeStart"];

/// Those of which 0 is nothing.
const MAY_BE_ZERO: &[&str] = &["advmss", "mtu"];

/// Spells the keys of all objects as the specification does, and leaves out what is null, and what plugins written in Go do
/// not tell from what is absent. Where a key is there in several spellings, the right one counts.
pub(super) fn correct(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut corrected = Map::new();
            for (key, value) in entries {
                if value.is_null() {
                    continue;
                }
                let known = KEYS.iter().find(|known| known.eq_ignore_ascii_case(&key));
                let spelt = known.map_or_else(|| key.clone(), |known| (*known).to_owned());
                if (MAY_BE_EMPTY.contains(&spelt.as_str()) && value == "")
                    || (MAY_BE_ZERO.contains(&spelt.as_str()) && value == 0)
                {
                    continue;
                }
                let is_free = FREE.contains(&spelt.as_str()) && value.is_object();
                let value = if is_free { value } else { correct(value) };
                if spelt == key || !corrected.contains_key(&spelt) {
                    corrected.insert(spelt, value);
                }
            }
            Value::Object(corrected)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(correct).collect()),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_found_whatever_their_case() {
        let sent = json!({
            "CNIVersion": "1.0.0",
            "runtimeconfig": {
                "PortMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "TCP", "HOSTIP": ""}],
                "Dns": {"Servers": ["192.0.2.53"], "Searches": null},
            },
            "other": {"Name": 1},
        });
        let known = json!({
            "cniVersion": "1.0.0",
            "runtimeConfig": {
                "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": ""}],
                "dns": {"servers": ["192.0.2.53"]},
            },
            "other": {"name": 1},
        });
        assert_eq!(correct(sent), known);
    }

    #[test]
    fn the_users_own_keys_stay() {
        let labels = json!({"Labels": {"Name": "a", "IPAM": "b"}, "aliases": {"DNS": ["x"]}});
        assert_eq!(correct(labels), json!({"labels": {"Name": "a", "IPAM": "b"}, "aliases": {"DNS": ["x"]}}));
        let list = json!({"labels": [{"Key": "Name", "VALUE": "a"}]});
        assert_eq!(correct(list), json!({"labels": [{"key": "Name", "value": "a"}]}));
    }

    #[test]
    fn the_right_spelling_counts() {
        for text in [r#"{"mtu": 1400, "MTU": 9000}"#, r#"{"MTU": 9000, "Mtu": 1, "mtu": 1400}"#] {
            assert_eq!(correct(serde_json::from_str(text).unwrap()), json!({"mtu": 1400}));
        }
    }

    #[test]
    fn what_go_takes_for_absent_is_left_out() {
        let sent = json!({"MTU": 0, "ipam": {"ranges": [[{"subnet": "10.0.0.0/8", "Gateway": "", "rangeStart": ""}]],
            "routes": [{"dst": "0.0.0.0/0", "gw": "", "advmss": 0, "priority": 0}]}, "name": ""});
        let known = json!({"ipam": {"ranges": [[{"subnet": "10.0.0.0/8"}]],
            "routes": [{"dst": "0.0.0.0/0", "priority": 0}]}, "name": ""});
        assert_eq!(correct(sent), known);
    }

    #[test]
    fn the_list_is_sorted_and_unambiguous() {
        let lower: Vec<_> = KEYS.iter().map(|key| key.to_lowercase()).collect();
        let mut sorted = lower.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(lower, sorted);
    }
}
