//! Connections of the host's own processes that were made through a published port, and outlive it.
//!
//! They were translated when they were made, so their packets go to the endpoint's own address, and no program that sees
//! them knows of the port.

use std::collections::BTreeMap;

use anyhow::Result;
use netfast_common::addr::Addr;
use netfast_common::rows::{PublishKey, SocketKey, SocketRow};

use super::host::Host;
use crate::compile::rows::Rows;

/// Ends the connections through published ports that are no more, or lead elsewhere.
///
/// # Errors
/// When the map of translated sockets cannot be read. Connections that cannot be ended are told of, and go on.
pub(super) fn end_connections(host: &mut Host<'_>, rows: &Rows) -> Result<()> {
    let sockets = &mut host.datapath.maps.sockets;
    let mut translated: BTreeMap<u64, Vec<(SocketKey, SocketRow)>> = BTreeMap::new();
    for (key, asked) in sockets.rows()? {
        translated.entry(key.cookie).or_default().push((key, asked));
    }
    if translated.is_empty() {
        return Ok(());
    }
    let ended = host.netns.connections().and_then(|connections| {
        let mut ended = Vec::new();
        for connection in connections {
            let Some(own) = translated.get(&connection.cookie) else { continue };
            let Some((key, _)) = own.iter().find(|(key, _)| connection.is_to(key.addr.into(), key.port))
            else {
                continue;
            };
            if !own.iter().any(|(other, asked)| other == key && leads(rows, connection.protocol, asked, key))
            {
                host.netns.end_connection(&connection)?;
                ended.push(*key);
            }
        }
        Ok(ended)
    });
    match ended {
        Ok(ended) => ended.iter().try_for_each(|key| sockets.remove(key).map(drop))?,
        // The kernel may have been built without CONFIG_INET_DIAG_DESTROY.
        Err(error) => tracing::warn!(
            %error,
            "connections of this host's processes may outlive the published port they were made through"
        ),
    }
    Ok(())
}

/// Whether what was asked for still leads to where it led.
fn leads(rows: &Rows, protocol: u8, asked: &SocketRow, to: &SocketKey) -> bool {
    let at = |addr: Addr| rows.published.get(&PublishKey::new(addr, asked.port, protocol));
    at(asked.addr)
        .or_else(|| at(asked.addr.unspecified()))
        .is_some_and(|row| (row.addr, row.port) == (to.addr, to.port))
}
