//! What the maps hold, and where that is not what they should.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use netfast_common::addr::Addr;
use netfast_common::maps as name;
use netfast_common::policy::{ANY_IDENTITY, RuleKey, RuleRow};
use netfast_common::rows::{
    AddressRow, CidrRow, Config, EndpointRow, PublishKey, PublishRow, SlotRow, SourceKey, Subject, UplinkRow,
};

use super::{Settings, source_prefix};
use crate::compile::policy::Prefix as Block;
use crate::compile::rows::Rows;
use crate::kernel::{Maps, Prefix};

/// What the maps hold.
pub(super) struct Held {
    pub(super) config: Config,
    pub(super) slots: Vec<SlotRow>,
    pub(super) endpoints: BTreeMap<u32, EndpointRow>,
    pub(super) addresses: BTreeMap<Addr, AddressRow>,
    pub(super) published: [BTreeMap<PublishKey, PublishRow>; 2],
    pub(super) sources: BTreeMap<Prefix<SourceKey>, u32>,
    pub(super) uplinks: BTreeMap<u32, UplinkRow>,
    pub(super) cidrs: BTreeMap<Prefix<Addr>, CidrRow>,
    pub(super) rules: BTreeMap<Prefix<RuleKey>, RuleRow>,
}

impl Held {
    pub(super) fn read(maps: &Maps) -> Result<Self> {
        let [even, odd] = &maps.published;
        Ok(Self {
            config: maps.config.get(0)?,
            slots: maps.slots.all()?,
            endpoints: maps.endpoints.to_map()?,
            addresses: maps.addresses.to_map()?,
            published: [even.to_map()?, odd.to_map()?],
            sources: maps.sources.to_map()?,
            uplinks: maps.uplinks.to_map()?,
            cidrs: maps.cidrs.to_map()?,
            rules: maps.rules.to_map()?,
        })
    }

    pub(super) fn slot(&self, slot: u32) -> Option<&SlotRow> {
        self.slots.get(usize::try_from(slot).ok()?)
    }

    pub(super) fn differing(&self, rows: &Rows, settings: &Settings) -> Vec<&'static str> {
        let current = (self.config.generation & 1) as usize;
        let holds_subject = |(slot, subject): (&u32, &Subject)| {
            self.slot(*slot).is_some_and(|row| row.versions[current] == *subject)
        };
        let blocks = self.cidrs.iter();
        let blocks = blocks
            .map(|(prefix, row)| (Block { addr: prefix.key, len: prefix.bits }, row.identities[current]));
        // A row of a set or of a class that nobody has is asked by nobody, and does no harm.
        let live = Live::of(rows);
        let rules = self.rules.iter().map(|(prefix, row)| ((prefix.key, prefix.bits), *row));
        let rules = rules.filter(|((key, _), _)| live.asks(key));
        let wanted_rules = rows.rules.iter().filter(|((key, _), _)| live.asks(key));
        let sources = self.sources.keys().copied();
        let holds = [
            (name::CONFIG, self.config == settings.in_config(rows, self.config)),
            (name::SLOT, rows.subjects.iter().all(holds_subject)),
            (name::ENDPOINT, self.endpoints == rows.endpoints),
            (name::ADDRESS, self.addresses == rows.addresses),
            (name::PUBLISH[current], self.published[current] == rows.published),
            (name::SOURCE, sources.eq(rows.sources.iter().map(source_prefix))),
            (name::UPLINK, self.uplinks == rows.uplinks),
            (name::CIDR, blocks.eq(rows.cidrs.iter().map(|(block, identity)| (*block, *identity)))),
            (name::RULE, rules.eq(wanted_rules.map(|(key, row)| (*key, *row)))),
        ];
        holds.into_iter().filter(|(_, holds)| !holds).map(|(map, _)| map).collect()
    }
}

/// The rule sets and identities that somebody has.
struct Live {
    sets: BTreeSet<u32>,
    identities: BTreeSet<u32>,
}

impl Live {
    fn of(rows: &Rows) -> Self {
        let mut live = Self { sets: BTreeSet::new(), identities: rows.cidrs.values().copied().collect() };
        live.identities.insert(ANY_IDENTITY);
        for subject in rows.subjects.values() {
            let Subject { ingress, egress, audit_ingress, audit_egress, identity4, identity6 } = *subject;
            live.sets.extend([ingress, egress, audit_ingress, audit_egress]);
            live.identities.extend([identity4, identity6]);
        }
        live
    }

    /// Whether a packet may be judged by a rule with this key.
    fn asks(&self, key: &RuleKey) -> bool {
        self.sets.contains(&key.set) && self.identities.contains(&key.identity)
    }
}
