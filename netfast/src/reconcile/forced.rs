//! Removes an attachment where the state files do not let that be done in order: they are damaged, or their disk is full.
//!
//! What is the container's own goes: its device or the programs at it, its rows, its record. What policies say of it stays in
//! the maps, where nobody is asked for it any more, until the next change looks at everything.

use anyhow::{Context as _, Error, Result};
use netfast_common::rows::{ADDRESS_ENDPOINT, AddressRow, SourceKey};

use super::assign::Records;
use super::host::Host;
use super::instance::Instance;
use super::owner::Owner;
use super::{files, tables, topology};
use crate::compile::rows::Rows;
use crate::kernel::{Bpffs, Datapath, Hook, Maps, Mode};
use crate::model::EndpointId;
use crate::net::Netlink;
use crate::store::{AttachmentKey, EndpointRecord, StoreError, fault};

/// Whether an error is that state files cannot be used as they are.
pub(super) fn is_of_files(error: &Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref().is_some_and(StoreError::is_of_files))
}

impl Instance {
    /// Removes what is the attachment's own. `endpoint` is the one it is, as far as anything still tells.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub(super) fn detach_by_force(
        &mut self,
        key: &AttachmentKey,
        endpoint: Option<&EndpointId>,
    ) -> Result<()> {
        self.store().remove_ledger()?;
        if let Some(id) = endpoint {
            self.remove_by_force(id).with_context(|| format!("endpoint {id}"))?;
        }
        self.store().forget_attachment(key)?;
        self.read_anew();
        match endpoint {
            Some(_) => Ok(()),
            // It is no part of what the instance was asked for any more, and whatever is not goes.
            None => self.converge_as_before(),
        }
    }

    fn remove_by_force(&self, id: &EndpointId) -> Result<()> {
        let store = self.store();
        let netlink = Netlink::open(self.netns())?;
        let owner = Owner::of(store.paths());
        let record = store.endpoint(id).ok().flatten();
        let mut datapath = Datapath::open(&Bpffs::at(&store.paths().bpffs))?;
        let ifindex = match &record {
            Some(record) => record.host_ifindex,
            None => topology::find_by_alias(&netlink, owner, id)?.map(|link| link.index),
        };
        if let Some((datapath, ifindex)) = datapath.as_mut().zip(ifindex) {
            let rows = rows_behind(&datapath.maps, ifindex).context("read the maps")?;
            tables::withdraw(&mut datapath.maps, &rows).context("write the maps")?;
            tables::remove_sources(&mut datapath.maps, &rows).context("write the maps")?;
        }
        match (record, datapath) {
            (Some(record), Some(datapath)) => {
                let network = store.network(&record.network).ok().flatten();
                let networks = network.map(|network| (network.name.clone(), network)).into_iter().collect();
                let records = Records { networks, ..Records::default() };
                self.forget_names(&record);
                let (netns, mode) = (self.netns(), Mode::Auto);
                let host = Host { store, netns, netlink: &netlink, datapath, mode, ends_soon: false };
                topology::remove_endpoint(&host, &records, &record)
            }
            (Some(record), None) => {
                topology::remove_device(&netlink, owner, &record)?;
                topology::remove_namespace(&record)?;
                store.remove_endpoint(id)?;
                Ok(())
            }
            (None, datapath) => {
                if let Some(ifindex) = ifindex {
                    fault::point("remove a device that no record tells of");
                    netlink.delete_link(ifindex).context("remove its device")?;
                    for hook in [Hook::EndpointIngress, Hook::EndpointEgress] {
                        datapath.as_ref().map(|datapath| datapath.detach(hook, ifindex)).transpose()?;
                    }
                }
                store.remove_endpoint(id)?;
                Ok(())
            }
        }
    }

    /// The names of others stay right without it.
    fn forget_names(&self, record: &EndpointRecord) {
        if let Err(error) = files::remove(&self.store().paths().run_dir, record) {
            tracing::warn!("{error:#}");
        }
    }
}

/// The rows by which the endpoint behind a device is found, as the maps tell.
fn rows_behind(maps: &Maps, ifindex: u32) -> Result<Rows> {
    let mut rows = Rows::default();
    let Some(row) = maps.endpoints.get(&ifindex)? else { return Ok(rows) };
    for source in maps.sources.to_map()?.into_keys() {
        if source.key == SourceKey::further(row.incarnation, source.key.addr) {
            rows.sources.insert((source.key, source.bits));
        }
    }
    let first = [row.ip4, row.ip6].into_iter().filter(|addr| !addr.is_unspecified());
    let further = rows.sources.iter().map(|(key, _)| key.addr);
    for addr in first.chain(further.collect::<Vec<_>>()) {
        let is_its = |row: &AddressRow| row.kind == ADDRESS_ENDPOINT && row.ifindex == ifindex;
        rows.addresses.extend(maps.addresses.get(&addr)?.filter(is_its).map(|row| (addr, row)));
        for published in &maps.published {
            rows.published.extend(published.rows()?.into_iter().filter(|(_, row)| row.addr == addr));
        }
    }
    rows.endpoints.insert(ifindex, row);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use netfast_common::addr::Addr;
    use netfast_common::rows::{ENDPOINT_MORE, EndpointRow};

    use super::*;
    use crate::kernel::Prefix;
    use crate::kernel::testing::loaded;

    #[test]
    fn the_rows_of_all_addresses_are_found() {
        loaded(|_, mut datapath| {
            let maps = &mut datapath.maps;
            let own = [[10, 0, 0, 2], [10, 1, 0, 2], [10, 2, 0, 2]].map(Addr::from_v4);
            let row = EndpointRow {
                ip4: own[0],
                ifindex: 9,
                incarnation: 7,
                flags: ENDPOINT_MORE,
                ..EndpointRow::default()
            };
            maps.endpoints.insert(9, row).unwrap();
            let others = [SourceKey::new(7, own[0]), SourceKey::further(8, own[0])];
            let further = [own[1], own[2]].map(|addr| SourceKey::further(7, addr));
            for key in others.into_iter().chain(further) {
                maps.sources.insert(&Prefix { key, bits: SourceKey::FULL }, 1).unwrap();
            }
            for addr in own {
                let row = AddressRow { kind: ADDRESS_ENDPOINT, ifindex: 9, ..AddressRow::default() };
                maps.addresses.insert(addr, row).unwrap();
            }
            let rows = rows_behind(maps, 9).unwrap();
            assert!(rows.addresses.keys().eq(&own));
            assert!(rows.sources.iter().map(|(key, _)| *key).eq(further));
        });
    }
}
