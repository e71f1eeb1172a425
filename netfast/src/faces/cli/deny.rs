//! `netfast deny`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use ipnet::IpNet;

use super::options::FormatArgs;
use super::{output, root};
use crate::manifest::{TextError, cidr};
use crate::reconcile::instance::{Instance, Options};

/// Drop packets from some sources as soon as they arrive.
#[derive(Debug, Subcommand)]
pub(super) enum Deny {
    /// Add sources to the deny list.
    Add {
        /// A block of addresses, or one address.
        #[arg(required = true, value_name = "CIDR", value_parser = parse)]
        sources: Vec<IpNet>,
    },
    /// Remove sources from the deny list, in the form in which they were added.
    Rm {
        /// A block of addresses, or one address.
        #[arg(required = true, value_name = "CIDR", value_parser = parse)]
        sources: Vec<IpNet>,
    },
    /// List the denied sources.
    Ls(FormatArgs),
}

impl Deny {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        root::need()?;
        match self {
            Self::Add { sources } => Instance::open(options)?.change(|definitions| {
                definitions.deny.extend(sources);
                Ok(())
            })?,
            Self::Rm { sources } => {
                Instance::open(options)?.change(|definitions| remove(&mut definitions.deny, sources))?;
            }
            Self::Ls(FormatArgs { format }) => {
                let deny = Instance::view(options)?.deny;
                output::show(*format, &deny, || table(&deny))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn what(&self) -> String {
        match self {
            Self::Add { .. } => "deny add",
            Self::Rm { .. } => "deny rm",
            Self::Ls(_) => "deny ls",
        }
        .to_owned()
    }
}

/// Reads a block without host bits, or an address, which is a block of one.
pub(super) fn parse(text: &str) -> Result<IpNet, TextError> {
    if text.contains('/') { cidr::parse_strict(text) } else { cidr::parse_address(text).map(IpNet::from) }
}

fn remove(deny: &mut BTreeSet<IpNet>, sources: &[IpNet]) -> Result<()> {
    for source in sources.iter().collect::<BTreeSet<_>>() {
        if !deny.remove(source) {
            bail!("{source} is not on the deny list (netfast deny ls shows it)");
        }
    }
    Ok(())
}

fn table(deny: &[String]) -> String {
    if deny.is_empty() { "no source is denied\n".to_owned() } else { deny.join("\n") + "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_block_of_one() {
        for (text, wanted) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("fd00::1", "fd00::1/128"),
            ("fd00::/8", "fd00::/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), wanted);
        }
    }

    #[test]
    fn mistakes_bring_the_right_form() {
        for (text, wanted) in [
            ("10.0.0.5/24", "10.0.0.5/24 has bits set beyond its prefix (write 10.0.0.0/24)"),
            ("fd00::1/64", "fd00::1/64 has bits set beyond its prefix (write fd00::/64)"),
            ("::ffff:10.0.0.1", "\"::ffff:10.0.0.1\" is an IPv4 address in IPv6 form (write 10.0.0.1)"),
            ("example.com", "\"example.com\" is not an address"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn only_what_is_there_is_removed() {
        let ten = parse("10.0.0.0/8").unwrap();
        let mut deny = BTreeSet::from([ten]);
        let error = remove(&mut deny, &[parse("10.0.0.1").unwrap()]).unwrap_err();
        assert_eq!(error.to_string(), "10.0.0.1/32 is not on the deny list (netfast deny ls shows it)");
        remove(&mut deny, &[ten, ten]).unwrap();
        assert!(deny.is_empty());
    }
}
