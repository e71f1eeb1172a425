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
    let delegate = Delegate::of(call)?;
    let addressing = Addressing::of(said)?;
    let name = identity::network(&said.name)?;
    let not_available = |error: anyhow::Error| {
        let failure = Failure::from(error);
        // Another command that is at work is no reason.
        if failure.code == Code::TryLater as u32 {
            failure
        } else {
            Failure::new(Code::NotAvailable, failure.msg)
        }
    };
    let instance = Instance::open(&call.config.options()).map_err(not_available)?;
    let known = instance.known(&name).map_err(not_available)?;
    policies::check(said, known.policy_directory.as_ref()).map_err(not_available)?;
    let network = network::network(&name, said, &addressing, known.network.as_ref());
    instance.readiness().map_err(|NotReady { why, is_limited }| {
        let code = if is_limited { Code::Limited } else { Code::NotAvailable };
        Failure::new(code, why)
    })?;
    if let Some(delegate) = delegate {
        return delegate.forward();
    }
    if network.adopted {
        return Ok(());
    }
    let any = EndpointId { namespace: name.clone(), name: name.clone() };
    match instance.exhausted(&network, &addressing.sets.endpoint(any, name)).map_err(not_available)? {
        Some(why) => Err(Failure::new(Code::NotAvailable, why)),
        None => Ok(()),
    }
}
