//! The maps, as the object declares them. Sizes are defaults: the loader sets others where asked to.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, LruPerCpuHashMap, PerCpuArray, RingBuf};
use netfast_common::addr::Addr;
use netfast_common::conntrack::Flow;
use netfast_common::counter::{COUNTERS, Count};
use netfast_common::event::{RING_BYTES, Readers};
use netfast_common::flow::FlowKey;
use netfast_common::maps as sizes;
use netfast_common::policy::{RuleKey, RuleRow};
use netfast_common::rows::{
    AddressRow, CidrRow, Config, DivertedKey, DivertedRow, EndpointDropKey, EndpointRow, FragmentKey,
    FragmentRow, PublishKey, PublishRow, SlotRow, SocketKey, SocketRow, SourceKey, UplinkRow,
};
use netfast_ebpf::work::Work;

use super::events::Record;

#[map(name = "NF_CONFIG")]
pub(super) static CONFIG: Array<Config> = Array::pinned(1, 0);
#[map(name = "NF_ENDPOINT")]
pub(super) static ENDPOINT: HashMap<u32, EndpointRow> = HashMap::pinned(sizes::MAX_ENDPOINTS, 0);
#[map(name = "NF_ADDRESS")]
pub(super) static ADDRESS: HashMap<Addr, AddressRow> = HashMap::pinned(sizes::MAX_ADDRESSES, 0);
#[map(name = "NF_SLOT")]
pub(super) static SLOT: Array<SlotRow> = Array::pinned(sizes::MAX_ENDPOINTS, 0);
#[map(name = "NF_CIDR")]
pub(super) static CIDR: LpmTrie<Addr, CidrRow> = LpmTrie::pinned(sizes::MAX_CIDRS, 0);
#[map(name = "NF_RULE")]
pub(super) static RULE: LpmTrie<RuleKey, RuleRow> = LpmTrie::pinned(sizes::MAX_RULES, 0);
#[map(name = "NF_FLOW")]
pub(super) static FLOW: LruHashMap<FlowKey, Flow> = LruHashMap::pinned(sizes::MAX_FLOWS, 0);
#[map(name = "NF_NURSERY")]
pub(super) static NURSERY: LruHashMap<FlowKey, Flow> = LruHashMap::pinned(sizes::MAX_NEW_FLOWS, 0);
#[map(name = "NF_FRAGMENT")]
pub(super) static FRAGMENT: LruHashMap<FragmentKey, FragmentRow> =
    LruHashMap::pinned(sizes::MAX_FRAGMENTS, 0);
#[map(name = "NF_DIVERTED")]
pub(super) static DIVERTED: LruHashMap<DivertedKey, DivertedRow> =
    LruHashMap::pinned(sizes::MAX_FRAGMENTS, 0);
#[map(name = "NF_PUBLISH_0")]
pub(super) static PUBLISH_0: HashMap<PublishKey, PublishRow> =
    HashMap::pinned(sizes::MAX_PUBLISHED, BPF_F_NO_PREALLOC);
#[map(name = "NF_PUBLISH_1")]
pub(super) static PUBLISH_1: HashMap<PublishKey, PublishRow> =
    HashMap::pinned(sizes::MAX_PUBLISHED, BPF_F_NO_PREALLOC);
#[map(name = "NF_SOURCE")]
pub(super) static SOURCE: LpmTrie<SourceKey, u32> = LpmTrie::pinned(sizes::MAX_SOURCES, 0);
#[map(name = "NF_UPLINK")]
pub(super) static UPLINK: HashMap<u32, UplinkRow> = HashMap::pinned(sizes::MAX_UPLINKS, 0);
#[map(name = "NF_DENY")]
pub(super) static DENY: LpmTrie<Addr, u32> = LpmTrie::pinned(sizes::MAX_DENIED, 0);
#[map(name = "NF_COUNTER")]
pub(super) static COUNTER: PerCpuArray<Count> = PerCpuArray::pinned(COUNTERS, 0);
#[map(name = "NF_EP_DROP")]
pub(super) static ENDPOINT_DROP: LruPerCpuHashMap<EndpointDropKey, Count> =
    LruPerCpuHashMap::pinned(sizes::MAX_ENDPOINTS, 0);
#[map(name = "NF_RULE_HIT")]
pub(super) static RULE_HIT: LruPerCpuHashMap<u32, Count> = LruPerCpuHashMap::pinned(sizes::MAX_RULE_HITS, 0);
#[map(name = "NF_SCRATCH")]
pub(super) static SCRATCH: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);
#[map(name = "NF_SOCKET")]
pub(super) static SOCKET: LruHashMap<SocketKey, SocketRow> = LruHashMap::pinned(sizes::MAX_SOCKETS, 0);
#[map(name = "NF_READERS")]
pub(super) static READERS: Array<Readers> = Array::pinned(1, BPF_F_MMAPABLE);
#[map(name = "NF_EVENT")]
pub(super) static EVENT: PerCpuArray<Record> = PerCpuArray::pinned(1, 0);
#[map(name = "NF_RING0")]
pub(super) static RING0: RingBuf = RingBuf::pinned(RING_BYTES, 0);
#[map(name = "NF_RING1")]
pub(super) static RING1: RingBuf = RingBuf::pinned(RING_BYTES, 0);
#[map(name = "NF_RING2")]
pub(super) static RING2: RingBuf = RingBuf::pinned(RING_BYTES, 0);
#[map(name = "NF_RING3")]
pub(super) static RING3: RingBuf = RingBuf::pinned(RING_BYTES, 0);
