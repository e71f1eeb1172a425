//! The endpoints of a world, numbered, with the indices that answer selectors and port names.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::bits::Bits;
use super::labels::LabelIndex;
use crate::model::{EndpointId, Labels, Name, Protocol, Selector, World};

/// A port name as a rule uses it. One name may stand for different ports of different protocols.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct PortName {
    pub(super) protocol: Protocol,
    pub(super) name: String,
}

/// What a port name stands for at some endpoint: several ports may share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Served {
    pub(super) name: PortName,
    pub(super) ports: BTreeSet<u16>,
}

/// The endpoints of a world. Their order, and so their indices, is that of their names.
#[derive(Debug)]
pub(super) struct Endpoints<'w> {
    pub(super) ids: Vec<&'w EndpointId>,
    /// Named ports by endpoint.
    served: Vec<BTreeMap<PortName, BTreeSet<u16>>>,
    labels: LabelIndex,
    /// Members of each namespace that has any; the index of `namespace_labels` is in this order.
    namespaces: BTreeMap<&'w Name, Bits>,
    namespace_labels: LabelIndex,
}

impl<'w> Endpoints<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        let count = world.endpoints.len();
        let mut namespaces: BTreeMap<&Name, Bits> = BTreeMap::new();
        let mut served = Vec::with_capacity(count);
        for (index, endpoint) in world.endpoints.values().enumerate() {
            namespaces.entry(&endpoint.id.namespace).or_insert_with(|| Bits::none(count)).insert(index);
            let mut names: BTreeMap<PortName, BTreeSet<u16>> = BTreeMap::new();
            for port in &endpoint.ports {
                if let Some(name) = &port.name {
                    let name = PortName { protocol: port.protocol, name: name.clone() };
                    names.entry(name).or_default().insert(port.port);
                }
            }
            served.push(names);
        }
        let namespace_labels: Vec<Labels> =
            namespaces.keys().map(|name| world.namespace_labels(name)).collect();
        Self {
            ids: world.endpoints.keys().collect(),
            served,
            labels: LabelIndex::new(&world.endpoints.values().map(|e| &e.labels).collect::<Vec<_>>()),
            namespace_labels: LabelIndex::new(&namespace_labels.iter().collect::<Vec<_>>()),
            namespaces,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.ids.len()
    }

    /// Those that `selector` matches in one namespace.
    pub(super) fn select_in(&self, namespace: &Name, selector: &Selector) -> Bits {
        match self.namespaces.get(namespace) {
            Some(members) => {
                let mut selected = self.labels.select(selector);
                selected.intersect(members);
                selected
            }
            None => Bits::none(self.count()),
        }
    }

    /// Those that `selector` matches in all namespaces that `namespaces` matches.
    pub(super) fn select_across(&self, namespaces: &Selector, selector: &Selector) -> Bits {
        let chosen = self.namespace_labels.select(namespaces);
        let members: Vec<&Bits> = self.namespaces.values().collect();
        let mut within = Bits::none(self.count());
        for namespace in chosen.iter() {
            within.unite(members[namespace]);
        }
        within.intersect(&self.labels.select(selector));
        within
    }

    /// The ports `name` stands for at an endpoint, if it knows the name.
    pub(super) fn resolve(&self, endpoint: usize, name: &PortName) -> Option<Served> {
        let ports = self.served[endpoint].get(name)?;
        Some(Served { name: name.clone(), ports: ports.clone() })
    }

    /// Who serves what under any of `names`: endpoints that mean the same by a name together.
    pub(super) fn serving(&self, names: &BTreeSet<PortName>) -> BTreeMap<Served, Bits> {
        let mut serving = BTreeMap::new();
        for (endpoint, known) in self.served.iter().enumerate() {
            for (name, ports) in known.iter().filter(|(name, _)| names.contains(name)) {
                let served = Served { name: name.clone(), ports: ports.clone() };
                let serving = serving.entry(served).or_insert_with(|| Bits::none(self.count()));
                serving.insert(endpoint);
            }
        }
        serving
    }
}
