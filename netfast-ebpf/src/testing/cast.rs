//! Who takes part.

use netfast_common::addr::{Addr, Mac};
use netfast_common::rows::{ENDPOINT_INTERNAL, ENDPOINT_READY, ENDPOINT_ROUTED, EndpointRow};

/// Both address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// Somebody with addresses: an endpoint, or the network beyond the uplink.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Index of its host veth.
    pub(super) ifindex: u32,
    pub(super) incarnation: u32,
    pub(super) network: u32,
    pub(super) flags: u32,
    pub(super) ip4: Addr,
    pub(super) ip6: Addr,
    pub(super) mac: Mac,
}

impl Member {
    const fn endpoint(number: u8, network: u8, flags: u32) -> Self {
        Self {
            ifindex: 100 + number as u32,
            incarnation: 1000 + number as u32,
            network: network as u32,
            flags: ENDPOINT_READY | flags,
            ip4: Addr::from_v4([10, network, 0, number]),
            ip6: Addr::from_v6([0xfd, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]),
            mac: Mac::new([2, 0, 0, 0, network, number]),
        }
    }

    pub(super) const fn addr(&self, family: Family) -> Addr {
        match family {
            Family::V4 => self.ip4,
            Family::V6 => self.ip6,
        }
    }

    /// The class of its addresses; that of an outsider is a prefix's.
    pub(super) const fn identity(&self, family: Family) -> u32 {
        self.ifindex * 2 + matches!(family, Family::V6) as u32
    }

    /// Its network's gateway.
    pub(super) const fn gateway(&self) -> Self {
        Self { flags: 0, ifindex: 0, incarnation: 0, ..Self::endpoint(1, self.network as u8, 0) }
    }

    pub(super) const fn row(&self) -> EndpointRow {
        let gateway = self.gateway();
        EndpointRow {
            ip4: self.ip4,
            ip6: self.ip6,
            gateway4: gateway.ip4,
            gateway6: gateway.ip6,
            incarnation: self.incarnation,
            slot: self.ifindex,
            network: self.network,
            ifindex: self.ifindex,
            flags: self.flags,
            mac: self.mac,
            gateway_mac: gateway.mac,
        }
    }
}

/// Two endpoints of one network.
pub(super) const CLIENT: Member = Member::endpoint(2, 1, 0);
/// See [`CLIENT`].
pub(super) const WEB: Member = Member::endpoint(3, 1, 0);
/// An endpoint of another network.
pub(super) const STRANGER: Member = Member::endpoint(4, 2, 0);
/// An endpoint of an internal network.
pub(super) const HERMIT: Member = Member::endpoint(5, 3, ENDPOINT_INTERNAL);
/// An endpoint of a routed network.
pub(super) const GUEST: Member = Member::endpoint(6, 4, ENDPOINT_ROUTED);
/// All endpoints.
pub(super) const ENDPOINTS: [Member; 5] = [CLIENT, WEB, STRANGER, HERMIT, GUEST];

/// The host at its uplink.
pub(super) const HOST: Member = Member {
    ifindex: 2,
    incarnation: 0,
    network: 0,
    flags: 0,
    ip4: Addr::from_v4([192, 0, 2, 1]),
    ip6: Addr::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    mac: Mac::new([2, 0, 0, 0, 0, 1]),
};
/// Two hosts outside, behind one router.
pub(super) const OUTSIDE: Member = Member {
    ip4: Addr::from_v4([198, 51, 100, 7]),
    ip6: Addr::from_v6([0x20, 1, 0xd, 0xb8, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
    mac: Mac::new([2, 0, 0, 0, 0, 0xfe]),
    ..HOST
};
/// See [`OUTSIDE`].
pub(super) const ELSEWHERE: Member = Member {
    ip4: Addr::from_v4([203, 0, 113, 9]),
    ip6: Addr::from_v6([0x20, 1, 0xd, 0xb8, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
    ..OUTSIDE
};
