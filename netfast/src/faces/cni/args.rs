//! `CNI_ARGS`: arguments for one container, as `key=value` pairs with `;` between them.

use std::net::IpAddr;

use super::failure::{Code, Failure, Result};
use crate::manifest;
use crate::model::Labels;

/// What `CNI_ARGS` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Args {
    /// `IP`: addresses the interface is to have.
    pub ips: Vec<IpAddr>,
    /// `MAC`: its hardware address.
    pub mac: Option<[u8; 6]>,
    /// `K8S_POD_NAMESPACE`: the namespace policies know the container by.
    pub namespace: Option<String>,
    /// `K8S_POD_NAME`: the name.
    pub pod: Option<String>,
    /// `LABELS`: labels, as `key:value` with `,` between them.
    pub labels: Labels,
}

impl Args {
    /// Nothing is said.
    pub(super) const NONE: Self =
        Self { ips: Vec::new(), mac: None, namespace: None, pod: None, labels: Labels::new() };

    /// Reads the pairs. A key that is not known is an error unless `IgnoreUnknown` is true.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut args = Self::NONE;
        let mut unknown = Vec::new();
        let mut may_be_unknown = false;
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let mut parts = pair.split('=');
            let (Some(key), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
                return Err(wrong(format!("{pair:?} is not one key=value")));
            };
            match key {
                "IgnoreUnknown" => may_be_unknown = truth(value)?,
                "IP" => args.ips = addresses(value)?,
                "MAC" if value.is_empty() => {}
                "MAC" => args.mac = Some(manifest::parse_mac(value).map_err(|e| wrong(e.to_string()))?),
                "K8S_POD_NAMESPACE" => args.namespace = non_empty(value),
                "K8S_POD_NAME" => args.pod = non_empty(value),
                "LABELS" => args.labels = labels(value)?,
                // Others' business, and too common to be refused.
                "GATEWAY" | "K8S_POD_UID" | "K8S_POD_INFRA_CONTAINER_ID" => {}
                _ => unknown.push(key),
            }
        }
        if !unknown.is_empty() && !may_be_unknown {
            let message =
                format!("{} is not known (with IgnoreUnknown=1 it is passed over)", unknown.join(", "));
            return Err(wrong(message));
        }
        Ok(args)
    }
}

fn non_empty(value: &str) -> Option<String> {
    Some(value.to_owned()).filter(|value| !value.is_empty())
}

fn truth(value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(wrong(format!("IgnoreUnknown is {value:?}, neither true nor false"))),
    }
}

/// Addresses with `,` between them. The length of a prefix is that of the network, whatever is said here.
fn addresses(value: &str) -> Result<Vec<IpAddr>> {
    value
        .split(',')
        .filter(|address| !address.is_empty())
        .map(|address| parse_address(address).ok_or_else(|| wrong(format!("IP: {address:?} is no address"))))
        .collect()
}

/// Reads an address, with the length of a prefix or without.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    match text.split_once('/') {
        Some(_) => text.parse::<ipnet::IpNet>().ok().map(|net| net.addr()),
        None => text.parse().ok(),
    }
}

fn labels(value: &str) -> Result<Labels> {
    let pairs = value.split(',').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair
                .split_once(':')
                .ok_or_else(|| wrong(format!("LABELS: {pair:?} is not a label (write key:value)")))?;
            manifest::parse_label(&format!("{key}={value}")).map_err(|e| wrong(format!("LABELS: {e}")))
        })
        .collect()
}

fn wrong(message: String) -> Failure {
    Failure::new(Code::Environment, format!("CNI_ARGS: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_read_in_any_order() {
        let text = "MAC=02:00:00:00:00:10;K8S_POD_NAME=web;IP=10.1.2.3/24,fd00::5;IgnoreUnknown=true;X=y;\
                    K8S_POD_NAMESPACE=shop;K8S_POD_UID=1;LABELS=app:web,example.com/tier:";
        let args = Args::parse(text).unwrap();
        assert_eq!(args.ips, ["10.1.2.3", "fd00::5"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(args.mac, Some([2, 0, 0, 0, 0, 0x10]));
        assert_eq!((args.namespace.as_deref(), args.pod.as_deref()), (Some("shop"), Some("web")));
        let labels: Vec<_> = args.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(labels, [("app", "web"), ("example.com/tier", "")]);
        assert_eq!(Args::parse(""), Ok(Args::NONE));
        assert_eq!(Args::parse(";;"), Ok(Args::NONE));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, message) in [
            ("a=b=c", "CNI_ARGS: \"a=b=c\" is not one key=value"),
            ("IP", "CNI_ARGS: \"IP\" is not one key=value"),
            ("a=b;ip=1", "CNI_ARGS: a, ip is not known (with IgnoreUnknown=1 it is passed over)"),
            ("IgnoreUnknown=0;a=b", "CNI_ARGS: a is not known (with IgnoreUnknown=1 it is passed over)"),
            ("IgnoreUnknown=yes", "CNI_ARGS: IgnoreUnknown is \"yes\", neither true nor false"),
            ("IP=10.0.0.256", "CNI_ARGS: IP: \"10.0.0.256\" is no address"),
            ("MAC=02:00", "CNI_ARGS: \"02:00\" is not a MAC address (write it like 02:00:00:00:00:10)"),
            ("LABELS=app", "CNI_ARGS: LABELS: \"app\" is not a label (write key:value)"),
        ] {
            let failure = Args::parse(text).unwrap_err();
            assert_eq!((failure.code, failure.msg.as_str()), (4, message));
        }
    }
}
