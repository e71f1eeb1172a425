//! Names and default sizes of the maps. The kernel keeps 15 bytes of a name.

/// [`Config`](crate::rows::Config), one element.
pub const CONFIG: &str = "NF_CONFIG";
/// Interface index of a host veth to [`EndpointRow`](crate::rows::EndpointRow).
pub const ENDPOINT: &str = "NF_ENDPOINT";
/// [`Addr`](crate::addr::Addr) to [`AddressRow`](crate::rows::AddressRow).
pub const ADDRESS: &str = "NF_ADDRESS";
/// Endpoint slot to [`SlotRow`](crate::rows::SlotRow).
pub const SLOT: &str = "NF_SLOT";
/// Prefix to [`CidrRow`](crate::rows::CidrRow).
pub const CIDR: &str = "NF_CIDR";
/// [`RuleKey`](crate::policy::RuleKey) to [`RuleRow`](crate::policy::RuleRow).
pub const RULE: &str = "NF_RULE";
/// [`FlowKey`](crate::flow::FlowKey) to [`Flow`](crate::conntrack::Flow): settled flows.
pub const FLOW: &str = "NF_FLOW";
/// [`FlowKey`](crate::flow::FlowKey) to [`Flow`](crate::conntrack::Flow): flows whose originator has not answered yet.
pub const NURSERY: &str = "NF_NURSERY";
/// [`FragmentKey`](crate::rows::FragmentKey) to [`FragmentRow`](crate::rows::FragmentRow).
pub const FRAGMENT: &str = "NF_FRAGMENT";
/// [`DivertedKey`](crate::rows::DivertedKey) to [`DivertedRow`](crate::rows::DivertedRow).
pub const DIVERTED: &str = "NF_DIVERTED";
/// [`PublishKey`](crate::rows::PublishKey) to [`PublishRow`](crate::rows::PublishRow): the map for even generations, and
/// the one for odd generations.
pub const PUBLISH: [&str; 2] = ["NF_PUBLISH_0", "NF_PUBLISH_1"];
/// Prefixes of [`SourceKey`](crate::rows::SourceKey): who may use a published port.
pub const SOURCE: &str = "NF_SOURCE";
/// Interface index of an uplink to [`UplinkRow`](crate::rows::UplinkRow).
pub const UPLINK: &str = "NF_UPLINK";
/// Prefixes whose packets are dropped at the uplinks.
pub const DENY: &str = "NF_DENY";
/// [`Count`](crate::counter::Count) by counter index.
pub const COUNTER: &str = "NF_COUNTER";
/// [`EndpointDropKey`](crate::rows::EndpointDropKey) to [`Count`](crate::counter::Count).
pub const ENDPOINT_DROP: &str = "NF_EP_DROP";
/// [`Count`](crate::counter::Count) by number of a rule: how often it decided on a flow.
pub const RULE_HIT: &str = "NF_RULE_HIT";
/// The working memory of the program that runs on a CPU; userspace has no business there.
pub const SCRATCH: &str = "NF_SCRATCH";
/// [`SocketKey`](crate::rows::SocketKey) to [`SocketRow`](crate::rows::SocketRow).
pub const SOCKET: &str = "NF_SOCKET";
/// [`Readers`](crate::event::Readers), one element.
pub const READERS: &str = "NF_READERS";
/// The event under construction on a CPU; userspace has no business there.
pub const EVENT: &str = "NF_EVENT";
/// The readers' rings, by the number of the reader.
pub const RINGS: [&str; crate::event::READERS] = ["NF_RING0", "NF_RING1", "NF_RING2", "NF_RING3"];

/// Most endpoints of an instance.
pub const MAX_ENDPOINTS: u32 = 4096;
/// Most rows of [`ADDRESS`]: two addresses an endpoint, gateways and the host's own.
pub const MAX_ADDRESSES: u32 = 16384;
/// Most prefixes policies may tell apart.
pub const MAX_CIDRS: u32 = 65536;
/// Most policy rows.
pub const MAX_RULES: u32 = 262_144;
/// Most rules of which the hits are counted; of more, those not hit for longest are forgotten.
pub const MAX_RULE_HITS: u32 = 8192;
/// Most settled flows; a translated one has two entries.
pub const MAX_FLOWS: u32 = 131_072;
/// Most flows whose originator has not answered yet; a translated one has two entries.
pub const MAX_NEW_FLOWS: u32 = 65_536;
/// Most packets being reassembled at a time, of which the ports are remembered.
pub const MAX_FRAGMENTS: u32 = 8192;
/// Most published ports, counted per host address and protocol.
pub const MAX_PUBLISHED: u32 = 65536;
/// Most prefixes of sources that may use published ports, and further addresses of endpoints.
pub const MAX_SOURCES: u32 = 65536;
/// Most uplinks.
pub const MAX_UPLINKS: u32 = 256;
/// Most denied prefixes.
pub const MAX_DENIED: u32 = 65536;
/// Most host sockets whose original destination is remembered.
pub const MAX_SOCKETS: u32 = 16384;
