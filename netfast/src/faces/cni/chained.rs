//! Calls after another plugin, which has made the interface: addresses, routes and the link are that one's.

use std::net::IpAddr;

use super::address_sets::AddressSets;
use super::call::Call;
use super::failure::{Code, Failure, Result};
use super::result::{CniResult, mac_text};
use super::{identity, policies, ports};
use crate::model::{self, Endpoint, Network};
use crate::net::Netlink;
use crate::reconcile::attachments::{Attachment, AttachmentView};
use crate::reconcile::instance::Instance;

/// Attaches netfast to the interface that the plugins before it have made. Answers what they have answered.
pub(super) fn add(call: &Call) -> Result<String> {
    let said = &call.config.said;
    let Some(previous) = &said.prev_result else {
        return Err(Failure::new(Code::Internal, "no prevResult"));
    };
    if said.ipam.delegate().is_some() || !said.ipam.sets().is_empty() {
        let failure = Failure::new(Code::Config, "ipam: addresses are given by the plugin before netfast");
        return Err(failure.details("remove ipam from netfast's part of the list"));
    }
    let result = CniResult::parse(previous, "prevResult")?;
    let (netns, _handle) = call.netns()?;
    let addresses = AddressSets::given(&addresses(&result, &call.environment.ifname)?);
    agree_on_mac(call, &result)?;
    let key = call.key()?;
    let endpoint = Endpoint {
        labels: identity::labels(call),
        publish: ports::publish(&said.runtime_config.port_mappings)?,
        aliases: identity::aliases(call),
        redirect: is_redirected(call),
        attachment: model::Attachment::Adopted(netns.to_owned()),
        ..addresses.endpoint(identity::endpoint(call)?, key.network.clone())
    };
    let network = Network::adopted(key.network.clone());
    let mut instance = Instance::open(&call.config.options())?;
    let known = instance.known(&key.network)?;
    policies::follow(&mut instance, said, known.policy_directory.as_ref())?;
    instance.attach(Attachment { key, endpoint, network })?;
    let mut answer = previous.clone();
    answer["cniVersion"] = call.config.version.text().into();
    Ok(answer.to_string())
}

/// Which of the devices of a result is the container's interface.
fn place(result: &CniResult, ifname: &str) -> Option<usize> {
    result.interfaces.iter().position(|i| !i.sandbox.is_empty() && i.name == ifname)
}

/// The addresses that the plugins before have given the interface.
fn addresses(result: &CniResult, ifname: &str) -> Result<Vec<IpAddr>> {
    let Some(place) = place(result, ifname) else {
        let message = format!("prevResult has no interface {ifname} in a container");
        return Err(Failure::new(Code::Config, message)
            .details("netfast comes after the plugin that makes the interface"));
    };
    let own = result.ips.iter().filter(|ip| ip.interface.is_none_or(|own| own == place));
    let own: Vec<_> = own.map(|ip| ip.address.addr()).collect();
    if own.is_empty() {
        let message = format!("prevResult gives {ifname} no address");
        return Err(
            Failure::new(Code::Unsupported, message).details("netfast tells endpoints apart by theirs")
        );
    }
    Ok(own)
}

/// Sees that the interface is the one the result tells of. Whether it is there, and of which kind, the core looks.
fn agree_on_mac(call: &Call, result: &CniResult) -> Result<()> {
    let (_, netns) = call.netns()?;
    let ifname = &call.environment.ifname;
    let told = place(result, ifname).and_then(|place| result.interfaces.get(place)).map(|i| i.mac.as_str());
    let link = Netlink::open(&netns).and_then(|netlink| netlink.link(ifname));
    match (told, link.ok().and_then(|link| link.mac)) {
        (Some(told), Some(has)) if !told.is_empty() && !told.eq_ignore_ascii_case(&mac_text(has)) => {
            let message = format!("prevResult has {told} for {ifname}, which has {}", mac_text(has));
            Err(Failure::new(Code::Config, message))
        }
        _ => Ok(()),
    }
}

/// Whether packets go past what others do at the host's end. Where the runtime tells of a limit, the plugin that keeps it may
/// be still to come.
fn is_redirected(call: &Call) -> bool {
    let said = &call.config.said;
    let is_limited =
        said.runtime_config.bandwidth.is_some_and(|limit| limit.ingress_rate > 0 || limit.egress_rate > 0);
    said.redirect.unwrap_or(true) && !is_limited
}

/// What differs between the result and what was attached.
pub(super) fn compare(previous: &CniResult, view: &AttachmentView) -> Vec<String> {
    let name = &view.container_ifname;
    match addresses(previous, name) {
        Ok(told) => told
            .into_iter()
            .filter(|ip| !view.addresses.iter().any(|address| address.addr() == *ip))
            .map(|ip| format!("{ip} of prevResult is not what netfast knows of {name}"))
            .collect(),
        Err(failure) => vec![failure.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::call::testing::call;
    use super::*;

    fn of(ips: &Value) -> Result<Vec<IpAddr>> {
        let result = json!({
            "interfaces": [{"name": "eth0"}, {"name": "eth0", "sandbox": "/run/netns/c"}],
            "ips": ips,
        });
        addresses(&CniResult::parse(&result, "prevResult").unwrap(), "eth0")
    }

    #[test]
    fn all_addresses_of_the_interface_are_taken() {
        let ips = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        let several = json!([
            {"interface": 0, "address": "10.9.0.9/24"},
            {"interface": 1, "address": "10.1.0.2/24"},
            {"address": "fd01::2/64"},
            {"interface": 1, "address": "10.2.0.2/24"},
        ]);
        assert_eq!(of(&several), Ok(ips(&["10.1.0.2", "fd01::2", "10.2.0.2"])));
        assert_eq!(of(&json!([{"interface": 1, "address": "fd01::2/64"}])), Ok(ips(&["fd01::2"])));
        assert_eq!(
            of(&json!([])).unwrap_err().to_string(),
            "prevResult gives eth0 no address (netfast tells endpoints apart by theirs)"
        );
        let result = CniResult::parse(&json!({"interfaces": [{"name": "eth0"}]}), "prevResult").unwrap();
        let failure = addresses(&result, "eth0").unwrap_err();
        assert_eq!(
            (failure.code, failure.msg.as_str()),
            (7, "prevResult has no interface eth0 in a container")
        );
    }

    #[test]
    fn what_is_limited_is_not_redirected() {
        for (config, is) in [
            ("", true),
            (r#","redirect": false"#, false),
            (r#","runtimeConfig": {"bandwidth": {"ingressRate": 8000, "ingressBurst": 8000}}"#, false),
            (r#","runtimeConfig": {"bandwidth": {"egressRate": 8000, "egressBurst": 8000}}"#, false),
            (r#","runtimeConfig": {"bandwidth": {"ingressRate": 0}}"#, true),
        ] {
            assert_eq!(is_redirected(&call(&[], config)), is, "{config}");
        }
    }
}
