//! What policies can tell addresses by.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::bits::Bits;
use super::endpoints::{Endpoints, Served};
use super::places::Places;
use super::small::{Draft, Ways};
use crate::model::{Labels, Name, Peer, Selector};

/// A property of addresses that some policy in force asks about. Addresses with the same marks are one class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Mark {
    /// Is among the peers of a rule. All peers of a rule are one mark: the rule does not tell them apart.
    Peer(PeerList),
    /// Belongs to an endpoint that serves these ports under a name that an egress rule uses.
    Serves(Served),
}

/// The peers of a rule, in an order and form of their own: rules that mean the same peers share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct PeerList {
    selected: BTreeSet<Selected>,
    blocks: BTreeSet<Block>,
}

/// Endpoints by label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Selected {
    namespaces: Namespaces,
    endpoints: Selector,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Namespaces {
    One(Name),
    Matching(Selector),
}

/// Addresses by prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Block {
    pub(super) cidr: IpNet,
    pub(super) except: BTreeSet<IpNet>,
}

impl PeerList {
    /// The peers of a rule of a policy in `namespace`; `None`: of a policy of the cluster, which has none of its own.
    pub(super) fn new(namespace: Option<&Name>, peers: &[Peer]) -> Self {
        let mut list = Self::default();
        for peer in peers {
            match peer {
                Peer::Endpoints { namespaces, endpoints } => {
                    let namespaces = match (namespaces, namespace) {
                        (Some(selector), _) => Namespaces::Matching(selector.clone()),
                        (None, Some(own)) => Namespaces::One(own.clone()),
                        (None, None) => Namespaces::Matching(Selector::default()),
                    };
                    list.selected.insert(Selected { namespaces, endpoints: endpoints.clone() });
                }
                Peer::Block { cidr, except } => {
                    list.blocks.insert(Block { cidr: *cidr, except: except.iter().copied().collect() });
                }
            }
        }
        list
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter()
    }

    /// Whether it selects endpoints of a namespace with these labels by theirs.
    pub(super) fn selects(&self, namespace: &Name, of_namespace: &Labels, labels: &Labels) -> bool {
        self.selected.iter().any(|Selected { namespaces, endpoints }| {
            let is_in = match namespaces {
                Namespaces::One(own) => own == namespace,
                Namespaces::Matching(selector) => selector.matches(of_namespace),
            };
            is_in && endpoints.matches(labels)
        })
    }

    /// Whether it has blocks of addresses.
    pub(super) fn has_blocks(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Whether one of its blocks holds an address.
    pub(super) fn holds(&self, addr: IpAddr) -> bool {
        let holds = |Block { cidr, except }: &Block| {
            cidr.contains(&addr) && !except.iter().any(|hole| hole.contains(&addr))
        };
        self.blocks.iter().any(holds)
    }

    /// Enters it where it can be found from what an endpoint has.
    pub(super) fn enter(&self, number: u32, draft: &mut Draft) {
        for Selected { namespaces, endpoints } in &self.selected {
            draft.selector(
                number,
                match namespaces {
                    Namespaces::One(namespace) => Ways::within(namespace, endpoints),
                    Namespaces::Matching(namespaces) => Ways::across(namespaces, endpoints),
                },
            );
        }
        for block in &self.blocks {
            draft.block(number, block.cidr);
        }
    }

    /// The places that are among these peers.
    pub(super) fn places(&self, endpoints: &Endpoints<'_>, places: &Places) -> Bits {
        let mut chosen = Bits::none(endpoints.count());
        for Selected { namespaces, endpoints: selector } in &self.selected {
            chosen.unite(&match namespaces {
                Namespaces::One(namespace) => endpoints.select_in(namespace, selector),
                Namespaces::Matching(namespaces) => endpoints.select_across(namespaces, selector),
            });
        }
        let mut found = places.of_endpoints(&chosen);
        for block in &self.blocks {
            found.unite(&places.of_block(block));
        }
        found
    }
}
