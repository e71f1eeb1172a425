//! A bridge with iptables rules as Docker writes them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::Result;

use super::ground::{BRIDGE, CLIENT, Ground, OUTSIDE, SERVER, SUBNET, UPLINK_SUBNET};
use super::{FIRST_PORT, last, middle, stranger, tool};
use crate::bench::plan::Scale;
use crate::net::Netns;

/// Where the rules live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// In nftables.
    Nft,
    /// In iptables' own tables.
    Legacy,
}

impl Backend {
    const fn restore(self) -> &'static str {
        match self {
            Self::Nft => "iptables-nft-restore",
            Self::Legacy => "iptables-legacy-restore",
        }
    }
}

/// Puts the rules of Docker in force.
pub(super) fn rules(ground: &Ground, backend: Backend, scale: Scale) -> Result<()> {
    tool::feed(&ground.host, backend.restore(), &[], &everything(scale))
}

/// Publishes the ports of a scale anew: what is in the chains of published ports is replaced.
pub(crate) fn publish(host: &Netns, backend: Backend, scale: Scale) -> Result<()> {
    tool::feed(host, backend.restore(), &["--noflush"], &ports_alone(scale))
}

/// Takes back what [`publish`] did.
pub(crate) fn unpublish(host: &Netns, backend: Backend) -> Result<()> {
    tool::feed(
        host,
        backend.restore(),
        &["--noflush"],
        "*nat\n:DOCKER -\nCOMMIT\n*filter\n:DOCKER -\nCOMMIT\n",
    )
}

/// Publishes one port of one more container, as a runtime does: without a look at what others have.
pub(crate) fn append(host: &Netns, backend: Backend, address: Ipv4Addr, port: u16) -> Result<()> {
    let nat = published(port, address, "tcp");
    let filter = accepted(port, address, "tcp");
    let text = format!("*nat\n{nat}COMMIT\n*filter\n{filter}COMMIT\n");
    tool::feed(host, backend.restore(), &["--noflush"], &text)
}

/// Drops what comes from the world outside as early as iptables can, or no longer.
pub(crate) fn drop_outside(host: &Netns, backend: Backend, on: bool) -> Result<()> {
    let rule = if on { format!("-A PREROUTING -s {OUTSIDE}/32 -j DROP\n") } else { String::new() };
    // What the table held goes.
    tool::feed(host, backend.restore(), &[], &format!("*raw\n:PREROUTING ACCEPT [0:0]\n{rule}COMMIT\n"))
}

fn everything(scale: Scale) -> String {
    let (nat, filter) = ports(scale);
    let user = if scale.rules > 1 { policy(scale) } else { String::new() };
    format!(
        "*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {SUBNET} ! -o {BRIDGE} -j MASQUERADE
-A DOCKER -i {BRIDGE} -j RETURN
{nat}COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o {BRIDGE} -j DOCKER
-A FORWARD -i {BRIDGE} ! -o {BRIDGE} -j ACCEPT
-A FORWARD -i {BRIDGE} -o {BRIDGE} -j ACCEPT
{filter}-A DOCKER-ISOLATION-STAGE-1 -i {BRIDGE} ! -o {BRIDGE} -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o {BRIDGE} -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
{user}-A DOCKER-USER -j RETURN
COMMIT
"
    )
}

/// The rules of published ports, in the tables nat and filter.
fn ports(scale: Scale) -> (String, String) {
    let (mut nat, mut filter) = (String::new(), String::new());
    for port in FIRST_PORT..=last(scale.ports) {
        nat.push_str(&published(port, SERVER, "tcp"));
        filter.push_str(&accepted(port, SERVER, "tcp"));
    }
    let used = middle(scale.ports);
    nat.push_str(&published(used, SERVER, "udp"));
    filter.push_str(&accepted(used, SERVER, "udp"));
    (nat, filter)
}

fn ports_alone(scale: Scale) -> String {
    let (nat, filter) = ports(scale);
    format!("*nat\n:DOCKER -\n{nat}COMMIT\n*filter\n:DOCKER -\n{filter}COMMIT\n")
}

fn published(port: u16, address: Ipv4Addr, protocol: &str) -> String {
    format!(
        "-A DOCKER ! -i {BRIDGE} -p {protocol} -m {protocol} --dport {port} -j DNAT --to-destination {address}:{port}\n"
    )
}

fn accepted(port: u16, address: Ipv4Addr, protocol: &str) -> String {
    format!(
        "-A DOCKER -d {address}/32 ! -i {BRIDGE} -o {BRIDGE} -p {protocol} -m {protocol} --dport {port} -j ACCEPT\n"
    )
}

/// What netfast's policy says, in rules of the user. Connections that are open are let through first.
fn policy(scale: Scale) -> String {
    let mut text = "-A DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN\n".to_owned();
    for number in 1..scale.rules {
        let source = stranger(number);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "-A DOCKER-USER -s {source}/32 -d {SERVER}/32 -p tcp -m tcp --dport 443 -j RETURN"
        );
    }
    for source in [format!("{CLIENT}/32"), UPLINK_SUBNET.to_owned()] {
        let _ = writeln!(text, "-A DOCKER-USER -s {source} -d {SERVER}/32 -j RETURN");
    }
    let _ = writeln!(text, "-A DOCKER-USER -d {SERVER}/32 -j DROP");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_has_a_rule_in_both_tables() {
        let text = everything(Scale::ports(100));
        assert_eq!(text.matches("-p tcp -m tcp --dport").count(), 200);
        assert_eq!(text.matches("-p udp").count(), 2);
        assert!(!text.contains("203.0."));
    }

    #[test]
    fn rules_of_policies_come_before_the_one_that_lets_the_client_in() {
        let text = everything(Scale::rules(100));
        assert_eq!(text.matches("-s 203.0.").count(), 99);
        let place = |what: &str| text.find(what).unwrap();
        assert!(place("-s 203.0.0.99/32") < place("-s 10.88.0.2/32"));
        assert!(place("-s 10.88.0.2/32") < place("-d 10.88.0.3/32 -j DROP"));
    }
}
