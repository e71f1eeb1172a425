//! `GC`: removes the attachments of a network that the runtime does not know of any more.

use std::collections::BTreeSet;

use super::call::Call;
use super::delegate::Delegate;
use super::failure::{Code, Failure, Result};
use super::identity;
use crate::reconcile::attachments::AttachmentKey;
use crate::reconcile::instance::Instance;

/// Removes what is not on the runtime's list. What cannot be removed does not keep the rest from being removed.
pub(super) fn gc(call: &Call) -> Result<()> {
    let Some(valid) = call.config.valid_attachments() else {
        // An absent list is no empty one.
        return Err(Failure::new(Code::Config, "GC without cni.dev/valid-attachments"));
    };
    let valid: BTreeSet<_> =
        valid.iter().map(|valid| (valid.container.as_str(), valid.ifname.as_str())).collect();
    let network = identity::network(&call.config.said.name)?;
    let mut failures = Vec::new();
    let mut instance = Instance::open_to_remove(&call.config.options())?;
    // Also what a killed command has left of one.
    let keys = instance.attachment_keys()?;
    let is_garbage = |key: &AttachmentKey| {
        key.network == network && !valid.contains(&(key.container.as_str(), key.ifname.as_str()))
    };
    for key in keys.into_iter().filter(is_garbage) {
        failures.extend(instance.detach(&key).err().map(Failure::from));
    }
    drop(instance);
    if let Some(delegate) = Delegate::of(call)? {
        failures.extend(delegate.forward().err());
    }
    let all: Vec<_> = failures.iter().map(ToString::to_string).collect();
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(Failure { msg: all.join("; "), details: String::new(), ..first }),
    }
}
