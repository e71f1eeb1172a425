//! The network that a configuration means.

use super::addressing::Addressing;
use super::config::Said;
use crate::model::network::DEFAULT_MTU;
use crate::model::{Name, Network};

/// The subnet of a network of which nothing is said.
pub(super) const DEFAULT_SUBNET: &str = "10.77.0.0/16";

/// The network to attach to. One that is there is meant as it is if it does not contradict what is said.
pub(super) fn network(
    name: &Name,
    said: &Said,
    addressing: &Addressing,
    defined: Option<&Network>,
) -> Network {
    match defined {
        Some(defined) if agrees(defined, said, addressing) => defined.clone(),
        _ => {
            let internal = said.internal.unwrap_or(false);
            let network = Network {
                subnet: DEFAULT_SUBNET.parse().ok(),
                internal,
                // Without an outside there is nothing to be routed to.
                routed: said.ip_masq == Some(false) && !internal,
                mtu: said.mtu.unwrap_or(DEFAULT_MTU),
                ..Network::new(name.clone())
            };
            if addressing.sets.is_empty() { network } else { network.with_subnets(addressing.sets.subnets()) }
        }
    }
}

fn agrees(defined: &Network, said: &Said, addressing: &Addressing) -> bool {
    let said_of = Network::new(defined.name.clone()).with_subnets(addressing.sets.subnets());
    let subnets = addressing.sets.is_empty() || defined.subnets().eq(said_of.subnets());
    subnets
        && said.mtu.is_none_or(|mtu| mtu == defined.mtu)
        && said.internal.is_none_or(|internal| internal == defined.internal)
        && said.ip_masq.is_none_or(|masq| masq != defined.routed || defined.internal)
}

#[cfg(test)]
mod tests {
    use super::super::call::testing::call;
    use super::*;

    fn of(config: &str, defined: Option<&Network>) -> Network {
        let said = call(&[], config).config.said;
        network(&"lab".parse().unwrap(), &said, &Addressing::of(&said).unwrap(), defined)
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let network = of("", None);
        assert_eq!(network.subnet.unwrap().to_string(), DEFAULT_SUBNET);
        assert_eq!(
            (network.subnet6, network.mtu, network.routed, network.internal),
            (None, 1500, false, false)
        );
        let network = of(
            r#","ipMasq": false, "mtu": 1400, "ipam": {"subnet": "fd01::/64", "gateway": "fd01::9"}"#,
            None,
        );
        assert_eq!((network.subnet, network.mtu, network.routed), (None, 1400, true));
        assert_eq!(network.gateway6(), Some("fd01::9".parse().unwrap()));
    }

    #[test]
    fn a_network_that_is_there_is_joined() {
        let defined = of(r#","ipMasq": false, "mtu": 9000, "ipam": {"subnet": "10.1.0.0/24"}"#, None);
        for config in ["", r#","mtu": 9000"#, r#","ipMasq": false, "ipam": {"subnet": "10.1.0.0/24"}"#] {
            assert_eq!(of(config, Some(&defined)), defined, "{config}");
        }
        for config in [r#","mtu": 1500"#, r#","ipMasq": true"#, r#","ipam": {"subnet": "10.2.0.0/24"}"#] {
            assert_ne!(of(config, Some(&defined)), defined, "{config}");
        }
    }
}
