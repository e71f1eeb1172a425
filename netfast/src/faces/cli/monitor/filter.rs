//! Which events are shown.

use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;
use netfast_common::reason::DropReason;

use crate::reconcile::monitor::EventView;

/// What an event must have to be shown. All that is asked for has to fit.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Filter {
    /// Only what concerns this endpoint: it sends, receives, or denies it.
    #[arg(long, value_name = "NAME")]
    pub(super) endpoint: Option<String>,
    /// Only what has this source or destination address; a prefix will do.
    #[arg(long, value_name = "ADDRESS", value_parser = net)]
    addr: Option<IpNet>,
    /// Only what has this source or destination port.
    #[arg(long)]
    port: Option<u16>,
    /// Only drops for this reason, as `netfast status` names it. May be repeated.
    #[arg(long = "reason", value_name = "REASON", value_parser = reason)]
    pub(super) reasons: Vec<DropReason>,
}

impl Filter {
    /// Whether an event is shown. Drops for other reasons do not come here.
    pub(super) fn takes(&self, event: &EventView) -> bool {
        let seen = event.seen.as_ref();
        let endpoint = |wanted: &String| {
            let named = [&event.endpoint, &event.src_endpoint, &event.dst_endpoint];
            named
                .into_iter()
                .flatten()
                .chain(seen.and_then(|s| s.dst_endpoint.as_ref()))
                .any(|name| name == wanted)
        };
        let addr = |wanted: &IpNet| {
            let addresses = [event.src, event.dst, seen.map(|s| s.src), seen.map(|s| s.dst)];
            addresses.into_iter().flatten().any(|addr| wanted.contains(&addr))
        };
        let port = |wanted: u16| {
            [event.sport, event.dport, seen.map(|s| s.sport), seen.map(|s| s.dport)].contains(&Some(wanted))
        };
        self.endpoint.as_ref().is_none_or(endpoint)
            && self.addr.as_ref().is_none_or(addr)
            && self.port.is_none_or(port)
    }
}

fn net(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse::<IpNet>())
        .map_err(|_not_a_prefix| "is no address, and no prefix as 10.0.0.0/8".to_owned())
}

fn reason(text: &str) -> Result<DropReason, String> {
    let found = DropReason::ALL.iter().find(|reason| reason.name() == text);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        format!("is none of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::drop_event;
    use super::*;

    #[test]
    fn everything_asked_for_has_to_fit() {
        let event = drop_event();
        let of = |endpoint: Option<&str>, addr: Option<&str>, port| Filter {
            endpoint: endpoint.map(str::to_owned),
            addr: addr.map(|addr| net(addr).unwrap()),
            port,
            reasons: Vec::new(),
        };
        for (filter, wanted) in [
            (of(None, None, None), true),
            (of(Some("web"), None, None), true),
            (of(Some("client"), Some("10.77.0.2"), Some(81)), true),
            (of(Some("client"), Some("10.77.0.0/24"), Some(4000)), true),
            (of(Some("other"), None, None), false),
            (of(None, Some("10.77.0.4"), None), false),
            (of(Some("web"), None, Some(80)), false),
        ] {
            assert_eq!(filter.takes(&event), wanted, "{filter:?}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        assert!(net("10.0.0.300").is_err());
        assert_eq!(reason("martian"), Ok(DropReason::Martian));
        assert!(reason("mars").unwrap_err().contains("policy_ingress"));
    }
}
