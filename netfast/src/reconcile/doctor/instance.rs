//! The instance that is here already, if any.

use super::Check;
use super::features::told;
use crate::reconcile::instance::{Instance, Options};
use crate::reconcile::view::InstanceView;

pub(super) fn check(options: &Options) -> Check {
    match Instance::view(options) {
        Ok(view) => judge(&view),
        Err(error) => Check::missing("instance", told(error.as_ref())),
    }
}

fn judge(view: &InstanceView) -> Check {
    let name = "instance";
    if !view.up {
        return Check::note(name, format!("none is up in {}", view.state_dir.display()));
    }
    let endpoints = view.endpoints.iter().filter(|endpoint| !endpoint.ready);
    let mut ill: Vec<_> =
        endpoints.map(|endpoint| format!("endpoint {} is not ready", endpoint.name)).collect();
    let gone = view.links.iter().filter(|link| !link.alive);
    ill.extend(gone.map(|link| format!("{} at {} is gone", link.program, link.target)));
    if ill.is_empty() && !view.problems.is_empty() {
        return Check::missing(name, format!("{} (netfast status tells more)", view.problems.join("; ")));
    }
    if ill.is_empty() {
        let (networks, endpoints) = (view.networks.len(), view.endpoints.len());
        Check::ok(name, format!("up and whole; networks: {networks}, endpoints: {endpoints}"))
    } else {
        Check::missing(name, format!("{} (netfast up again, or any change, repairs it)", ill.join(", ")))
    }
}
