//! What a change of one endpoint has to know of all the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::assign::{self, Records};
use super::entries::{Claim, Entries, Entry};
use super::surroundings::Surroundings;
use crate::model::{Attachment, Name, Network};
use crate::store::{Definitions, LockedStore, PolicyDirectory};

/// What the instance holds, as far as another endpoint is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// Its networks, but for those that only their attachments define and nobody has asked for yet.
    pub networks: BTreeMap<Name, Network>,
    /// Those of them that only attachments define.
    pub attached_networks: BTreeSet<Name>,
    /// Those whose endpoints all have to be ports of the bridge.
    pub bridged: BTreeSet<Name>,
    /// The uplinks that were asked for; `None`: every addressed device.
    pub uplinks: Option<BTreeSet<String>>,
    /// The directory of policies that is followed.
    pub policy_directory: Option<PolicyDirectory>,
    /// What others had better leave as it is.
    pub surroundings: Surroundings,
    /// Its endpoints, up or not.
    pub entries: Entries,
}

impl Ledger {
    /// The ledger of an instance that holds what these say.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(super) fn new(
        definitions: &Definitions,
        records: &Records,
        bridged: BTreeSet<Name>,
        surroundings: Surroundings,
    ) -> Result<Self> {
        let world = &definitions.world;
        let keys: BTreeMap<_, _> =
            definitions.attachments.iter().map(|record| (&record.endpoint.id, &record.key)).collect();
        let mut entries = Entries::default();
        for endpoint in world.endpoints.values() {
            let container = keys.get(&endpoint.id).map(|key| key.container.as_str());
            // Where it would live: one that is left out keeps its place.
            let netns = match &endpoint.attachment {
                Attachment::Create => None,
                _ => Some(assign::netns_path(endpoint, Path::new(""))),
            };
            entries.push(&match records.endpoints.get(&endpoint.id) {
                Some(record) => Entry::of(record, endpoint, container),
                // Left out: what it asks for by name stays its own.
                None => Entry {
                    namespace: endpoint.id.namespace.as_str(),
                    name: endpoint.id.name.as_str(),
                    network: endpoint.network.as_str(),
                    slot: None,
                    ip: endpoint.ip,
                    ip6: endpoint.ip6,
                    more: endpoint.more.iter().filter_map(|further| further.ip).collect(),
                    mac: endpoint.mac,
                    netns: netns.as_deref().and_then(Path::to_str),
                    ifname: endpoint.ifname(),
                    device: None,
                    container,
                    published: endpoint.publish.iter().filter_map(Claim::of).collect(),
                },
            })?;
        }
        Ok(Self {
            networks: world.networks.clone(),
            attached_networks: definitions.attached_networks.clone(),
            bridged,
            uplinks: world.uplinks.clone(),
            policy_directory: definitions.policy_directory.clone(),
            surroundings,
            entries,
        })
    }

    /// The ledger there is. `None`: what there is cannot be relied on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(store: &LockedStore) -> Result<Option<Self>> {
        Ok(Self::read_unseen(store)?.filter(|ledger| ledger.entries.are_whole()))
    }

    /// As [`Self::read`], for those who look through the rows of all entries: whether details can be read shows to whoever
    /// reads them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read_unseen(store: &LockedStore) -> Result<Option<Self>> {
        let Some((mut ledger, tail)) = store.ledger::<Self>()? else { return Ok(None) };
        let Some(entries) = std::mem::take(&mut ledger.entries).with(tail) else { return Ok(None) };
        Ok(Some(Self { entries, ..ledger }))
    }

    /// Writes it down: all is done.
    ///
    /// # Errors
    /// When it cannot be written, and the one before it cannot be removed.
    pub(super) fn save(&self, store: &LockedStore) -> Result<()> {
        Ok(store.save_ledger(self, self.entries.written())?)
    }
}
