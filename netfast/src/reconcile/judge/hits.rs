//! How often rules decided, and how often packets were denied.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use netfast_common::reason::DropReason;

use crate::compile::policy::Direction;
use crate::kernel::{Bpffs, Datapath};
use crate::model::EndpointId;
use crate::reconcile::instance::Options;
use crate::store::{Paths, Store};

/// What an instance has counted.
#[derive(Clone, Debug, Default)]
pub struct Hits {
    /// Flows decided on, by number of the rule.
    pub(super) rules: BTreeMap<u32, u64>,
    /// Packets denied, by endpoint and direction.
    pub(super) denied: BTreeMap<(EndpointId, Direction), u64>,
}

impl Hits {
    /// What the living instance has counted.
    ///
    /// # Errors
    /// When it is not up, or its maps cannot be read.
    pub fn live(options: &Options) -> Result<Self> {
        let store = Store::new(Paths::resolve(options.paths.clone())?);
        let datapath = Datapath::open(&Bpffs::at(&store.paths().bpffs))?;
        let datapath = datapath.context("nothing is up (netfast up brings it up)")?;
        let rules = datapath.maps.rule_hits.to_map()?;
        let mut hits = Self {
            rules: rules.into_iter().map(|(rule, count)| (rule, count.packets)).collect(),
            denied: BTreeMap::new(),
        };
        let endpoints: BTreeMap<_, _> =
            store.endpoints()?.into_iter().map(|(id, record)| (record.incarnation, id)).collect();
        for (key, count) in datapath.maps.endpoint_drops.to_map()? {
            let direction = match u8::try_from(key.reason).ok().and_then(DropReason::from_code) {
                Some(DropReason::PolicyIngress) => Direction::Ingress,
                Some(DropReason::PolicyEgress) => Direction::Egress,
                _ => continue,
            };
            if let Some(id) = endpoints.get(&key.incarnation) {
                hits.denied.insert((id.clone(), direction), count.packets);
            }
        }
        Ok(hits)
    }
}
