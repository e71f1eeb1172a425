//! Rows of the maps that userspace fills.

use bytemuck::{Pod, Zeroable};

use crate::addr::{Addr, Mac};
use crate::conntrack::SECOND;

/// What the whole instance is set to. One element; the generation shares a word with the flags only, so that
/// the kernel replaces both in one store.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Config {
    /// The world in force. Its lowest bit selects the version of every two-version row. Read once per packet.
    pub generation: u32,
    /// `CONFIG_*` bits.
    pub flags: u32,
    /// Cookie of the instance's network namespace, for the socket programs.
    pub netns_cookie: u64,
    /// First port of the masquerade range.
    pub masquerade_first: u16,
    /// Last port of the masquerade range.
    pub masquerade_last: u16,
    /// Smallest MTU of the uplinks, in bytes of the IP packet; 0 without uplinks.
    pub smallest_mtu: u32,
    /// Index of the device behind which the kernel puts fragments in order; 0: there is none.
    pub defrag: u32,
    /// Zero.
    pub pad: u32,
}

/// The deny list is looked up in the uplinks' tc program, as the XDP slot of one of them is taken.
pub const CONFIG_DENY_IN_TC: u32 = 1;
/// Flows that have been answered go on though the policies in force deny them.
pub const CONFIG_KEEP: u32 = 1 << 1;

/// An endpoint, found by the index of its host veth. It does not change while the endpoint lives.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct EndpointRow {
    /// IPv4 address, or unspecified.
    pub ip4: Addr,
    /// IPv6 address, or unspecified.
    pub ip6: Addr,
    /// Gateway of the network, IPv4, or unspecified.
    pub gateway4: Addr,
    /// Gateway of the network, IPv6, or unspecified.
    pub gateway6: Addr,
    /// Number of this endpoint's life. Never used again, so that nothing learnt of a dead endpoint is taken for
    /// the living one that got its address.
    pub incarnation: u32,
    /// Index of its [`SlotRow`].
    pub slot: u32,
    /// Number of its network.
    pub network: u32,
    /// Index of its host veth: the row's own key.
    pub ifindex: u32,
    /// `ENDPOINT_*` bits.
    pub flags: u32,
    /// MAC address of its container veth.
    pub mac: Mac,
    /// MAC address of its network's bridge, or of what else its packets come from.
    pub gateway_mac: Mac,
}

/// Packets may pass. Without it everything is dropped: rows come before links go up, this bit last.
pub const ENDPOINT_READY: u32 = 1;
/// Its network has no outside.
pub const ENDPOINT_INTERNAL: u32 = 2;
/// Its network's addresses are known outside: no masquerade, and reachable without being published.
pub const ENDPOINT_ROUTED: u32 = 4;
/// It may send from any MAC and IP address: a virtual machine or a bridge lives inside.
pub const ENDPOINT_ANY_SOURCE: u32 = 8;
/// Packets to it pass the egress of its host veth, where others may look at them or shape them.
pub const ENDPOINT_PLAIN: u32 = 16;
/// Another plugin made its device. What leads to no endpoint is left to that one's bridge, routes and masquerade.
pub const ENDPOINT_ADOPTED: u32 = 32;
/// What it sends to other endpoints goes by way of the host, as others hold it back at its host veth.
pub const ENDPOINT_HELD: u32 = 64;
/// It has further addresses than those of its row: see [`SourceKey::further`].
pub const ENDPOINT_MORE: u32 = 128;
/// Its host veth is no port of its network's bridge: what goes on from there enters the bridge past its ports, and what
/// the host sends by the bridge leaves it likewise.
pub const ENDPOINT_APART: u32 = 256;

/// Whose an address is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct AddressRow {
    /// `ADDRESS_*`.
    pub kind: u32,
    /// Number of the network; 0 for an address of the host that is no gateway.
    pub network: u32,
    /// Index of the endpoint's host veth, or of the bridge that holds a gateway address; 0 for others.
    pub ifindex: u32,
    /// Incarnation of the endpoint; 0 for others.
    pub incarnation: u32,
}

