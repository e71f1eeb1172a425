//! The maps of a datapath, by name and with their types.

use std::path::Path;
use std::sync::Arc;

use netfast_common::addr::Addr;
use netfast_common::conntrack::Flow;
use netfast_common::flow::FlowKey;
use netfast_common::maps as name;
use netfast_common::policy::{RuleKey, RuleRow};
use netfast_common::rows::{
    AddressRow, CidrRow, Config, EndpointDropKey, EndpointRow, FragmentKey, FragmentRow, PublishKey,
    PublishRow, SlotRow, SocketKey, SocketRow, SourceKey, UplinkRow,
};

use super::pinned_map::PinnedMap;
use super::table::{Array, CounterArray, CounterTable, Table, Trie};

/// The maps of a datapath. The programs' working memory is left out: it means nothing outside of them.
#[derive(Debug)]
pub struct Maps {
    /// What the whole instance is set to, at index 0.
    pub config: Array<Config>,
    /// Endpoints by the index of their host veth.
    pub endpoints: Table<u32, EndpointRow>,
    /// Whose an address is.
    pub addresses: Table<Addr, AddressRow>,
    /// What policy says of the endpoints, by slot.
    pub slots: Array<SlotRow>,
    /// Identities of prefixes.
    pub cidrs: Trie<Addr, CidrRow>,
    /// Policy rows.
    pub rules: Trie<RuleKey, RuleRow>,
    /// Settled flows.
    pub flows: Table<FlowKey, Flow>,
    /// Flows whose originator has not answered yet.
    pub nursery: Table<FlowKey, Flow>,
    /// Packets that came in fragments.
    pub fragments: Table<FragmentKey, FragmentRow>,
    /// Published ports: those of even generations, and those of odd ones.
    pub published: [Table<PublishKey, PublishRow>; 2],
    /// Who may use published ports.
    pub sources: Trie<SourceKey, u32>,
    /// Uplinks by index.
    pub uplinks: Table<u32, UplinkRow>,
    /// Denied prefixes.
    pub denied: Trie<Addr, u32>,
    /// Counters of the instance.
    pub counters: CounterArray,
    /// Drops by endpoint and reason.
    pub endpoint_drops: CounterTable<EndpointDropKey>,
    /// Flows that each rule allowed, by number of the rule.
    pub rule_hits: CounterTable<u32>,
    /// Host sockets whose destination was translated.
    pub sockets: Table<SocketKey, SocketRow>,
}

impl Maps {
    /// The maps pinned in `directory`. Each is opened when it is first used.
    pub(super) fn at(directory: &Path) -> Self {
        let directory = &Arc::from(directory);
        Self {
            config: Array(PinnedMap::new(directory, name::CONFIG)),
            endpoints: Table(PinnedMap::new(directory, name::ENDPOINT)),
            addresses: Table(PinnedMap::new(directory, name::ADDRESS)),
            slots: Array(PinnedMap::new(directory, name::SLOT)),
            cidrs: Trie(PinnedMap::new(directory, name::CIDR)),
            rules: Trie(PinnedMap::new(directory, name::RULE)),
            flows: Table(PinnedMap::new(directory, name::FLOW)),
            nursery: Table(PinnedMap::new(directory, name::NURSERY)),
            fragments: Table(PinnedMap::new(directory, name::FRAGMENT)),
            published: [
                Table(PinnedMap::new(directory, name::PUBLISH[0])),
                Table(PinnedMap::new(directory, name::PUBLISH[1])),
            ],
            sources: Trie(PinnedMap::new(directory, name::SOURCE)),
            uplinks: Table(PinnedMap::new(directory, name::UPLINK)),
            denied: Trie(PinnedMap::new(directory, name::DENY)),
            counters: CounterArray(PinnedMap::new(directory, name::COUNTER)),
            endpoint_drops: CounterTable(PinnedMap::new(directory, name::ENDPOINT_DROP)),
            rule_hits: CounterTable(PinnedMap::new(directory, name::RULE_HIT)),
            sockets: Table(PinnedMap::new(directory, name::SOCKET)),
        }
    }
}

#[cfg(test)]
mod tests {
    use netfast_common::addr::Addr;
    use netfast_common::policy::{RuleKey, RuleRow};
    use netfast_common::rows::{AddressRow, Config, SlotRow};

    use super::super::testing::{isolated, loaded};
    use super::super::{Bpffs, Datapath, KernelError, Maps, Prefix};
    use crate::model::Limits;

