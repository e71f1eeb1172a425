//! The policy look-up: one scheme for the kernel and for every tool that explains or predicts a verdict.
//!
//! A *rule set* is what policies say of one direction of an endpoint. Its rows say "identity X on protocol P and
//! port Q", and whether that is allowed. The rows live in a longest-prefix trie in which the port is the tail of the
//! key, so that a range of ports is a few prefixes and "any port" is a shorter one; a verdict is two look-ups, one for
//! the peer's identity and one for [`ANY_IDENTITY`], whatever the number of rules. Rules of which some take precedence
//! over others have been resolved into such rows by userspace.

use bytemuck::{Pod, Zeroable};

/// Matches every peer in a rule row. No address has it.
pub const ANY_IDENTITY: u32 = 0;
/// Rule set 0 means that no policy speaks of it: everything may pass.
pub const OPEN: u32 = 0;

/// Key of a rule row. The fields stand in the order in which the trie compares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct RuleKey {
    /// Rule set.
    pub set: u32,
    /// Identity of the peer, or [`ANY_IDENTITY`].
    pub identity: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port in network byte order, since its bits are compared from the most significant on.
    pub port_be: [u8; 2],
    /// Zero.
    pub pad: u8,
}

impl RuleKey {
    /// Bits of a key that names a single port.
    pub const FULL: u32 = 88;
    /// Bits of a key for every port of a protocol.
    pub const ANY_PORT: u32 = 72;
    /// Bits of a key for every protocol.
    pub const ANY_PROTOCOL: u32 = 64;

    /// The key of one packet or port.
    #[inline(always)]
    pub const fn new(set: u32, identity: u32, protocol: u8, port: u16) -> Self {
        Self { set, identity, protocol, port_be: port.to_be_bytes(), pad: 0 }
    }
}

/// What a rule row says.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
pub struct RuleRow {
    /// Number of the rule that decides, for explanations; numbers are given by userspace. 0: no rule does, as in a set
    /// that says for all others what is so without rules. With [`RuleRow::DENY`] it denies.
    pub rule: u32,
}

impl RuleRow {
    /// The bit of [`RuleRow::rule`] that tells a rule that denies from one that allows.
    pub const DENY: u32 = 1 << 31;
    /// The highest number a rule may have.
    pub const MAX_NUMBER: u32 = Self::DENY - 1;

    /// The row of a rule that allows.
    pub const fn allow(number: u32) -> Self {
        Self { rule: number }
    }

    /// The row of a rule that denies.
    pub const fn deny(number: u32) -> Self {
        Self { rule: number | Self::DENY }
    }

    /// The number of the rule; 0: none.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.rule & !Self::DENY
    }

    /// What the row says.
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        if self.rule & Self::DENY == 0 { Verdict::Allowed(self) } else { Verdict::Denied(self) }
    }
}

/// The verdict of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// No policy speaks of the endpoint in this direction.
    Open,
    /// This rule allows it; without a number: no rule speaks of it, and the endpoint is not isolated.
    Allowed(RuleRow),
    /// This rule denies it; without a number: the endpoint is isolated and no rule allows it.
    Denied(RuleRow),
}

impl Verdict {
    /// Whether the packet may pass.
    #[inline(always)]
    pub const fn passes(self) -> bool {
        !matches!(self, Self::Denied(_))
    }
}

/// Asks `lookup` (the longest match of a full key) whether rule set `set` allows a peer of `identity` on a port.
/// ICMP and other protocols without ports ask with port 0, which no rule for a port holds.
#[inline(always)]
pub fn evaluate(
    set: u32,
    identity: u32,
    protocol: u8,
    port: u16,
    lookup: impl Fn(&RuleKey) -> Option<RuleRow>,
) -> Verdict {
    if set == OPEN {
        return Verdict::Open;
    }
    let row = match lookup(&RuleKey::new(set, identity, protocol, port)) {
        Some(row) => row,
        None => lookup(&RuleKey::new(set, ANY_IDENTITY, protocol, port)).unwrap_or(RuleRow::deny(0)),
    };
    row.verdict()
}

const _: () = assert!(size_of::<RuleKey>() == 12);
