//! What a user asks for, as values: networks, endpoints, published ports and policies. No I/O.

pub mod check;
pub mod cluster_policy;
pub mod endpoint;
pub mod limits;
pub mod lint;
pub mod name;
pub mod network;
pub mod policy;
pub mod publish;
pub mod route;
pub mod selector;
pub mod suggest;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::check::{Problem, Subject, check};
pub use self::cluster_policy::{Action, ClusterPolicy, Tier, TierRule};
pub use self::endpoint::{
    AddressRange, Attachment, Endpoint, EndpointId, FurtherAddress, NamedPort, RateLimit,
};
pub use self::limits::{LIMITS, Limit, Limits};
pub use self::name::Name;
pub use self::network::{Network, Subnet};
pub use self::policy::{Established, Peer, Policy, PortMatch, PortRange, Ports, Protocol, Rule, Source};
pub use self::publish::Publish;
pub use self::route::{Route, RouteOptions};
pub use self::selector::{Labels, Operator, Requirement, Selector};

/// Everything an instance is asked to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// Networks by name.
    pub networks: BTreeMap<Name, Network>,
    /// Labels of the namespaces that were given any. A namespace exists by being named anywhere.
    pub namespaces: BTreeMap<Name, Labels>,
    /// Endpoints by namespace and name.
    #[serde(with = "endpoint::as_list")]
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
    /// Policies, in the order in which they were read.
    pub policies: Vec<Policy>,
    /// Policies of the whole cluster, in the order in which they were read.
    #[serde(default)]
    pub cluster_policies: Vec<ClusterPolicy>,
    /// All policies are under audit.
    #[serde(default)]
    pub audit: bool,
    /// What a change of policies does to flows that were established before.
    #[serde(default)]
    pub established: Established,
    /// The devices that lead outside; `None`: every addressed device of the host that is not netfast's own.
    pub uplinks: Option<BTreeSet<String>>,
    /// How much the instance may hold.
    #[serde(default)]
    pub limits: Limits,
    /// The ports masqueraded flows get as source ports; `None`: the default.
    #[serde(default)]
    pub masquerade: Option<PortRange>,
    /// Destinations that see the endpoints' own addresses.
    #[serde(default)]
    pub not_masqueraded: BTreeSet<IpNet>,
}

/// The label every namespace has by itself.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Labels of a namespace, given those that namespaces were given.
pub fn namespace_labels(given: &BTreeMap<Name, Labels>, namespace: &Name) -> Labels {
    let mut labels = given.get(namespace).cloned().unwrap_or_default();
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.to_string());
    labels
}

impl World {
    /// Labels of a namespace, the implied [`NAMESPACE_NAME_LABEL`] among them.
    pub fn namespace_labels(&self, namespace: &Name) -> Labels {
        namespace_labels(&self.namespaces, namespace)
    }

    /// Finds an endpoint by `name` (where only one namespace has it) or `namespace/name`.
    ///
    /// # Errors
    /// When no endpoint, or more than one, has that name.
    pub fn find_endpoint(&self, text: &str) -> Result<&Endpoint, FindError> {
        find(text, self.endpoints.values(), |endpoint| &endpoint.id)
    }
}

/// Finds one of `all` by `name` (where only one namespace has it) or `namespace/name`.
///
/// # Errors
/// When none, or more than one, has that name.
pub fn find<T: Copy>(
    text: &str,
    all: impl IntoIterator<Item = T>,
    id: impl Fn(&T) -> &EndpointId,
) -> Result<T, FindError> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    let is_meant = |id: &EndpointId| {
        id.name.as_str() == name && namespace.is_none_or(|namespace| id.namespace.as_str() == namespace)
    };
    let all: Vec<T> = all.into_iter().collect();
    let matches: Vec<_> = all.iter().filter(|one| is_meant(id(one))).collect();
    match matches.as_slice() {
        [one] => Ok(**one),
        [] => Err(FindError::None {
            wanted: text.to_owned(),
            known: all.iter().map(|one| id(one).to_string()).collect(),
        }),
        many => {
            let whole = |one: &&T| format!("{}/{}", id(one).namespace, id(one).name);
            Err(FindError::Several { wanted: text.to_owned(), found: many.iter().map(whole).collect() })
        }
    }
}

/// Why no single endpoint has a name.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nobody has it.
    #[error("no endpoint is called {wanted} ({})", suggest::among(.wanted, .known))]
    None {
        /// The name asked for.
        wanted: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// Several namespaces have it.
    #[error("several endpoints are called {wanted} (say which: {})", .found.join(", "))]
    Several {
        /// The name asked for.
        wanted: String,
        /// All that have it.
        found: Vec<String>,
    },
}
