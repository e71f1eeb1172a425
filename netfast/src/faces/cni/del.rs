//! `DEL`: removes what is left of an interface.
//!
//! All that counts is what the attachment is told apart by. So it does not matter whether the namespace is there, or is
//! another one by now, or what the result was.

use super::call::Call;
use super::delegate::Delegate;
use super::failure::Result;
use crate::reconcile::instance::Instance;

/// Removes what is left of an interface, if anything is.
pub(super) fn del(call: &Call) -> Result<()> {
    let key = call.key()?;
    // What the one cannot remove must not keep the other from removing its own.
    let detached =
        Instance::open_to_remove(&call.config.options()).and_then(|instance| instance.detach_and_end(&key));
    let released = match Delegate::of(call) {
        Ok(Some(delegate)) => delegate.forward(),
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    detached?;
    released
}
