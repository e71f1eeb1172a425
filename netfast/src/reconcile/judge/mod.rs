//! A world that can be asked who reaches whom: a living one, or one that files describe. The verdicts are those of the
//! compiled tables, by the evaluation that the kernel makes.

mod ask;
mod end;
mod explain;
mod hits;
mod list;
mod live;
mod matrix;
mod service;
pub mod view;
mod way;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

pub use self::ask::Families;
pub use self::end::End;
pub use self::hits::Hits;
pub use self::matrix::MatrixOptions;
pub use self::service::Service;
use super::assign;
use crate::compile::policy::{self, Assigned, Numbers, Tables};
use crate::model::{Endpoint, EndpointId, Network, World};

/// A world to ask.
#[derive(Debug)]
pub struct Judge {
    /// What it was asked for. Published ports have the numbers that were chosen, where they are known.
    world: World,
    /// What its endpoints have, or would get.
    addresses: BTreeMap<EndpointId, Assigned>,
    /// Endpoints that have no address: `addresses` has one that nobody has, so that their labels count.
    unplaced: BTreeSet<EndpointId>,
    /// The host's addresses, as far as they are known, besides the networks' gateways.
    host: BTreeSet<IpAddr>,
    tables: Tables,
}

impl Judge {
    /// A world as files describe it. Its endpoints have the addresses that the files give them, else those they would get
    /// if it came up where nothing was.
    ///
    /// # Errors
    /// When its rules come to more rows than can be counted.
    pub fn of_files(world: World) -> Result<Self> {
        let addresses = assign::addresses(&world);
        Self::new(world, addresses, BTreeSet::new(), &Numbers::default())
    }

    fn new(
        world: World,
        mut addresses: BTreeMap<EndpointId, Assigned>,
        host: BTreeSet<IpAddr>,
        numbers: &Numbers,
    ) -> Result<Self> {
        let lost = world.endpoints.keys().filter(|id| !addresses.contains_key(*id));
        let unplaced: BTreeSet<_> = lost.cloned().collect();
        for (number, id) in (1_u32..).zip(&unplaced) {
            let network = world.endpoints.get(id).and_then(|e| world.networks.get(&e.network));
            addresses.insert(id.clone(), stand_in(network, number));
        }
        let tables = policy::compile(&world, &addresses, numbers, usize::MAX)?;
        Ok(Self { world, addresses, unplaced, host, tables })
    }

    fn endpoint(&self, id: &EndpointId) -> Option<&Endpoint> {
        self.world.endpoints.get(id)
    }

    fn network_of(&self, id: &EndpointId) -> Option<&Network> {
        self.world.networks.get(&self.endpoint(id)?.network)
    }
}

/// Addresses for an endpoint that has none: of "this network" and of the prefix to discard, which are never on a wire. No
/// block but the widest is expected to hold them.
fn stand_in(network: Option<&Network>, number: u32) -> Assigned {
    let has = |family: fn(&Network) -> bool| network.is_none_or(family);
    let ip6 = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0).to_bits() | u128::from(number);
    Assigned {
        ip: has(|n| n.subnet.is_some() || n.adopted).then(|| Ipv4Addr::from(number & 0x00ff_ffff)),
        ip6: has(|n| n.subnet6.is_some() || n.adopted).then(|| Ipv6Addr::from_bits(ip6)),
        more: Vec::new(),
    }
}
