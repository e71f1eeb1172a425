//! What the ledger says of each endpoint, kept as it is written: there are many, and a change of one only looks through the
//! others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;

use super::devices::Device;
use crate::model::{Endpoint, EndpointId, PortRange, Protocol, Publish};
use crate::store::{AttachmentKey, EndpointRecord};

/// What the ledger says of all endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entries {
    count: usize,
    /// One after the other, each behind its length.
    #[serde(with = "serde_bytes")]
    written: Vec<u8>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry<'a> {
    /// Its namespace, in the sense of policies.
    pub namespace: &'a str,
    pub name: &'a str,
    /// The container it is an attachment of.
    #[serde(borrow)]
    pub container: Option<&'a str>,
    pub network: &'a str,
    /// `None`: it is not up.
    pub slot: Option<u32>,
    pub ip: Option<Ipv4Addr>,
    pub ip6: Option<Ipv6Addr>,
    /// Addresses besides these two.
    pub more: Vec<IpAddr>,
    pub mac: Option<[u8; 6]>,
    /// The path of its network namespace.
    #[serde(borrow)]
    pub netns: Option<&'a str>,
    pub ifname: &'a str,
    /// The host's end of its device; `None`: it is not up.
    #[serde(borrow)]
    pub device: Option<Device<'a>>,
    pub published: Vec<Claim>,
}

/// What an [`Entry`] begins with: as much as tells whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Head<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    #[serde(borrow)]
    pub container: Option<&'a str>,
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

impl<'a> Entry<'a> {
    /// What an endpoint that is up has.
    pub(super) fn of(record: &'a EndpointRecord, endpoint: &Endpoint, container: Option<&'a str>) -> Self {
        let published = record.publish.iter().filter_map(|record| Claim::of(&record.publish));
        Self {
            namespace: record.id.namespace.as_str(),
            name: record.id.name.as_str(),
            container,
            network: record.network.as_str(),
            slot: Some(record.slot),
            ip: record.ip,
            ip6: record.ip6,
            more: record.more.clone(),
            mac: Some(record.mac),
            // Others are in no record.
            netns: record.netns.to_str(),
            ifname: &record.container_ifname,
            device: Some(Device::of(record, endpoint)),
            published: published.collect(),
        }
    }

    /// Whether it is the endpoint of that name.
    pub(super) fn is(&self, id: &EndpointId) -> bool {
        self.name == id.name.as_str() && self.namespace == id.namespace.as_str()
    }

    /// Whether it is this attachment's.
    pub(super) fn is_of(&self, key: &AttachmentKey) -> bool {
        self.container == Some(key.container.as_str())
            && self.ifname == key.ifname
            && self.network == key.network.as_str()
    }

    /// The attachment it is. `None`: no container runtime has attached it.
    pub(super) fn key(&self) -> Option<AttachmentKey> {
        let container = self.container?.to_owned();
        Some(AttachmentKey { network: self.network.parse().ok()?, container, ifname: self.ifname.to_owned() })
    }

    /// Its name. `None`: these are no names.
    pub(super) fn id(&self) -> Option<EndpointId> {
        Some(EndpointId { namespace: self.namespace.parse().ok()?, name: self.name.parse().ok()? })
    }

    /// Its addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let first = [self.ip.map(IpAddr::V4), self.ip6.map(IpAddr::V6)].into_iter().flatten();
        first.chain(self.more.iter().copied())
    }
}

impl Entries {
    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.places().map(|(_, entry)| entry)
    }

    /// All of them, each with the place where what is written after it begins.
    fn places(&self) -> impl Iterator<Item = (usize, Entry<'_>)> {
        let mut rest = self.written.as_slice();
        std::iter::from_fn(move || {
            let (entry, after) = take(rest)?;
            rest = after;
            Some((self.written.len() - rest.len(), entry))
        })
    }

    /// Has `look` see each of them, wholly or its [`Head`], until it says `None`. `None` too where they cannot all be read.
    pub(super) fn look_through<'a, T: Deserialize<'a>>(
        &'a self,
        mut look: impl FnMut(T) -> Option<()>,
    ) -> Option<()> {
        let (mut rest, mut count) = (self.written.as_slice(), 0);
        while !rest.is_empty() {
            let (entry, after) = take(rest)?;
            look(entry)?;
            rest = after;
            count += 1;
        }
        (count == self.count).then_some(())
    }

    /// Whether each of them can be read.
    pub(super) fn are_whole(&self) -> bool {
        self.look_through(|_: Entry<'_>| Some(())).is_some()
    }

    /// Adds one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn push(&mut self, entry: &Entry<'_>) -> Result<()> {
        let failed = "write an endpoint into the ledger";
        let entry = postcard::to_stdvec(entry).context(failed)?;
        let written = std::mem::take(&mut self.written);
        self.written = postcard::to_extend(Bytes::new(&entry), written).context(failed)?;
        self.count += 1;
        Ok(())
    }

    /// Removes that of an endpoint.
    pub(super) fn remove(&mut self, id: &EndpointId) {
        let mut start = 0;
        let place = self.places().find_map(|(end, entry)| {
            let begin = std::mem::replace(&mut start, end);
            entry.is(id).then_some(begin..end)
        });
        if let Some(place) = place {
            self.written.drain(place);
            self.count -= 1;
        }
    }
}

