//! A call of the plugin, and what several commands need of it.

use std::path::Path;

use super::config::Config;
use super::environment::Environment;
use super::failure::{Code, Failure, Result};
use super::identity;
use crate::net::Netns;
use crate::reconcile::attachments::AttachmentKey;

/// A call of the plugin.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// What the environment says.
    pub environment: Environment,
    /// What standard input says.
    pub config: Config,
}

impl Call {
    /// What the attachment in question is told apart by.
    pub(super) fn key(&self) -> Result<AttachmentKey> {
        Ok(AttachmentKey {
            network: identity::network(&self.config.said.name)?,
            container: self.environment.container.clone(),
            ifname: self.environment.ifname.clone(),
        })
    }

    /// The container's namespace, which is another one than the plugin's.
    pub(super) fn netns(&self) -> Result<(&Path, Netns)> {
        let path = self.environment.netns()?;
        let wrong = |why: &dyn std::fmt::Display| Failure::new(Code::Netns, why.to_string());
        let netns = Netns::open(path).map_err(|e| wrong(&e))?;
        let own = Netns::current().and_then(|own| own.inode()).map_err(|e| wrong(&e))?;
        if netns.inode().map_err(|e| wrong(&e))? == own && !self.environment.may_be_own {
            let message = format!("{} is the network namespace netfast itself runs in", path.display());
            return Err(wrong(&message).details("a container needs one of its own"));
        }
        Ok((path, netns))
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::ffi::OsString;

    use super::*;

    /// A call that adds `eth0` of a container to the network `lab`, with other variables and more of a configuration.
    pub(in super::super) fn call(variables: &[(&str, &str)], config: &str) -> Call {
        let usual = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/run/netns/c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/nowhere"),
        ];
        let all = [variables, &usual].concat();
        let find =
            |name: &str| all.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        let config = format!(r#"{{"cniVersion": "1.1.0", "name": "lab", "type": "netfast"{config}}}"#);
        Call { environment: Environment::from(&find).unwrap(), config: Config::parse(&config).unwrap() }
    }
}
