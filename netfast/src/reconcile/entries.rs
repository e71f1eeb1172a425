//! What the ledger says of each endpoint, kept as it is written: there are many, and a change of one only looks through the
//! rows of the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};
use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use super::devices::{Device, Place};
use crate::model::{Endpoint, EndpointId, PortRange, Protocol, Publish};
use crate::store::{AttachmentKey, EndpointRecord, Tail, hash};

/// What the ledger says of all endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entries {
    count: usize,
    /// One after the other, each a [`Row`] and [`Details`] behind it.
    #[serde(skip)]
    written: Tail,
}

/// What of an endpoint is looked at when another one comes or goes. What it says of text are digests: the same for all that is
/// alike, and hardly ever for anything else.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Row {
    /// Of its name, the namespace aside.
    pub name: u32,
    pub network: u32,
    /// Of its network namespace and its interface there.
    pub place: u32,
    pub container: u32,
    slot: u32,
    /// How many ports of the host are its own.
    pub published: u32,
    /// The lowest and the highest of them.
    ports: [u16; 2],
    ip: [u8; 4],
    ip6: [u8; 16],
    mac: [u8; 6],
    flags: u16,
    /// Bytes of its details.
    length: u32,
}

const HAS_SLOT: u16 = 1;
const HAS_IP: u16 = 2;
const HAS_IP6: u16 = 4;
const HAS_MAC: u16 = 8;
const HAS_MORE: u16 = 16;
const HAS_PORT: u16 = 32;
const IS_APART: u16 = 64;

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Its namespace, in the sense of policies.
    pub namespace: &'a str,
    pub name: &'a str,
    /// The container it is an attachment of.
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
    pub netns: Option<&'a str>,
    pub ifname: &'a str,
    /// The host's end of its device; `None`: it is not up.
    pub device: Option<Device<'a>>,
    pub published: Vec<Claim>,
}

/// What of an [`Entry`] is in no [`Row`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Details<'a> {
    namespace: &'a str,
    name: &'a str,
    #[serde(borrow)]
    container: Option<&'a str>,
    network: &'a str,
    more: Vec<IpAddr>,
    #[serde(borrow)]
    netns: Option<&'a str>,
    ifname: &'a str,
    #[serde(borrow)]
    device: Option<Device<'a>>,
    published: Vec<Claim>,
}

/// An endpoint as it is written: its row, and what tells the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub row: Row,
    details: &'a [u8],
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

impl Row {
    fn of(entry: &Entry<'_>, length: u32) -> Self {
        let has = |flag: u16, is_so: bool| if is_so { flag } else { 0 };
        let hosts = || entry.published.iter().map(|claim| claim.host);
        let is_at = |place| entry.device.is_some_and(|device| device.place == place);
        Self {
            name: digest(entry.name),
            network: digest(entry.network),
            place: entry.netns.map_or(0, |netns| place(Path::new(netns), entry.ifname)),
            container: entry.container.map_or(0, digest),
            slot: entry.slot.unwrap_or_default(),
            published: hosts().map(PortRange::count).sum(),
            ports: [
                hosts().map(|range| range.first).min().unwrap_or_default(),
                hosts().map(|range| range.last).max().unwrap_or_default(),
            ],
            ip: entry.ip.map_or([0; 4], |ip| ip.octets()),
            ip6: entry.ip6.map_or([0; 16], |ip| ip.octets()),
            mac: entry.mac.unwrap_or_default(),
            flags: has(HAS_SLOT, entry.slot.is_some())
                | has(HAS_IP, entry.ip.is_some())
                | has(HAS_IP6, entry.ip6.is_some())
                | has(HAS_MAC, entry.mac.is_some())
                | has(HAS_MORE, !entry.more.is_empty())
                | has(HAS_PORT, is_at(Place::Port))
                | has(IS_APART, is_at(Place::Apart)),
            length,
        }
    }

    const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn slot(&self) -> Option<u32> {
        self.has(HAS_SLOT).then_some(self.slot)
    }

    pub(super) fn ip(&self) -> Option<Ipv4Addr> {
        self.has(HAS_IP).then_some(self.ip.into())
    }

    pub(super) fn ip6(&self) -> Option<Ipv6Addr> {
        self.has(HAS_IP6).then_some(self.ip6.into())
    }

    pub(super) fn mac(&self) -> Option<[u8; 6]> {
        self.has(HAS_MAC).then_some(self.mac)
    }

    /// These two.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [self.ip().map(IpAddr::V4), self.ip6().map(IpAddr::V6)].into_iter().flatten()
    }

    /// Whether it has addresses besides these two.
    pub(super) const fn has_more(&self) -> bool {
        self.has(HAS_MORE)
    }

    /// Whether it may have a port in common with one of these.
    pub(super) fn may_overlap(&self, claims: &[Claim]) -> bool {
        let [first, last] = self.ports;
        self.published > 0 && claims.iter().any(|claim| claim.host.overlaps(PortRange { first, last }))
    }

    /// Whether its device is a port of its network's bridge.
    pub(super) const fn is_port(&self) -> bool {
        self.has(HAS_PORT)
    }

    /// Whether its device is there, netfast's, and no port of its network's bridge.
    pub(super) const fn is_apart(&self) -> bool {
        self.has(IS_APART)
    }
}

