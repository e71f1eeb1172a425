//! What a change of one endpoint has to know of all the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::assign::Records;
use crate::compile::policy::Numbers;
use crate::model::{EndpointId, Name, Network, PortRange, Protocol, Publish, World};
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
    /// The class of all addresses, where there is no policy that could tell them apart.
    pub plain: Option<u32>,
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
    pub(super) fn new(definitions: &Definitions, records: &Records, numbers: &Numbers) -> Self {
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
            plain: if has_policies(world) { None } else { numbers.plain() },
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

fn has_policies(world: &World) -> bool {
    !world.policies.is_empty() || !world.cluster_policies.is_empty()
}
