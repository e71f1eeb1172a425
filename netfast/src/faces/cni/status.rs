//! `STATUS`: tells whether a container could be added.

use super::addressing::Addressing;
use super::call::Call;
use super::delegate::Delegate;
use super::failure::{Code, Failure, Result};
use super::{identity, network, policies};
use crate::model::EndpointId;
use crate::reconcile::instance::Instance;
use crate::reconcile::readiness::NotReady;

/// Fails where no container could be added.
pub(super) fn status(call: &Call) -> Result<()> {
    let said = &call.config.said;
    let delegate = Delegate::of(call).map_err(not_available)?;
    let addressing = Addressing::of(said)?;
    let name = identity::network(&said.name)?;
    let instance = Instance::open(&call.config.options()).map_err(not_available)?;
    let known = instance.known(&name).map_err(not_available)?;
    policies::check(said, known.policy_directory.as_ref()).map_err(not_available)?;
    let network = network::network(&name, said, &addressing, known.network.as_ref());
    instance.readiness().map_err(|NotReady { why, is_limited }| {
        let code = if is_limited { Code::Limited } else { Code::NotAvailable };
        Failure::new(code, why)
    })?;
    if let Some(delegate) = delegate {
        return delegate.forward().map_err(of_delegate);
    }
    if network.adopted {
        return Ok(());
    }
    if let Some(why) = instance.refusal(&network).map_err(not_available)? {
        return Err(Failure::new(Code::NotAvailable, why));
    }
    let any = EndpointId { namespace: name.clone(), name: name.clone() };
    match instance.exhausted(&network, &addressing.sets.endpoint(any, name)).map_err(not_available)? {
        Some(why) => Err(Failure::new(Code::NotAvailable, why)),
        None => Ok(()),
    }
}

/// Another command that is at work is no reason.
fn not_available(error: impl Into<Failure>) -> Failure {
    let failure = error.into();
    if failure.code == Code::TryLater as u32 {
        failure
    } else {
        Failure { code: Code::NotAvailable as u32, ..failure }
    }
}

/// What another plugin says counts. One that says nothing of the kind, or cannot be run, is of no use to a container.
fn of_delegate(failure: Failure) -> Failure {
    if failure.code == Code::Failed as u32 {
        Failure { code: Code::NotAvailable as u32, ..failure }
    } else {
        failure
    }
}
