//! Two containers at a Linux bridge.

use anyhow::Result;

use super::forward;
use super::ground::{CLIENT, Ground, SERVER};
use crate::net::Netns;

/// The client's container and the server's.
pub(super) fn containers(ground: &Ground) -> Result<[Netns; 2]> {
    forward(&ground.host)?;
    let bridge = ground.bridge()?;
    Ok([ground.container(bridge, "veth-client", CLIENT)?, ground.container(bridge, "veth-server", SERVER)?])
}
