//! What a change of one endpoint has to know of all the others.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use netfast_common::policy::RuleKey;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::assign::Records;
use super::entries::{Claim, Entries, Entry};
use crate::model::{Name, Network};
use crate::store::{Definitions, LockedStore, PolicyDirectory};

/// What the instance holds, as far as another endpoint is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// Its networks, but for those that only their attachments define and nobody has asked for yet.
    pub networks: BTreeMap<Name, Network>,
    /// Those of them that only attachments define.
    pub attached_networks: BTreeSet<Name>,
    /// The directory of policies that is followed.
    pub policy_directory: Option<PolicyDirectory>,
    /// Its endpoints, up or not.
    pub entries: Entries,
    /// Rows of rules that nobody is asked by any more, to be removed by a later change.
    pub litter: Litter,
}

impl Ledger {
    /// The ledger of an instance that holds what these say.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(super) fn new(definitions: &Definitions, records: &Records) -> Result<Self> {
        let world = &definitions.world;
        let keys: BTreeMap<_, _> =
            definitions.attachments.iter().map(|record| (&record.endpoint.id, &record.key)).collect();
        let mut entries = Entries::default();
        for endpoint in world.endpoints.values() {
            let container = keys.get(&endpoint.id).map(|key| key.container.as_str());
            entries.push(&match records.endpoints.get(&endpoint.id) {
                Some(record) => Entry::of(record, container),
                // Left out: what it asks for by name stays its own.
                None => Entry {
                    namespace: endpoint.id.namespace.as_str(),
                    name: endpoint.id.name.as_str(),
                    network: endpoint.network.as_str(),
                    slot: None,
                    ip: endpoint.ip,
                    ip6: endpoint.ip6,
                    mac: endpoint.mac,
                    netns: None,
                    ifname: endpoint.ifname(),
                    container,
                    published: endpoint.publish.iter().filter_map(Claim::of).collect(),
                },
            })?;
        }
        Ok(Self {
            networks: world.networks.clone(),
            attached_networks: definitions.attached_networks.clone(),
            policy_directory: definitions.policy_directory.clone(),
            entries,
            litter: Litter::default(),
        })
    }

    /// The ledger there is. `None`: what there is cannot be relied on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(store: &LockedStore) -> Result<Option<Self>> {
        Ok(store.ledger::<Self>()?.filter(|ledger| ledger.entries.are_whole()))
    }
}

/// Rows of rules that nobody is asked by any more. To wait until no program can have begun before would take a grace
/// period, and nobody needs their place yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Litter {
    rows: Vec<Row>,
    /// When the last of them was dropped, in milliseconds of the clock that counts on while the machine sleeps.
    dropped: i64,
}

/// Set, identity, protocol, port, and bits of the key.
type Row = (u32, u32, u8, u16, u32);

/// How long no program runs, by far, in milliseconds.
const LONG: i64 = 1000;

impl Litter {
    /// Adds rows that have just become litter.
    pub(super) fn drop(&mut self, rows: impl Iterator<Item = (RuleKey, u32)>) {
        let count = self.rows.len();
        self.rows.extend(
            rows.map(|(key, bits)| {
                (key.set, key.identity, key.protocol, u16::from_be_bytes(key.port_be), bits)
            }),
        );
        if self.rows.len() > count {
            self.dropped = now();
        }
    }

    /// Takes the rows out; and whether a program may be running that has been asked by one.
    pub(super) fn take(&mut self) -> (Vec<(RuleKey, u32)>, bool) {
        let is_fresh = (0..LONG).contains(&(now() - self.dropped));
        let rows = std::mem::take(&mut self.rows).into_iter();
        let rows = rows
            .map(|(set, identity, protocol, port, bits)| (RuleKey::new(set, identity, protocol, port), bits));
        (rows.collect(), is_fresh)
    }

    /// Whether there is so much of it, or it lies for so long, that it is to be taken out.
    pub(super) fn is_due(&self) -> bool {
        const MUCH: usize = 4096;
        !self.rows.is_empty() && (self.rows.len() > MUCH || now() - self.dropped >= LONG)
    }
}

fn now() -> i64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000)
}