    #[test]
    fn rows_are_written_listed_and_removed() {
        loaded(|_, mut datapath| {
            let maps = &mut datapath.maps;
            let config = Config { generation: 7, ..Config::default() };
            maps.config.set(0, config).unwrap();
            assert_eq!(maps.config.get(0).unwrap(), config);

            let addr = Addr::from_v4([10, 0, 0, 2]);
            let row = AddressRow { kind: 1, ..AddressRow::default() };
            maps.addresses.insert(addr, row).unwrap();
            maps.addresses.insert(addr, row).unwrap();
            assert_eq!(maps.addresses.to_map().unwrap().into_iter().collect::<Vec<_>>(), [(addr, row)]);
            assert!(maps.addresses.remove(&addr).unwrap());
            assert!(!maps.addresses.remove(&addr).unwrap());
            assert_eq!(maps.addresses.get(&addr).unwrap(), None);
            maps.addresses.insert(addr, row).unwrap();
            maps.addresses.clear().unwrap();
            assert!(maps.addresses.rows().unwrap().is_empty());

            assert!(maps.counters.all().unwrap().iter().all(|c| c.packets == 0));
            assert!(maps.endpoint_drops.to_map().unwrap().is_empty());
        });
    }

    #[test]
    fn the_longest_prefix_wins() {
        loaded(|_, mut datapath| {
            let rules = &mut datapath.maps.rules;
            let any = Prefix { key: RuleKey::new(1, 2, 6, 0), bits: RuleKey::ANY_PORT };
            let https = Prefix { key: RuleKey::new(1, 2, 6, 443), bits: RuleKey::FULL };
            rules.insert(&any, RuleRow::allow(1)).unwrap();
            rules.insert(&https, RuleRow::allow(2)).unwrap();
            let ask = |rules: &super::Trie<_, RuleRow>, port| {
                let key = Prefix { key: RuleKey::new(1, 2, 6, port), bits: RuleKey::FULL };
                rules.lookup(&key).unwrap().map(|row| row.rule)
            };
            assert_eq!((ask(rules, 443), ask(rules, 80)), (Some(2), Some(1)));
            assert_eq!(rules.to_map().unwrap().keys().copied().collect::<Vec<_>>(), [any, https]);
            assert!(rules.remove(&https).unwrap());
            assert!(!rules.remove(&https).unwrap());
            assert_eq!(ask(rules, 443), Some(1));
            rules.clear().unwrap();
            assert_eq!(ask(rules, 443), None);
        });
    }

    #[test]
    fn many_rows_are_written_listed_and_removed() {
        loaded(|_, mut datapath| {
            let Maps { rules, slots, .. } = &mut datapath.maps;
            let rule = |i: u16| {
                (
                    Prefix { key: RuleKey::new(7, u32::from(i), 6, i), bits: RuleKey::FULL },
                    RuleRow { rule: 1 },
                )
            };
            // More than fit in one call, and exactly as many.
            for count in [0, 1, 4096, 10_000] {
                let rows: Vec<_> = (0..count).map(rule).collect();
                rules.insert_all(&rows).unwrap();
                assert_eq!(rules.to_map().unwrap(), rows.iter().copied().collect());
                let keys: Vec<_> = rows.iter().map(|(prefix, _)| *prefix).collect();
                if let Some(first) = keys.first() {
                    // What is gone already is passed over.
                    rules.remove(first).unwrap();
                }
                rules.remove_all(&keys).unwrap();
                assert!(rules.to_map().unwrap().is_empty());
            }
            let mut row = SlotRow::default();
            row.versions[1].identity4 = 9;
            slots.set(1, row).unwrap();
            let all = slots.all().unwrap();
            assert_eq!(all.len(), slots.max_entries().unwrap() as usize);
            assert!(all[1] == row && all[0] == SlotRow::default());
        });
    }

    #[test]
    fn a_full_map_says_so() {
        isolated(|dir| {
            let bpffs = Bpffs::ensure(dir.join("bpf")).unwrap();
            let sizes = Limits { denied: 2, uplinks: 2, ..Limits::default() };
            let mut datapath = match Datapath::open_or_load(&bpffs, &sizes) {
                Err(KernelError::NotBuilt | KernelError::BadObject { .. }) => return,
                other => other.unwrap(),
            };
            let prefix = |i| Prefix { key: Addr::from_v4([10, 0, 0, i]), bits: 128 };
            let full = (0..9).find_map(|i| datapath.maps.denied.insert(&prefix(i), 1).err());
            assert!(matches!(full, Some(KernelError::MapFull { max_entries: 2, .. })), "{full:?}");
        });
    }
}
