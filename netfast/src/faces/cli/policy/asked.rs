//! What the commands that ask have in common: whom they ask, and how.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use netfast_common::protocol;

use super::super::{output, root, up};
use crate::compile::policy::Family;
use crate::manifest::{self, TextError, port};
use crate::model::Protocol;
use crate::reconcile::instance::Options;
use crate::reconcile::judge::{Families, Hits, Judge, Service};

/// Which world is asked.
#[derive(Args, Debug)]
pub(super) struct WorldArgs {
    /// Ask what this file describes, not what is up. Needs neither root nor an instance.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Likewise, with the policies of this file besides. May be repeated; without -f, netfast.yaml is read.
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
}

impl WorldArgs {
    pub(super) fn judge(&self, options: &Options) -> Result<Judge> {
        if self.file.is_none() && self.policies.is_empty() {
            root::need().context("look at what is up (-f FILE asks files instead)")?;
            return Judge::live(options);
        }
        let file = self.file.as_deref().unwrap_or(Path::new(up::DEFAULT_FILE));
        // The context is not shown: complaints about files have a line each.
        let loaded = manifest::load(file, &self.policies).context("read files")?;
        for warning in &loaded.warnings {
            output::complain(&format!("warning: {warning}"));
        }
        Judge::of_files(loaded.world)
    }
}

impl WorldArgs {
    /// What was counted, unless files are asked.
    pub(super) fn hits(&self, options: &Options) -> Result<Option<Hits>> {
        let is_live = self.file.is_none() && self.policies.is_empty();
        is_live.then(|| Hits::live(options)).transpose()
    }
}

/// Which address families are asked for.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct FamilyArgs {
    /// Ask for IPv4 only.
    #[arg(short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// Ask for IPv6 only.
    #[arg(short = '6')]
    ipv6: bool,
}

impl FamilyArgs {
    pub(super) const fn families(self) -> Families {
        match (self.ipv4, self.ipv6) {
            (true, _) => Families::One(Family::V4),
            (_, true) => Families::One(Family::V6),
            _ => Families::Both,
        }
    }
}

/// Reads a port: `80`, `80/udp`, `http`, `http/tcp`.
pub(super) fn service(text: &str) -> Result<Service, TextError> {
    let (name, protocol) = match text.rsplit_once('/') {
        Some((name, protocol)) => (name, Some(port::protocol(protocol)?)),
        None => (text, None),
    };
    if name.chars().all(|c| c.is_ascii_digit()) {
        return Ok(Service::Port(protocol.unwrap_or(Protocol::Tcp), port::number(name)?));
    }
    port::check_port_name(name)?;
    Ok(Service::Named(name.to_owned(), protocol))
}

/// Reads a protocol without ports: `icmp`, or the number of one.
pub(super) fn portless(text: &str) -> Result<Service, TextError> {
    if text.eq_ignore_ascii_case("icmp") || text.eq_ignore_ascii_case("icmpv6") {
        return Ok(Service::Echo);
    }
    if let Ok(protocol) = port::protocol(text) {
        return Err(TextError::with_help(
            format!("{protocol} has ports"),
            format!("write --port PORT/{protocol}"),
        ));
    }
    match text.parse() {
        Ok(protocol::ICMP | protocol::ICMPV6) => Ok(Service::Echo),
        Ok(number @ (protocol::TCP | protocol::UDP | protocol::SCTP)) => {
            Err(TextError::with_help(format!("protocol {number} has ports"), "write --port PORT/PROTOCOL"))
        }
        Ok(number) => Ok(Service::Protocol(number)),
        Err(_not_a_number) => Err(TextError::with_help(
            format!("{text:?} is not a protocol without ports"),
            "write icmp or a number from 0 to 255",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read() {
        for (text, wanted) in [
            ("80", Service::Port(Protocol::Tcp, 80)),
            ("53/udp", Service::Port(Protocol::Udp, 53)),
            ("http", Service::Named("http".to_owned(), None)),
            ("dns/UDP", Service::Named("dns".to_owned(), Some(Protocol::Udp))),
        ] {
            assert_eq!(service(text), Ok(wanted));
        }
        for bad in ["", "0", "70000", "80/icmp", "HTTP", "80-90"] {
            assert!(service(bad).is_err(), "{bad}");
        }
        assert_eq!(portless("ICMP"), Ok(Service::Echo));
        assert_eq!(portless("58"), Ok(Service::Echo));
        assert_eq!(portless("47"), Ok(Service::Protocol(47)));
        assert_eq!(portless("udp").unwrap_err().to_string(), "udp has ports (write --port PORT/udp)");
        for bad in ["6", "256", "gre"] {
            assert!(portless(bad).is_err(), "{bad}");
        }
    }
}
