//! Where the ends of a connection are.

use std::collections::BTreeMap;

use crate::manifest::cases::End;
use crate::model::EndpointId;
use crate::net::Netns;

/// A network namespace that a case is played in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// An endpoint's.
    Endpoint(EndpointId),
    /// The world outside, which has every address that is nobody else's.
    Outside,
    /// The host.
    Node,
}

/// The namespaces of a case.
pub(super) type Places = BTreeMap<Place, Netns>;

impl From<End> for Place {
    fn from(end: End) -> Self {
        match end {
            End::Endpoint(id) => Self::Endpoint(id),
            End::Address(_) => Self::Outside,
            End::Node => Self::Node,
        }
    }
}
