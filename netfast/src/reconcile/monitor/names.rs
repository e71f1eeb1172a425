//! The names of what events have numbers for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use anyhow::Result;

use crate::compile::policy::{self, Isolation, PolicyRef, RuleInfo};
use crate::model::EndpointId;
use crate::reconcile::assign::Records;
use crate::reconcile::converge::assigned;
use crate::reconcile::numbers;
use crate::store::Store;

/// The names of an instance, as they were when last looked.
#[derive(Debug)]
pub(super) struct Names {
    store: Store,
    changed: [Option<SystemTime>; 6],
    /// Devices that events have named since.
    devices: BTreeMap<u32, String>,
    /// Endpoints by the index of their host veth.
    by_ifindex: BTreeMap<u32, String>,
    /// Endpoints by incarnation. Those that are gone stay: the number is not used again.
    by_incarnation: BTreeMap<u32, String>,
    by_addr: BTreeMap<IpAddr, String>,
    isolation: BTreeMap<String, Isolation>,
    auditing: BTreeMap<String, Isolation>,
    rules: BTreeMap<u32, RuleInfo>,
}

impl Names {
    pub(super) fn load(store: Store) -> Result<Self> {
        let mut names = Self {
            changed: [None; 6],
            devices: BTreeMap::new(),
            by_ifindex: BTreeMap::new(),
            by_incarnation: BTreeMap::new(),
            by_addr: BTreeMap::new(),
            isolation: BTreeMap::new(),
            auditing: BTreeMap::new(),
            rules: BTreeMap::new(),
            store,
        };
        names.reload()?;
        Ok(names)
    }

    /// Looks again, if anything has changed. Where that fails the names stay as they are: the instance may be about to
    /// go.
    pub(super) fn refresh(&mut self) {
        if self.store.changed() != self.changed
            && let Err(error) = self.reload()
        {
            tracing::debug!(%error, "names are not refreshed");
        }
    }

    fn reload(&mut self) -> Result<()> {
        // Before anything is read: what changes meanwhile is read again.
        self.changed = self.store.changed();
        let definitions = self.store.definitions()?;
        let records = Records::read(&self.store)?;
        let numbers = numbers::read(&self.store)?;
        let tables = policy::compile(&definitions.world, &assigned(&records), &numbers, usize::MAX)?;
        self.devices.clear();
        self.by_ifindex.clear();
        self.by_addr.clear();
        for (id, record) in &records.endpoints {
            let name = id.to_string();
            self.by_incarnation.insert(record.incarnation, name.clone());
            if let Some(ifindex) = record.host_ifindex {
                self.by_ifindex.insert(ifindex, name.clone());
            }
            self.by_addr.extend(record.addresses().map(|addr| (addr, name.clone())));
        }
        let by_name = |isolations: BTreeMap<EndpointId, Isolation>| {
            isolations.into_iter().map(|(id, isolation)| (id.to_string(), isolation)).collect()
        };
        self.isolation = by_name(tables.isolating);
        self.auditing = by_name(tables.auditing);
        self.rules = tables.rule_info;
        Ok(())
    }

    /// The name of a device of this namespace.
    pub(super) fn device(&mut self, ifindex: u32) -> String {
        let name = self.devices.entry(ifindex).or_insert_with(|| {
            let name = nix::net::if_::if_indextoname(ifindex).ok().and_then(|name| name.into_string().ok());
            name.unwrap_or_else(|| format!("#{ifindex}"))
        });
        name.clone()
    }

    /// The endpoint behind a host veth.
    pub(super) fn at(&self, ifindex: u32) -> Option<String> {
        self.by_ifindex.get(&ifindex).cloned()
    }

    /// The endpoint of an incarnation.
    pub(super) fn of(&self, incarnation: u32) -> Option<String> {
        self.by_incarnation.get(&incarnation).cloned()
    }

    /// The endpoint with an address.
    pub(super) fn with(&self, addr: IpAddr) -> Option<String> {
        self.by_addr.get(&addr).cloned()
    }

    /// The policies that isolate an endpoint; with those under audit, if `is_audit`.
    pub(super) fn isolating(&self, endpoint: &str, is_egress: bool, is_audit: bool) -> &[PolicyRef] {
        let isolations = if is_audit { &self.auditing } else { &self.isolation };
        isolations.get(endpoint).map_or(&[], |own| if is_egress { &own.egress } else { &own.ingress })
    }

    /// The policy a rule is in, and where the rule was read.
    pub(super) fn rule(&self, number: u32) -> Option<(String, String)> {
        let info = self.rules.get(&number)?;
        Some((info.policy.to_string(), info.source.to_string()))
    }
}
