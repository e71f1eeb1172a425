//! Selectors and blocks, found from the other end: what may concern an endpoint, among thousands that do not.
//!
//! Each thing is entered under *clues*: labels, label keys and blocks, such that whatever the thing concerns has at least one of
//! them. An endpoint has few clues, and whatever is entered under none of them does not concern it. What is entered under one
//! may, and is to be asked.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crc::{CRC_32_ISO_HDLC, Crc};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::shelf::pair;
use crate::model::{Labels, NAMESPACE_NAME_LABEL, Name, Operator, Selector};

/// Things by their clues.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Catalogue<'a> {
    /// Digests of clues, each with the number of a thing, 4 bytes each, in their order. That two clues may have one digest does
    /// no harm: a thing more is asked then.
    #[serde(borrow, with = "serde_bytes")]
    entries: Cow<'a, [u8]>,
    /// The lengths of blocks there are.
    lengths: BTreeSet<Length>,
}

/// Length of a block, and whether it is one of IPv4.
type Length = (bool, u8);

/// Something that an endpoint has, by a digest that every build of netfast makes alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Clue(u32);

/// Whose label.
#[derive(Clone, Copy, Debug)]
enum Of {
    Endpoint,
    Namespace,
}

impl Clue {
    /// Every endpoint has it.
    const ANYBODY: Self = Self(0);

    fn digest(kind: u8, parts: &[&[u8]]) -> Self {
        const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
        let mut digest = CRC.digest();
        digest.update(&[kind]);
        for part in parts {
            digest.update(part);
            // No label holds it.
            digest.update(&[0]);
        }
        Self(digest.finalize())
    }

    fn label(of: Of, key: &str, value: &str) -> Self {
        Self::digest(of as u8, &[key.as_bytes(), value.as_bytes()])
    }

    fn key(of: Of, key: &str) -> Self {
        Self::digest(2 + of as u8, &[key.as_bytes()])
    }

    fn block(block: IpNet) -> Self {
        let length = [block.prefix_len()];
        match block.network() {
            IpAddr::V4(ip) => Self::digest(4, &[&ip.octets(), &length]),
            IpAddr::V6(ip) => Self::digest(5, &[&ip.octets(), &length]),
        }
    }
}

/// Ways to tell that a thing may concern an endpoint: each is a list of clues, one of which any endpoint it concerns has.
#[derive(Clone, Debug, Default)]
pub(in crate::compile::policy) struct Ways(Vec<Vec<Clue>>);

impl Ways {
    /// Those of a selector of endpoints in one namespace.
    pub(in crate::compile::policy) fn within(namespace: &Name, endpoints: &Selector) -> Self {
        let mut ways = vec![vec![Clue::label(Of::Namespace, NAMESPACE_NAME_LABEL, namespace.as_str())]];
        ways.extend(of_selector(Of::Endpoint, endpoints));
        Self(ways)
    }

    /// Those of a selector of endpoints in all namespaces that another one selects.
    pub(in crate::compile::policy) fn across(namespaces: &Selector, endpoints: &Selector) -> Self {
        let ways = of_selector(Of::Namespace, namespaces).chain(of_selector(Of::Endpoint, endpoints));
        Self(ways.collect())
    }
}

fn of_selector(of: Of, selector: &Selector) -> impl Iterator<Item = Vec<Clue>> {
    selector.requirements.iter().filter_map(move |requirement| {
        let key = &requirement.key;
        match &requirement.operator {
            Operator::In(values) => Some(values.iter().map(|value| Clue::label(of, key, value)).collect()),
            Operator::Exists => Some(vec![Clue::key(of, key)]),
            Operator::NotIn(_) | Operator::DoesNotExist => None,
        }
    })
}

/// What is to be entered.
#[derive(Debug, Default)]
pub(in crate::compile::policy) struct Draft {
    selectors: Vec<(u32, Ways)>,
    blocks: Vec<(u32, IpNet)>,
}

impl Draft {
    /// Enters a thing as concerning whom a selector selects.
    pub(in crate::compile::policy) fn selector(&mut self, number: u32, ways: Ways) {
        self.selectors.push((number, ways));
    }

    /// Enters a thing as concerning the addresses of a block.
    pub(in crate::compile::policy) fn block(&mut self, number: u32, block: IpNet) {
        self.blocks.push((number, block));
    }

    /// The catalogue. Of the ways to a thing it takes the one whose clues the fewest others have, so that few are asked in vain.
    pub(super) fn finish(self) -> Catalogue<'static> {
        let mut uses: BTreeMap<Clue, usize> = BTreeMap::new();
        for clue in self.selectors.iter().flat_map(|(_, ways)| ways.0.iter().flatten()) {
            *uses.entry(*clue).or_default() += 1;
        }
        let mut entries: BTreeSet<(Clue, u32)> = BTreeSet::new();
        for (number, ways) in self.selectors {
            let cost = |way: &Vec<Clue>| way.iter().filter_map(|clue| uses.get(clue)).sum::<usize>();
            let best = ways.0.into_iter().min_by_key(cost).unwrap_or_else(|| vec![Clue::ANYBODY]);
            entries.extend(best.into_iter().map(|clue| (clue, number)));
        }
        entries.extend(self.blocks.iter().map(|(number, block)| (Clue::block(*block), *number)));
        let bytes = entries
            .into_iter()
            .flat_map(|(clue, number)| clue.0.to_le_bytes().into_iter().chain(number.to_le_bytes()));
        Catalogue {
            entries: bytes.collect(),
            lengths: self.blocks.iter().map(|(_, block)| length(block)).collect(),
        }
    }
}

fn length(block: &IpNet) -> Length {
    (matches!(block, IpNet::V4(_)), block.prefix_len())
}

impl Catalogue<'_> {
    /// The numbers of all things that may concern an endpoint, ascending.
    pub(super) fn find(
        &self,
        of_namespace: &Labels,
        labels: &Labels,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> BTreeSet<u32> {
        let mut clues = vec![Clue::ANYBODY];
        for (of, labels) in [(Of::Namespace, of_namespace), (Of::Endpoint, labels)] {
            let both = |(key, value): (&String, &String)| [Clue::label(of, key, value), Clue::key(of, key)];
            clues.extend(labels.iter().flat_map(both));
        }
        for address in addresses {
            let lengths = self.lengths.iter().filter(|(is_ipv4, _)| *is_ipv4 == address.is_ipv4());
            let around = lengths.filter_map(|(_, length)| IpNet::new(address, *length).ok());
            clues.extend(around.map(|block| Clue::block(block.trunc())));
        }
        let (entries, _) = self.entries.as_chunks();
        let mut found = BTreeSet::new();
        for Clue(digest) in clues {
            let start = entries.partition_point(|entry| pair(*entry).0 < digest);
            let those = entries.iter().skip(start).map(|entry| pair(*entry));
            found.extend(those.take_while(|(other, _)| *other == digest).map(|(_, number)| number));
        }
        found
    }
}
