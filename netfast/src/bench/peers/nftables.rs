//! A bridge with nftables rules, the published ports in a map: the best that netfilter's own tools can do.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::Result;

use super::ground::{BRIDGE, CLIENT, Ground, OUTSIDE, SERVER, SUBNET, UPLINK, UPLINK_SUBNET};
use super::{FIRST_PORT, last, middle, stranger, tool};
use crate::bench::plan::Scale;
use crate::net::Netns;

const NFT: &str = "nft";
/// Reads from the standard input.
const ARGUMENTS: [&str; 2] = ["-f", "-"];

/// Puts the rules in force.
pub(super) fn rules(ground: &Ground, scale: Scale) -> Result<()> {
    tool::feed(&ground.host, NFT, &ARGUMENTS, &everything(scale))
}

/// Publishes the ports of a scale anew.
pub(crate) fn publish(host: &Netns, scale: Scale) -> Result<()> {
    let elements = elements(FIRST_PORT..=last(scale.ports), SERVER);
    let text = format!("flush map ip bench tcp_ports\nadd element ip bench tcp_ports {{ {elements} }}\n");
    tool::feed(host, NFT, &ARGUMENTS, &text)
}

/// Takes back what [`publish`] did.
pub(crate) fn unpublish(host: &Netns) -> Result<()> {
    tool::feed(host, NFT, &ARGUMENTS, "flush map ip bench tcp_ports\n")
}

/// Publishes one port of one more container.
pub(crate) fn append(host: &Netns, address: Ipv4Addr, port: u16) -> Result<()> {
    let text = format!("add element ip bench tcp_ports {{ {} }}\n", elements(port..=port, address));
    tool::feed(host, NFT, &ARGUMENTS, &text)
}

/// Drops what comes from the world outside at the uplink's ingress hook, or no longer.
pub(crate) fn drop_outside(host: &Netns, on: bool) -> Result<()> {
    if !on {
        return tool::feed(host, NFT, &ARGUMENTS, "delete table netdev bench\n");
    }
    let text = format!(
        "table netdev bench {{
  chain ingress {{
    type filter hook ingress device {UPLINK} priority -500; policy accept;
    ip saddr {OUTSIDE} drop
  }}
}}\n"
    );
    tool::feed(host, NFT, &ARGUMENTS, &text)
}

fn everything(scale: Scale) -> String {
    let tcp = elements(FIRST_PORT..=last(scale.ports), SERVER);
    let used = middle(scale.ports);
    let udp = elements(used..=used, SERVER);
    let (sets, policy) = if scale.rules > 1 { policy(scale) } else { (String::new(), String::new()) };
    format!(
        "table ip bench {{
  map tcp_ports {{ type inet_service : ipv4_addr . inet_service; elements = {{ {tcp} }} }}
  map udp_ports {{ type inet_service : ipv4_addr . inet_service; elements = {{ {udp} }} }}
{sets}  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname != \"{BRIDGE}\" fib daddr type local dnat to tcp dport map @tcp_ports
    iifname != \"{BRIDGE}\" fib daddr type local dnat to udp dport map @udp_ports
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {SUBNET} oifname != \"{BRIDGE}\" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
{policy}    ct status dnat accept
    iifname \"{BRIDGE}\" accept
  }}
}}
"
    )
}

fn elements(ports: impl Iterator<Item = u16>, address: Ipv4Addr) -> String {
    ports.map(|port| format!("{port} : {address} . {port}")).collect::<Vec<_>>().join(", ")
}

/// What netfast's policy says, as a set and the rules that use it.
fn policy(scale: Scale) -> (String, String) {
    let mut allowed = String::new();
    for number in 1..scale.rules {
        // Writing to a string cannot fail.
        let _ = write!(allowed, "{} . 443, ", stranger(number));
    }
    let sets = format!("  set allowed {{ type ipv4_addr . inet_service; elements = {{ {allowed} }} }}\n");
    let mut rules = format!("    ip daddr {SERVER} ip saddr . tcp dport @allowed accept\n");
    let _ = writeln!(rules, "    ip daddr {SERVER} ip saddr != {{ {CLIENT}, {UPLINK_SUBNET} }} drop");
    (sets, rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_and_every_rule_is_an_element() {
        let text = everything(Scale { ports: 100, rules: 100 });
        assert_eq!(text.matches(" : 10.88.0.3 . ").count(), 101);
        assert_eq!(text.matches("203.0.").count(), 99);
    }
}
