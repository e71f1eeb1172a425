//! The one list of reasons for which a packet is dropped.

/// Declares [`DropReason`] with its name in counters and events and its explanation for users.
macro_rules! drop_reasons {
    ($($variant:ident = $code:literal, $name:literal, $text:literal;)+) => {
        /// Why a packet was dropped. Every drop has exactly one reason.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $(#[doc = $text] $variant = $code,)+
        }

        impl DropReason {
            /// All reasons, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The reason with this code.
            #[inline(always)]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// The name used in counters, events and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// One sentence that tells a user what it means.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

drop_reasons! {
    NotReady = 0, "not_ready", "the endpoint is being set up or removed";
    BadHeader = 1, "bad_header", "a header is cut short or contradicts itself";
    BadEthertype = 2, "bad_ethertype", "the frame is neither IPv4, IPv6 nor ARP, or carries a VLAN tag";
    SpoofedMac = 3, "spoofed_mac", "the source MAC address is not the endpoint's own";
    SpoofedAddress = 4, "spoofed_address", "the source address is not the endpoint's own";
    SpoofedArp = 5, "spoofed_arp", "an ARP or neighbour message claims an address that is not the sender's own";
    Martian = 6, "martian", "the source or destination can never stand in a packet on a wire";
    Multicast = 7, "multicast", "broadcast and multicast are not carried between endpoints";
    UnknownNeighbour = 8, "unknown_neighbour", "nobody on this network has the address that was asked for";
    NoSuchAddress = 9, "no_such_address", "no endpoint has the destination address";
    OtherNetwork = 10, "other_network", "networks are isolated from each other";
    Internal = 11, "internal", "the network is internal: it has no way outside";
    Unpublished = 12, "unpublished", "the endpoint's address cannot be reached from outside: publish the port, or make the network routed";
    SourceNotAllowed = 13, "source_not_allowed", "the published port does not accept this source";
    PolicyIngress = 14, "policy_ingress", "a policy isolates the receiver and no rule lets this in";
    PolicyEgress = 15, "policy_egress", "a policy isolates the sender and no rule lets this out";
    NoRoute = 16, "no_route", "the host has no route to the destination";
    NoUplinkAddress = 17, "no_uplink_address", "the uplink has no address of this family to masquerade with";
    MasqueradeExhausted = 18, "masquerade_exhausted", "no free source port is left for this destination";
    FragmentUnknown = 19, "fragment_unknown", "a fragment came without the first fragment of its packet";
    TtlExpired = 20, "ttl_expired", "the packet may not travel further";
    UnsupportedProtocol = 21, "unsupported_protocol", "this protocol cannot be translated";
    InvalidState = 22, "invalid_state", "the packet does not fit the state of its flow";
    FlowTableFull = 23, "flow_table_full", "the flow could not be recorded";
    DeniedSource = 24, "denied_source", "the source is on the deny list";
    DatapathError = 25, "datapath_error", "a kernel helper failed on the packet";
    TooBig = 26, "too_big", "the packet is larger than the uplink's MTU; its sender was told";
    Untranslatable = 27, "untranslatable", "one end speaks IPv6 and the other IPv4, and packets of this kind are not translated";
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: u32 = 28;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dense_and_names_unique() {
        assert_eq!(DropReason::ALL.len(), DropReason::COUNT as usize);
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
        let names: std::collections::BTreeSet<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
