//! Whose a device is. Of several instances on one host, each marks what it makes by a part of the hardware address: that is
//! there from the first moment on, unlike an alias, which a device cannot be made with.

use std::fmt;

use crate::net::Link;
use crate::store::Paths;

/// How the hardware addresses of bridges begin: they are locally administered.
const BRIDGE: [u8; 2] = [0x02, 0x62];
/// And how those of the host's ends of pairs do.
const PORT: [u8; 2] = [0x02, 0x68];
/// What stands in the place of a mark where an earlier netfast made a bridge.
const NO_MARK: [u8; 2] = [0, 0];

/// An instance, as its devices tell it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner([u8; 2]);

impl Owner {
    /// The instance with these paths.
    pub(super) fn of(paths: &Paths) -> Self {
        let [a, b, ..] = paths.number().to_be_bytes();
        Self(if [a, b] == NO_MARK { [0xff, 0xff] } else { [a, b] })
    }

    /// The hardware address of the bridge of its network with that number.
    pub(super) const fn bridge_mac(self, id: u32) -> [u8; 6] {
        self.mac(BRIDGE, id)
    }

    /// The hardware address of the host's end of the pair of its endpoint with that incarnation.
    pub(super) const fn port_mac(self, incarnation: u32) -> [u8; 6] {
        self.mac(PORT, incarnation)
    }

    const fn mac(self, kind: [u8; 2], number: u32) -> [u8; 6] {
        let Self([a, b]) = self;
        let [_, _, c, d] = number.to_be_bytes();
        [kind[0], kind[1], a, b, c, d]
    }

    /// Whether another instance has surely made a device.
    pub(super) fn is_anothers(self, link: &Link) -> bool {
        mark(link).is_some_and(|mark| mark != self.0)
    }

    /// Whether a device is netfast's, and not of this instance. Earlier ones marked it by its alias only, which does not
    /// tell of which it is.
    pub(super) fn is_of_another_netfast(self, link: &Link) -> bool {
        match mark(link) {
            Some(mark) => mark != self.0,
            None => link.alias.as_deref().is_some_and(|alias| alias.starts_with("netfast ")),
        }
    }
}

/// As it stands in names.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([a, b]) = self;
        write!(f, "{a:02x}{b:02x}")
    }
}

/// The mark of whoever made a device.
fn mark(link: &Link) -> Option<[u8; 2]> {
    let begins = match link.kind.as_deref() {
        Some("bridge") => BRIDGE,
        Some("veth") => PORT,
        _ => return None,
    };
    let [a, b, mark @ .., _, _] = link.mac?;
    ([a, b] == begins && mark != NO_MARK).then_some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(kind: &str, mac: [u8; 6], alias: Option<&str>) -> Link {
        Link {
            index: 1,
            name: String::new(),
            kind: Some(kind.to_owned()),
            mac: Some(mac),
            mtu: 1500,
            up: true,
            loopback: false,
            arphrd: 1,
            controller: None,
            peer_index: None,
            peer_netnsid: None,
            alias: alias.map(str::to_owned),
            port: None,
        }
    }

    #[test]
    fn a_device_tells_whose_it_is() {
        let (one, other) = (Owner([1, 2]), Owner([3, 4]));
        for own in [link("bridge", one.bridge_mac(7), None), link("veth", one.port_mac(0x1_0007), None)] {
            assert!(!one.is_anothers(&own) && !one.is_of_another_netfast(&own));
            assert!(other.is_anothers(&own) && other.is_of_another_netfast(&own));
        }
        // As an earlier netfast made them: of which instance does not show.
        let earlier = [
            link("bridge", [2, 0x62, 0, 0, 0, 1], Some("netfast network lab")),
            link("veth", [0xa, 1, 2, 3, 4, 5], Some("netfast endpoint web")),
        ];
        for earlier in earlier {
            assert!(!one.is_anothers(&earlier) && one.is_of_another_netfast(&earlier));
        }
        // Of whoever looks after the host.
        let admins = link("veth", [0xa, 1, 2, 3, 4, 5], Some("uplink"));
        assert!(!one.is_anothers(&admins) && !one.is_of_another_netfast(&admins));
        assert_eq!(Owner([0x0a, 0xf3]).to_string(), "0af3");
    }
}
