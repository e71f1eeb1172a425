//! What netfast calls the networks and containers of a runtime, whose names may have letters that its own do not.

use super::call::Call;
use super::failure::{Code, Failure, Result};
use crate::model::name::NameError;
use crate::model::{EndpointId, Labels, Name};
use crate::store::hash;

/// The interface that a container's name stands for.
const FIRST: &str = "eth0";
/// Characters of a container's id that stand for it where the runtime tells no name.
const SHORT_ID: usize = 12;
/// Characters of a name of an endpoint. What is left to those of a host name is for a piece of the container's id.
const LONGEST: usize = 54;

/// A network's name: its own if it may be one, else one made of it.
pub(super) fn network(name: &str) -> Result<Name> {
    name.parse().or_else(|_: NameError| label(name, LONGEST))
}

/// What an endpoint is called: by its pod, or by the first characters of its container's id; and by the interface, where
/// that is not the usual one.
pub(super) fn endpoint(call: &Call) -> Result<EndpointId> {
    let environment = &call.environment;
    let id = &environment.container;
    let name = environment.args.pod.as_deref().unwrap_or_else(|| id.get(..SHORT_ID).unwrap_or(id));
    let name = if environment.ifname == FIRST {
        label(name, LONGEST)?
    } else {
        let interface = label(&environment.ifname, LONGEST / 2)?;
        let name = label(name, LONGEST - interface.as_str().len() - 1)?;
        parse(&format!("{name}-{interface}"))?
    };
    let namespace = environment.args.namespace.as_deref().unwrap_or("default");
    Ok(EndpointId { namespace: label(namespace, LONGEST)?, name })
}

/// The labels of a container. The more a place is about this one container, the more it counts.
pub(super) fn labels(call: &Call) -> Labels {
    let said = &call.config.said;
    let mut labels = said.labels.clone();
    labels.extend(said.args.labels.clone());
    labels.extend(said.args.cni.labels.clone());
    labels.extend(call.environment.args.labels.clone());
    labels
}

/// Other names of the container. Those that no host can have are passed over.
pub(super) fn aliases(call: &Call) -> Vec<Name> {
    let said = &call.config.said;
    let aliases = &said.runtime_config.aliases;
    // By agreement a list; podman and CRI-O send one for each network.
    let list = if aliases.is_array() { aliases } else { &aliases[said.name.as_str()] };
    let names = list.as_array().into_iter().flatten().filter_map(|name| name.as_str());
    names.filter_map(|name| name.to_lowercase().parse().ok()).collect()
}

/// A text as a name of `room` letters, digits and `-`: itself if it is one, else one made of it, with a number that is
/// another one for every text.
fn label(text: &str, room: usize) -> Result<Name> {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let kept: String = text.to_lowercase().chars().map(|c| if is_letter(c) { c } else { '-' }).collect();
    let kept = kept.trim_matches('-');
    if kept == text && !kept.is_empty() && kept.len() <= room {
        return parse(kept);
    }
    // Eight digits, and a `-` before them.
    let number = format!("{:08x}", hash(text.as_bytes()) & 0xffff_ffff);
    let start = kept.get(..room.saturating_sub(9)).unwrap_or(kept).trim_end_matches('-');
    let made = if start.is_empty() { format!("n-{number}") } else { format!("{start}-{number}") };
    parse(&made)
}

fn parse(name: &str) -> Result<Name> {
    name.parse().map_err(|e: NameError| Failure::new(Code::Internal, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::call::testing::call;
    use super::*;

    fn id(variables: &[(&str, &str)]) -> String {
        endpoint(&call(variables, "")).unwrap().to_string()
    }

    #[test]
    fn a_network_keeps_its_name_where_it_can() {
        for name in ["lab", "my.net", "a-1"] {
            assert_eq!(network(name).unwrap().as_str(), name);
        }
        let (one, other) = (network("My_Net").unwrap(), network("my-net").unwrap());
        assert_eq!(other.as_str(), "my-net");
        assert!(one.as_str().starts_with("my-net-") && one != network("my_Net").unwrap(), "{one}");
        assert_eq!(network("___").unwrap().as_str().len(), 10);
    }

    #[test]
    fn a_container_is_called_by_its_pod_or_its_id() {
        let long = "0123456789abcdef0123456789abcdef";
        assert_eq!(id(&[("CNI_CONTAINERID", long)]), "0123456789ab");
        assert_eq!(id(&[("CNI_CONTAINERID", long), ("CNI_IFNAME", "eth1")]), "0123456789ab-eth1");
        assert_eq!(id(&[("CNI_CONTAINERID", "default-t1")]), "default-t1");
        let pod = |args| id(&[("CNI_ARGS", args)]);
        assert_eq!(pod("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0"), "shop/web-0");
        assert!(pod("K8S_POD_NAME=My.App").starts_with("my-app-"));
        let many = "x".repeat(200);
        assert_eq!(pod(&format!("K8S_POD_NAME={many}")).len(), 54);
    }

    #[test]
    fn the_nearest_label_counts() {
        let config = r#","labels": {"a": "1", "b": "1", "c": "1", "d": "1"},
            "args": {"labels": {"b": "2", "c": "2", "d": "2"}, "cni": {"labels": {"c": "3", "d": "3"}}}"#;
        let labels = labels(&call(&[("CNI_ARGS", "LABELS=d:4")], config));
        let pairs: Vec<_> = labels.into_iter().collect();
        let wanted = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")];
        assert_eq!(pairs, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn aliases_come_in_two_forms() {
        let of = |aliases: &str| aliases_of(&format!(r#","runtimeConfig": {{"aliases": {aliases}}}"#));
        fn aliases_of(config: &str) -> Vec<String> {
            aliases(&call(&[], config)).iter().map(ToString::to_string).collect()
        }
        assert_eq!(of(r#"["db", "my_db", "DB.local"]"#), ["db", "db.local"]);
        assert_eq!(of(r#"{"lab": ["db"], "other": ["x"]}"#), ["db"]);
        assert_eq!(of(r#"{"other": ["x"]}"#), [""; 0]);
    }
}