impl<'a> Line<'a> {
    /// What it says. `None`: it is damaged.
    pub(super) fn read(&self) -> Option<Entry<'a>> {
        let Details { namespace, name, container, network, more, netns, ifname, device, published } =
            postcard::from_bytes(self.details).ok()?;
        let Self { row, .. } = self;
        Some(Entry {
            namespace,
            name,
            container,
            network,
            slot: row.slot(),
            ip: row.ip(),
            ip6: row.ip6(),
            more,
            mac: row.mac(),
            netns,
            ifname,
            device,
            published,
        })
    }
}

/// What tells most texts that differ apart.
pub(super) fn digest(text: &str) -> u32 {
    fold(text.as_bytes())
}

/// The same of an interface in a network namespace, however the path of that is spelled.
pub(super) fn place(netns: &Path, ifname: &str) -> u32 {
    let place = netns.components().chain([Component::Normal(ifname.as_ref())]).collect::<PathBuf>();
    fold(place.as_os_str().as_encoded_bytes())
}

fn fold(bytes: &[u8]) -> u32 {
    let all = hash(bytes);
    u32::try_from((all ^ all >> 32) & 0xffff_ffff).unwrap_or_default()
}

impl Entries {
    /// With these written, as many as are said to be there. `None`: they are not.
    pub(super) fn with(self, written: Tail) -> Option<Self> {
        let all = Self { written, ..self };
        let (mut rest, mut count) = (&*all.written, 0);
        while !rest.is_empty() {
            (_, rest) = take(rest)?;
            count += 1;
        }
        (count == all.count).then_some(all)
    }

    /// As they are to be written.
    pub(super) fn written(&self) -> &[u8] {
        &self.written
    }

    /// All of them, as they are written.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.places().map(|(_, line)| line)
    }

    /// All of them that can be read.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.lines().filter_map(|line| line.read())
    }

    /// All of them, each with the place where what is written after it begins.
    fn places(&self) -> impl Iterator<Item = (usize, Line<'_>)> {
        let mut rest = &*self.written;
        std::iter::from_fn(move || {
            let (line, after) = take(rest)?;
            rest = after;
            Some((self.written.len() - rest.len(), line))
        })
    }

    /// Whether each of them can be read.
    pub(super) fn are_whole(&self) -> bool {
        self.lines().all(|line| line.read().is_some())
    }

    /// Adds one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn push(&mut self, entry: &Entry<'_>) -> Result<()> {
        let Entry { namespace, name, container, network, netns, ifname, device, .. } = *entry;
        let (more, published) = (entry.more.clone(), entry.published.clone());
        let details = Details { namespace, name, container, network, more, netns, ifname, device, published };
        let details = postcard::to_stdvec(&details).context("write an endpoint into the ledger")?;
        let row = Row::of(entry, u32::try_from(details.len()).context("write an endpoint into the ledger")?);
        self.written.push(bytemuck::bytes_of(&row));
        self.written.push(&details);
        self.count += 1;
        Ok(())
    }

    /// Removes that of an endpoint.
    pub(super) fn remove(&mut self, id: &EndpointId) {
        let name = digest(id.name.as_str());
        let mut start = 0;
        let place = self.places().find_map(|(end, line)| {
            let begin = std::mem::replace(&mut start, end);
            let is_it = line.row.name == name && line.read().is_some_and(|entry| entry.is(id));
            is_it.then_some(begin..end)
        });
        if let Some(place) = place {
            self.written.remove(place);
            self.count -= 1;
        }
    }

    /// Those of the attachments of a container.
    pub(super) fn of_container(&self, container: &str) -> impl Iterator<Item = Entry<'_>> {
        let of = digest(container);
        let lines = self.lines().filter(move |line| line.row.container == of);
        lines.filter_map(|line| line.read()).filter(move |entry| entry.container == Some(container))
    }

    /// That of an endpoint.
    pub(super) fn find(&self, id: &EndpointId) -> Option<Entry<'_>> {
        let name = digest(id.name.as_str());
        let mut lines = self.lines().filter(|line| line.row.name == name).filter_map(|line| line.read());
        lines.find(|entry| entry.is(id))
    }
}