/// The address of an endpoint.
pub const ADDRESS_ENDPOINT: u32 = 1;
/// The gateway address of a network, held by its bridge.
pub const ADDRESS_GATEWAY: u32 = 2;
/// Any other address of the host.
pub const ADDRESS_HOST: u32 = 3;

/// What policy says of an endpoint, in two versions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SlotRow {
    /// The version for even generations, and the one for odd generations.
    pub versions: [Subject; 2],
}

/// An endpoint as policy sees it: what it may do, and as whom others see it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Subject {
    /// Rule set for what comes in; 0: not isolated.
    pub ingress: u32,
    /// Rule set for what goes out; 0: not isolated.
    pub egress: u32,
    /// Rule set for what comes in if policies under audit were enforced; 0: the same as without them.
    pub audit_ingress: u32,
    /// Rule set for what goes out if policies under audit were enforced; 0: the same as without them.
    pub audit_egress: u32,
    /// The class of addresses its IPv4 address belongs to.
    pub identity4: u32,
    /// The class of addresses its IPv6 address belongs to.
    pub identity6: u32,
}

impl Subject {
    /// The class of `addr`, which is one of the two of the endpoint's row.
    #[inline(always)]
    pub const fn identity_of(&self, addr: Addr) -> u32 {
        if addr.is_v4() { self.identity4 } else { self.identity6 }
    }
}

/// Identity of the addresses under a prefix, in two versions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CidrRow {
    /// The version for even generations, and the one for odd generations.
    pub identities: [u32; 2],
}

/// Where a port is published.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct PublishKey {
    /// The host's address; unspecified: every address of that family.
    pub addr: Addr,
    /// The host's port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// 1: the row leads nowhere, and says that some address of the family publishes the port. `addr` is unspecified.
    pub somewhere: u8,
    /// Zero.
    pub pad: [u8; 4],
}

impl PublishKey {
    /// The key of a port that is published on `addr`.
    #[inline(always)]
    pub const fn new(addr: Addr, port: u16, protocol: u8) -> Self {
        Self { addr, port, protocol, somewhere: 0, pad: [0; 4] }
    }

    /// The key of the row that says that a port is published on some address of the family, but not on all of them.
    #[inline(always)]
    pub const fn somewhere(family: Addr, port: u16, protocol: u8) -> Self {
        Self { addr: family.unspecified(), port, protocol, somewhere: 1, pad: [0; 4] }
    }
}

/// A process of the host may bind the port: a container runtime does, to keep it.
pub const PUBLISH_BINDABLE: u16 = 1;

/// What a published port leads to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PublishRow {
    /// Address of the endpoint.
    pub addr: Addr,
    /// Port of the endpoint.
    pub port: u16,
    /// [`PUBLISH_BINDABLE`].
    pub flags: u16,
    /// Zero.
    pub pad: [u16; 2],
    /// Number of this mapping's life, never used again: flows made by an earlier mapping of the port do not outlive
    /// it.
    pub incarnation: u32,
    /// The set of sources that may use it, as in [`SourceKey`]; 0: everybody may.
    pub sources: u32,
}

/// A source that may use a published port, or an address that an endpoint has. The fields stand in the order in which the trie
/// compares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct SourceKey {
    /// The set. Never used again for other contents.
    pub set: u32,
    /// 0: a list of sources; 1: the further addresses of the endpoint whose incarnation is the set's number.
    pub is_further: u32,
    /// The source's address.
    pub addr: Addr,
}

impl SourceKey {
    /// Number of the set of destinations for which sources are not masqueraded.
    pub const NOT_MASQUERADED: u32 = u32::MAX;
    /// Bits in front of the address.
    pub const SET_BITS: u32 = 64;
    /// Bits of a key that names a single address.
    pub const FULL: u32 = Self::SET_BITS + Addr::BITS;

