//! What the stages know beyond the packet: the maps, the clock, the host's routes and the counters.

use netfast_common::addr::Addr;
use netfast_common::conntrack::Flow;
use netfast_common::counter::Path;
use netfast_common::flow::{FlowKey, Tuple};
use netfast_common::policy::{RuleKey, RuleRow};
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    AddressRow, CidrRow, Config, DivertedKey, DivertedRow, EndpointRow, FragmentKey, FragmentRow, PublishKey,
    PublishRow, SlotRow, SourceKey, UplinkRow,
};

use crate::flow_ref::FlowRef;
use crate::work::Work;

/// The key is taken already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

/// The maps and helpers of the kernel, or a test's stand-in for them.
pub trait World {
    /// The instance's settings. Read once per packet: its generation decides which version of all rows holds.
    fn config(&self) -> Config;
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    fn now(&self) -> u64;
    /// A number that is another one after a hundredth of a second, and costs less to read than the time.
    fn tick(&self) -> u64;
    /// A random number.
    fn random(&self) -> u32;

    /// The endpoint behind a host veth.
    fn endpoint(&self, ifindex: u32) -> Option<&EndpointRow>;
    /// Whose an address is.
    fn address(&self, addr: &Addr) -> Option<&AddressRow>;
    /// What policy says of an endpoint.
    fn slot(&self, slot: u32) -> Option<&SlotRow>;
    /// The smallest known prefix that holds an address.
    fn cidr(&self, addr: &Addr) -> Option<&CidrRow>;
    /// The most specific rule row for a port.
    fn rule(&self, key: &RuleKey) -> Option<RuleRow>;
    /// What a port of the host leads to in the world of a generation.
    fn published(&self, generation: u32, key: &PublishKey) -> Option<&PublishRow>;
    /// Whether a source is in a set of those that may use a published port.
    fn is_source(&self, key: &SourceKey) -> bool;
    /// The uplink with this index.
    fn uplink(&self, ifindex: u32) -> Option<&UplinkRow>;
    /// Whether the address is on the deny list.
    fn is_denied(&self, addr: &Addr) -> bool;

    /// The entry under a key, of a settled flow or of one in the nursery.
    fn flow(&self, key: &FlowKey) -> Option<FlowRef>;
    /// As [`World::flow`], of an entry that has just been written in the nursery.
    fn new_flow(&self, key: &FlowKey) -> Option<FlowRef>;
    /// Writes a new entry, in the nursery.
    ///
    /// # Errors
    /// [`Taken`] when the key has one already, settled or not, or there is no room.
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Taken>;
    /// Writes the entry of a settled flow, and removes the one in the nursery.
    ///
    /// # Errors
    /// [`Taken`] when a settled flow has the key already, or there is no room. The nursery's stays then.
    fn settle_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Taken>;
    /// Removes an entry, settled or not.
    fn remove_flow(&self, key: &FlowKey);
    /// What is known of a packet that comes in fragments.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentRow>;
    /// Remembers a packet that comes in fragments, whatever was known.
    fn remember_fragment(&self, key: &FragmentKey, row: &FragmentRow);
    /// Remembers a packet that comes in fragments, if nothing is known of it.
    ///
    /// # Errors
    /// [`Taken`] when something is, or there is no room.
    fn claim_fragment(&self, key: &FragmentKey, row: &FragmentRow) -> Result<(), Taken>;
    /// Where the fragments came from that were to be put in order.
    fn diverted(&self, key: &DivertedKey) -> Option<DivertedRow>;
    /// Remembers where fragments came from that are to be put in order.
    fn remember_diverted(&self, key: &DivertedKey, row: &DivertedRow);

    /// The device the host's routes choose for a packet that entered at `ifindex`, however long it is.
    ///
    /// # Errors
    /// [`DropReason::NoRoute`] when there is no route.
    fn route(&self, ifindex: u32, tuple: &Tuple) -> Result<u32, DropReason>;

    /// Asks the host's routes for the next hop of the packet in hand, which entered at `ifindex` and leaves by `uplink`.
    /// Where they name another uplink than the flow's, [`Work::next_hop`] says nothing. `crosses`: it leaves as a packet of
    /// the other family, with the addresses of [`Work::target`].
    ///
    /// # Errors
    /// [`DropReason::NoRoute`] when they say that nobody is to be reached there.
    fn next_hop(&self, ifindex: u32, uplink: u32, work: &mut Work, crosses: bool) -> Result<(), DropReason>;

    /// Counts a packet of `length` bytes that went this way.
    fn count(&self, path: Path, length: u32);
    /// Counts a drop, against the endpoint with this incarnation unless it is 0.
    fn count_drop(&self, reason: DropReason, incarnation: u32, length: u32);
    /// Counts a packet that policies under audit would have dropped, against the endpoint with this incarnation.
    fn count_audited(&self, reason: DropReason, incarnation: u32, length: u32);
    /// Counts that a rule decided on a flow.
    fn count_rule(&self, rule: u32);
}