/// The first of several entries, and what is written after it.
fn take(written: &[u8]) -> Option<(Line<'_>, &[u8])> {
    let (row, rest) = written.split_at_checked(size_of::<Row>())?;
    let row: Row = bytemuck::pod_read_unaligned(row);
    let (details, after) = rest.split_at_checked(usize::try_from(row.length).ok()?)?;
    Some((Line { row, details }, after))
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
                place: Place::Port,
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

    /// What a change of one endpoint goes by.
    #[test]
    fn a_row_tells_the_same_as_its_entry() {
        let bare = Entry {
            container: None,
            slot: None,
            ip: None,
            ip6: Some(Ipv6Addr::LOCALHOST),
            more: Vec::new(),
            mac: None,
            netns: None,
            device: None,
            published: Vec::new(),
            ..entry("bare")
        };
        let at = |place| entry("any").device.map(|device| Device { place, ..device });
        let written = [
            entry("whole"),
            bare,
            Entry { device: at(Place::Apart), ..entry("apart") },
            Entry { device: at(Place::Adopted(None)), ..entry("adopted") },
        ];
        let mut all = Entries::default();
        for entry in &written {
            all.push(entry).unwrap();
        }
        for (line, entry) in all.lines().zip(&written) {
            let Row { name, network, place, container, published, .. } = line.row;
            assert_eq!((name, network), (digest(entry.name), digest(entry.network)));
            assert_eq!(place == super::place(Path::new("/run//netns/a"), "eth0"), entry.netns.is_some());
            assert_eq!(container == digest("0123456789ab"), entry.container.is_some());
            assert_eq!(published, u32::from(!entry.published.is_empty()));
            assert_eq!(line.row.addresses().chain(entry.more.clone()).collect::<Vec<_>>(), {
                entry.addresses().collect::<Vec<_>>()
            });
            assert_eq!(line.row.has_more(), !entry.more.is_empty());
            assert_eq!((line.row.slot(), line.row.mac()), (entry.slot, entry.mac));
        }
        let places: Vec<_> = all.lines().map(|line| (line.row.is_port(), line.row.is_apart())).collect();
        assert_eq!(places, [(true, false), (false, false), (false, true), (false, false)]);
    }

    #[test]
    fn no_port_in_common_is_passed_over() {
        let claim =
            |first, last, protocol| Claim { host_ip: None, host: PortRange { first, last }, protocol };
        let published = [claim(80, 80, Protocol::Tcp), claim(443, 445, Protocol::Udp)];
        let mut all = Entries::default();
        all.push(&Entry { published: published.to_vec(), ..entry("a") }).unwrap();
        let row = all.lines().next().unwrap().row;
        for (first, last) in [(1, 79), (80, 80), (81, 442), (445, 500), (446, 500), (1, 65535)] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let asked = claim(first, last, protocol);
                let is_common = published.iter().any(|held| held.overlaps(&asked));
                assert!(row.may_overlap(&[asked]) || !is_common, "{asked:?}");
            }
            assert_eq!(row.may_overlap(&[claim(first, last, Protocol::Tcp)]), last >= 80 && first <= 445);
        }
        assert!(!row.may_overlap(&[]));
        all = Entries::default();
        all.push(&Entry { published: Vec::new(), ..entry("a") }).unwrap();
        assert!(!all.lines().next().unwrap().row.may_overlap(&[claim(1, 65535, Protocol::Tcp)]));
    }

    #[test]
    fn one_is_found_by_its_name_or_its_container() {
        let other = Entry { namespace: "other", container: Some("fedcba987654"), ..entry("a") };
        let mut all = Entries::default();
        for entry in [&entry("a"), &other] {
            all.push(entry).unwrap();
        }
        assert_eq!(all.find(&id("a")), Some(entry("a")));
        assert_eq!(all.find(&id("b")), None);
        assert_eq!(all.of_container("fedcba987654").collect::<Vec<_>>(), [other]);
        assert_eq!(all.of_container("none").count(), 0);
    }

    /// An entry whose text is no text is not passed over.
    #[test]
    fn what_is_damaged_is_not_whole() {
        let mut all = Entries::default();
        for name in ["a", "damaged", "c"] {
            all.push(&entry(name)).unwrap();
        }
        let place = all.written.windows(7).position(|text| text == b"damaged").unwrap();
        all.written.remove(place..place + 1);
        all.written.push(&[0]);
        assert!(!all.are_whole());
    }

    #[test]
    fn what_is_torn_is_not_whole() {
        let mut all = Entries::default();
        for name in ["a", "b"] {
            all.push(&entry(name)).unwrap();
        }
        assert!(all.are_whole());
        let with = |count, written: &[u8]| {
            let mut tail = Tail::default();
            tail.push(written);
            Entries { count, ..Entries::default() }.with(tail)
        };
        for length in 0..all.written.len() {
            assert_eq!(with(2, &all.written[..length]), None, "{length} of {} bytes", all.written.len());
        }
        assert_eq!(with(1, all.written()), None);
        assert_eq!(with(2, &[all.written(), &[0]].concat()), None);
        assert_eq!(with(2, all.written()), Some(all));
    }
}
