//! What only userspace needs: `aya::Pod`, and conversions from the standard library's addresses.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::{Addr, Mac};
use crate::{conntrack, counter, event, flow, policy, rows};

/// Marks types that are `bytemuck::Pod` already, which checks what `aya::Pod` only promises: no padding and no
/// invalid bit pattern.
macro_rules! pod {
    ($($type:ty),+ $(,)?) => {$(
        const _: () = { const fn checked<T: bytemuck::Pod>() {} checked::<$type>() };
        // SAFETY: `bytemuck::Pod`, checked in the line above, asks for all that `aya::Pod` does.
        unsafe impl aya::Pod for $type {}
    )+};
}

pod!(
    Addr,
    conntrack::Flow,
    counter::Count,
    event::Readers,
    flow::FlowKey,
    policy::RuleKey,
    policy::RuleRow,
    rows::AddressRow,
    rows::CidrRow,
    rows::Config,
    rows::DivertedKey,
    rows::DivertedRow,
    rows::EndpointDropKey,
    rows::EndpointRow,
    rows::FragmentKey,
    rows::FragmentRow,
    rows::PublishKey,
    rows::PublishRow,
    rows::SlotRow,
    rows::SourceKey,
    rows::SocketKey,
    rows::SocketRow,
    rows::UplinkRow,
);

impl From<Ipv4Addr> for Addr {
    fn from(addr: Ipv4Addr) -> Self {
        Self::from_v4(addr.octets())
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(addr: Ipv6Addr) -> Self {
        Self::from_v6(addr.octets())
    }
}

impl From<IpAddr> for Addr {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => addr.into(),
            IpAddr::V6(addr) => addr.into(),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        if addr.is_v4() {
            Self::V4(Ipv4Addr::from(addr.v4_octets()))
        } else {
            Self::V6(Ipv6Addr::from(addr.octets()))
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.octets();
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}
