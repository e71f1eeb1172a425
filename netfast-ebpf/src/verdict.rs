//! What becomes of a packet.

use netfast_common::reason::DropReason;
use netfast_common::rows::{ENDPOINT_PLAIN, EndpointRow};

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// On to whatever comes next: other people's programs, then the bridge or the host's stack.
    Next,
    /// Straight into the namespace behind this host veth.
    ToEndpoint(u32),
    /// Out of this host veth, past whatever is attached there.
    ToDevice(u32),
    /// Out of this uplink, to the next hop the host's routes say.
    ToUplink(u32),
    /// Out of this device, behind which fragments are put in order.
    ToDefrag(u32),
    /// In by this device once more, as fragments that were put in order.
    BackIn(u32),
    /// Out of this device once more, as fragments that were put in order.
    BackOut(u32),
}

impl Verdict {
    /// The way to an endpoint that is decided on.
    #[inline(always)]
    pub const fn to(endpoint: &EndpointRow) -> Self {
        if endpoint.flags & ENDPOINT_PLAIN == 0 {
            Self::ToEndpoint(endpoint.ifindex)
        } else {
            Self::ToDevice(endpoint.ifindex)
        }
    }
}

/// A packet that goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Why.
    pub reason: DropReason,
    /// Incarnation of the endpoint it is counted against; 0: the one whose device the packet came to, if any.
    pub endpoint: u32,
}

impl Dropped {
    /// Counted against `endpoint`, unless it is against another already.
    #[inline(always)]
    #[must_use]
    pub fn or_at(self, endpoint: &EndpointRow) -> Self {
        match self.endpoint {
            0 => Self { endpoint: endpoint.incarnation, ..self },
            _ => self,
        }
    }
}

impl From<DropReason> for Dropped {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self { reason, endpoint: 0 }
    }
}

/// A decision on a packet, packed into a word.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Decision(u64);

impl Decision {
    const NEXT: u64 = 0;
    const TO_ENDPOINT: u64 = 1;
    const TO_DEVICE: u64 = 2;
    const TO_UPLINK: u64 = 3;
    const TO_DEFRAG: u64 = 4;
    const BACK_IN: u64 = 5;
    const BACK_OUT: u64 = 6;
    const FIRST_REASON: u64 = 7;

    /// Packs a decision.
    #[inline(always)]
    pub fn pack(decision: Result<Verdict, Dropped>) -> Self {
        let (code, number) = match decision {
            Ok(Verdict::Next) => (Self::NEXT, 0),
            Ok(Verdict::ToEndpoint(ifindex)) => (Self::TO_ENDPOINT, ifindex),
            Ok(Verdict::ToDevice(ifindex)) => (Self::TO_DEVICE, ifindex),
            Ok(Verdict::ToUplink(ifindex)) => (Self::TO_UPLINK, ifindex),
            Ok(Verdict::ToDefrag(ifindex)) => (Self::TO_DEFRAG, ifindex),
            Ok(Verdict::BackIn(ifindex)) => (Self::BACK_IN, ifindex),
            Ok(Verdict::BackOut(ifindex)) => (Self::BACK_OUT, ifindex),
            Err(Dropped { reason, endpoint }) => (Self::FIRST_REASON + reason as u64, endpoint),
        };
        Self(u64::from(number) << 32 | code)
    }

    /// The decision.
    ///
    /// # Errors
    /// What was packed.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
    pub fn unpack(self) -> Result<Verdict, Dropped> {
        let number = (self.0 >> 32) as u32;
        match self.0 & 0xffff_ffff {
            Self::NEXT => Ok(Verdict::Next),
            Self::TO_ENDPOINT => Ok(Verdict::ToEndpoint(number)),
            Self::TO_DEVICE => Ok(Verdict::ToDevice(number)),
            Self::TO_UPLINK => Ok(Verdict::ToUplink(number)),
            Self::TO_DEFRAG => Ok(Verdict::ToDefrag(number)),
            Self::BACK_IN => Ok(Verdict::BackIn(number)),
            Self::BACK_OUT => Ok(Verdict::BackOut(number)),
            code => Err(Dropped {
                reason: DropReason::from_code((code - Self::FIRST_REASON) as u8)
                    .unwrap_or(DropReason::DatapathError),
                endpoint: number,
            }),
        }
    }
}

/// What a stage that is a BPF function of its own answers, packed into the one register such a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Outcome(u64);

impl Outcome {
    const YES: u64 = 0;
    const NO: u64 = 1;
    const FIRST_REASON: u64 = 2;

    /// Packs an answer.
    #[inline(always)]
    pub fn pack(answer: Result<bool, Dropped>) -> Self {
        match answer {
            Ok(true) => Self(Self::YES),
            Ok(false) => Self(Self::NO),
            Err(Dropped { reason, endpoint }) => {
                Self(u64::from(endpoint) << 32 | (Self::FIRST_REASON + reason as u64))
            }
        }
    }

    /// The answer.
    ///
    /// # Errors
    /// What was packed.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
    pub fn unpack(self) -> Result<bool, Dropped> {
        match self.0 & 0xffff_ffff {
            Self::YES => Ok(true),
            Self::NO => Ok(false),
            code => Err(Dropped {
                reason: DropReason::from_code((code - Self::FIRST_REASON) as u8)
                    .unwrap_or(DropReason::DatapathError),
                endpoint: (self.0 >> 32) as u32,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_survive_packing() {
        let passed = [
            Verdict::Next,
            Verdict::ToEndpoint(7),
            Verdict::ToDevice(u32::MAX),
            Verdict::ToUplink(9),
            Verdict::ToDefrag(10),
            Verdict::BackIn(11),
            Verdict::BackOut(12),
        ];
        let drops = DropReason::ALL.iter().map(|reason| Err(Dropped { reason: *reason, endpoint: 7 }));
        for decision in passed.into_iter().map(Ok).chain(drops) {
            assert_eq!(Decision::pack(decision).unpack(), decision);
        }
    }

    #[test]
    fn outcomes_survive_packing() {
        let drops = DropReason::ALL.iter().map(|reason| Err(Dropped { reason: *reason, endpoint: 7 }));
        for answer in [Ok(true), Ok(false)].into_iter().chain(drops) {
            assert_eq!(Outcome::pack(answer).unpack(), answer);
        }
    }
}
