//! What a change of one endpoint has to know of all the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use netfast_common::policy::RuleKey;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::assign::Records;
use crate::model::{EndpointId, Name, Network, PortRange, Protocol, Publish};
use crate::store::{AttachmentKey, Definitions, EndpointRecord, PolicyDirectory};

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
    pub entries: Vec<Entry>,
    /// Rows of rules that nobody is asked by any more, to be removed by a later change.
    pub litter: Litter,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub id: EndpointId,
    pub network: Name,
    /// `None`: it is not up.
    pub slot: Option<u32>,
    pub ip: Option<Ipv4Addr>,
    pub ip6: Option<Ipv6Addr>,
    pub mac: Option<[u8; 6]>,
    pub netns: Option<PathBuf>,
    pub ifname: String,
    pub key: Option<AttachmentKey>,
    pub published: Vec<Claim>,
}

/// Ports of the host that are somebody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Claim {
    pub host_ip: Option<IpAddr>,
    pub host: PortRange,
    pub protocol: Protocol,
}

impl Claim {
    /// What a published port that is not to be chosen takes.
    pub(super) fn of(publish: &Publish) -> Option<Self> {
        let host = publish.fixed_host()?;
        Some(Self { host_ip: publish.host_ip, host, protocol: publish.protocol })
    }

    /// Whether the two have a port in common, on whatever address.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.host.overlaps(other.host)
    }
}

impl Entry {
    /// What an endpoint that is up has.
    pub(super) fn of(record: &EndpointRecord, key: Option<AttachmentKey>) -> Self {
        let published = record.publish.iter().filter_map(|record| Claim::of(&record.publish));
        Self {
            id: record.id.clone(),
            network: record.network.clone(),
            slot: Some(record.slot),
            ip: record.ip,
            ip6: record.ip6,
            mac: Some(record.mac),
            netns: Some(record.netns.clone()),
            ifname: record.container_ifname.clone(),
            key,
            published: published.collect(),
        }
    }
}

impl Ledger {
    /// The ledger of an instance that holds what these say.
    pub(super) fn new(definitions: &Definitions, records: &Records) -> Self {
        let world = &definitions.world;
        let keys: BTreeMap<_, _> =
            definitions.attachments.iter().map(|record| (&record.endpoint.id, &record.key)).collect();
        let entries = world.endpoints.values().map(|endpoint| {
            let key = keys.get(&endpoint.id).map(|key| (*key).clone());
            match records.endpoints.get(&endpoint.id) {
                Some(record) => Entry::of(record, key),
                // Left out: what it asks for by name stays its own.
                None => Entry {
                    id: endpoint.id.clone(),
                    network: endpoint.network.clone(),
                    slot: None,
                    ip: endpoint.ip,
                    ip6: endpoint.ip6,
                    mac: endpoint.mac,
                    netns: None,
                    ifname: endpoint.ifname().to_owned(),
                    key,
                    published: endpoint.publish.iter().filter_map(Claim::of).collect(),
                },
            }
        });
        Self {
            networks: world.networks.clone(),
            attached_networks: definitions.attached_networks.clone(),
            policy_directory: definitions.policy_directory.clone(),
            entries: entries.collect(),
            litter: Litter::default(),
        }
    }

    /// The addresses that are somebody's.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        let of = |entry: &Entry| [entry.ip.map(IpAddr::V4), entry.ip6.map(IpAddr::V6)];
        self.entries.iter().flat_map(of).flatten().collect()
    }

    /// The slots that are somebody's.
    pub(super) fn slots(&self) -> BTreeSet<u32> {
        self.entries.iter().filter_map(|entry| entry.slot).collect()
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