    /// The key of one source in a set.
    #[inline(always)]
    pub const fn new(set: u32, addr: Addr) -> Self {
        Self { set, is_further: 0, addr }
    }

    /// The key that is there where the endpoint of an incarnation has an address that is not the first of its family.
    #[inline(always)]
    pub const fn further(incarnation: u32, addr: Addr) -> Self {
        Self { set: incarnation, is_further: 1, addr }
    }
}

/// An uplink: a device of the host that leads outside.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct UplinkRow {
    /// Address to masquerade IPv4 with, or unspecified.
    pub ip4: Addr,
    /// Address to masquerade IPv6 with, or unspecified.
    pub ip6: Addr,
    /// Its MTU, in bytes of the IP packet.
    pub mtu: u32,
    /// `UPLINK_*` bits.
    pub flags: u32,
}

/// It is a bridge, and behind it are endpoints whose devices another plugin made: their packets come in by it.
pub const UPLINK_SHARED: u32 = 1;

/// Key of a packet that came in fragments.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FragmentKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Identification, of 16 (IPv4) or 32 bits (IPv6).
    pub id: u32,
    /// IP protocol number; of IPv6, where it is no part of the identification, 44.
    pub protocol: u32,
}

/// What is known of a packet that comes in fragments.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FragmentRow {
    /// When that became known: nanoseconds of `CLOCK_BOOTTIME`.
    pub since: u64,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Type of an ICMP or ICMPv6 echo; 255 for everything else.
    pub echo: u8,
    /// IP protocol number: in IPv6, other extension headers may stand before it.
    pub protocol: u8,
    /// 1: a later fragment came before the first, so all of them are put in order first, and nothing else is known.
    pub is_diverted: u8,
    /// Zero.
    pub pad: u8,
}

impl FragmentRow {
    /// How long it counts: as long as Linux waits for the rest of a packet (`ipfrag_time`), after which its
    /// identification may be another packet's.
    pub const LIFE: u64 = 30 * SECOND;
}

/// Both ends of packets whose fragments are put in order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct DivertedKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
}

/// Where such packets came from, and go on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct DivertedRow {
    /// Both hardware addresses, as they stood in the frame.
    pub macs: [u32; 3],
    /// Index of the device.
    pub ifindex: u32,
    /// Incarnation of the endpoint behind it; 0: it is an uplink.
    pub incarnation: u32,
    /// 1: they were on their way out of the device. Otherwise they had come in.
    pub is_egress: u32,
}

/// Key of the drops of one endpoint for one reason, and of the packets that policies under audit would have dropped.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct EndpointDropKey {
    /// Incarnation of the endpoint.
    pub incarnation: u32,
    /// Code of the drop reason, with [`EndpointDropKey::AUDITED`] if the packet passed.
    pub reason: u32,
}

impl EndpointDropKey {
    /// The bit of a packet that passed, as the policies that would drop it are under audit.
    pub const AUDITED: u32 = 1 << 8;
}

/// Key of a host socket whose destination was translated.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct SocketKey {
    /// Cookie of the socket.
    pub cookie: u64,
    /// The address it was translated to.
    pub addr: Addr,
    /// The port it was translated to.
    pub port: u16,
    /// Zero.
    pub pad: [u16; 3],
}

/// The destination the socket's process asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SocketRow {
    /// Address.
    pub addr: Addr,
    /// Port.
    pub port: u16,
    /// Zero.
    pub pad: [u16; 3],
}

const _: () = assert!(
    size_of::<Config>() == 32
        && size_of::<EndpointRow>() == 96
        && size_of::<AddressRow>() == 16
        && size_of::<SlotRow>() == 48
        && size_of::<PublishKey>() == 24
        && size_of::<PublishRow>() == 32
        && size_of::<SourceKey>() == 24
        && size_of::<FragmentRow>() == 16
        && size_of::<DivertedRow>() == 24
);