/// The first of several entries, or what it begins with, and what is written after it.
fn take<'a, T: Deserialize<'a>>(written: &'a [u8]) -> Option<(T, &'a [u8])> {
    let (entry, after) = postcard::take_from_bytes::<&Bytes>(written).ok()?;
    let (entry, _) = postcard::take_from_bytes(entry).ok()?;
    Some((entry, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry<'_> {
        Entry {
            namespace: "default",
            name,
            container: Some("0123456789ab"),
            network: "net",
            slot: Some(7),
            ip: Some(Ipv4Addr::new(10, 0, 0, 2)),
            ip6: None,
            more: vec![Ipv4Addr::new(10, 1, 0, 2).into()],
            mac: Some([2, 0, 0, 0, 0, 1]),
            netns: Some("/run/netns/a"),
            ifname: "eth0",
            device: Some(Device {
                index: Some(9),
                name: "nf1",
                is_adopted: false,
                bridge: None,
                redirect: true,
                sends_by_host: false,
            }),
            published: vec![Claim { host_ip: None, host: PortRange::single(8080), protocol: Protocol::Tcp }],
        }
    }

    fn id(name: &str) -> EndpointId {
        EndpointId { namespace: "default".parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn entries_come_and_go() {
        let names = ["a", "longer", "c"];
        let mut all = Entries::default();
        for name in names {
            all.push(&entry(name)).unwrap();
        }
        assert_eq!(all.iter().collect::<Vec<_>>(), names.map(entry));
        for gone in names {
            let mut rest = all.clone();
            rest.remove(&id(gone));
            assert!(rest.are_whole());
            let left = names.into_iter().filter(|name| *name != gone);
            assert_eq!(rest.iter().collect::<Vec<_>>(), left.map(entry).collect::<Vec<_>>());
        }
        let before = all.clone();
        all.remove(&id("nobody"));
        assert_eq!(all, before);
    }

    #[test]
    fn an_entry_begins_with_its_head() {
        let mut all = Entries::default();
        let entries = [entry("a"), Entry { container: None, namespace: "other", ..entry("b") }];
        for entry in &entries {
            all.push(entry).unwrap();
        }
        let mut heads = Vec::new();
        all.look_through(|head: Head<'_>| {
            heads.push(head);
            Some(())
        })
        .unwrap();
        let head = |entry: &Entry<'static>| {
            let Entry { namespace, name, container, .. } = *entry;
            Head { namespace, name, container }
        };
        assert_eq!(heads, entries.iter().map(head).collect::<Vec<_>>());
    }

    #[test]
    fn who_has_seen_enough_sees_no_more() {
        let mut all = Entries::default();
        for name in ["a", "b", "c"] {
            all.push(&entry(name)).unwrap();
        }
        let mut seen = Vec::new();
        let end = all.look_through(|entry: Entry<'_>| {
            seen.push(entry.name.to_owned());
            (entry.name != "b").then_some(())
        });
        assert_eq!((end, seen), (None, vec!["a".to_owned(), "b".to_owned()]));
    }

    /// An entry whose text is no text is not passed over.
    #[test]
    fn what_is_damaged_is_not_whole() {
        let mut all = Entries::default();
        for name in ["a", "damaged", "c"] {
            all.push(&entry(name)).unwrap();
        }
        let place = all.written.windows(7).position(|text| text == b"damaged").unwrap();
        all.written[place] = 0xff;
        assert!(!all.are_whole());
        assert_eq!(all.look_through(|_: Head<'_>| Some(())), None);
    }

    #[test]
    fn what_is_torn_is_not_whole() {
        let mut all = Entries::default();
        for name in ["a", "b"] {
            all.push(&entry(name)).unwrap();
        }
        assert!(all.are_whole());
        for length in 0..all.written.len() {
            let torn = Entries { written: all.written[..length].to_vec(), ..all.clone() };
            assert!(!torn.are_whole(), "{length} of {} bytes", all.written.len());
        }
        assert!(!Entries { count: 1, ..all.clone() }.are_whole());
        assert!(!Entries { written: [all.written.as_slice(), &[0]].concat(), ..all }.are_whole());
    }
}
