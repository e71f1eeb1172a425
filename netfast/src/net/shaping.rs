//! Limits of how fast packets leave a device: a token bucket, which lets a burst through at once and then so much a second.

use rtnetlink::packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE, Nla as _, NlaBuffer, NlasIterator};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use super::netlink::Request;
use super::{Error, Netlink};

/// `TCA_TBF_PARMS`, `TCA_TBF_RATE64` and `TCA_TBF_BURST` of the kernel's `pkt_sched.h`.
const PARMS: u16 = 1;
const RATE64: u16 = 4;
const BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET`: nothing is to be guessed from a table of times, which old programs send.
const ETHERNET: u8 = 1;
/// Where the rate stands in `struct tc_ratespec`, the first thing in `struct tc_tbf_qopt`.
const RATE: usize = 8;
/// The kind of queueing discipline that keeps a limit.
pub(super) const LIMIT: &str = "tbf";
/// How long a packet waits at most before it is dropped: a fortieth of a second.
const WAIT: u64 = 40;
/// A burst holds at least one packet, with its header: a larger one would never leave.
const HEADER: u32 = 14;

impl Netlink {
    /// Limits what leaves a device to `rate` bytes a second, and a burst of so many bytes. `mtu` is the device's.
    pub fn limit(&self, ifindex: u32, rate: u64, burst: u32, mtu: u32) -> Result<(), Error> {
        let burst = burst.max(mtu + HEADER);
        let queue = u32::try_from(rate / WAIT).unwrap_or(u32::MAX).saturating_add(burst);
        let mut parms = Vec::with_capacity(36);
        parms.extend(ratespec(rate));
        parms.extend([0; 12]);
        // The size of the bucket in time is made from the burst.
        for word in [queue, 0, 0] {
            parms.extend(word.to_ne_bytes());
        }
        let option = |kind, bytes: &[u8]| TcOption::Other(DefaultNla::new(kind, bytes.to_vec()));
        let mut options = vec![option(PARMS, &parms), option(BURST, &burst.to_ne_bytes())];
        if u32::try_from(rate).is_err() {
            options.push(option(RATE64, &rate.to_ne_bytes()));
        }
        let mut message = TcMessage::default();
        // The kernel's own type is signed, and no index is that large.
        message.header.index = ifindex.cast_signed();
        message.header.parent = TcHandle::ROOT;
        message.header.handle = TcHandle { major: 1, minor: 0 };
        message.attributes = vec![TcAttribute::Kind(LIMIT.to_owned()), TcAttribute::Options(options)];
        let object = format_args!("of the device with index {ifindex}");
        let request = Request { operation: "limit the rate", object: &object };
        self.change(request, RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_REPLACE)
    }
}

/// What such a one lets through, in bytes a second.
pub(super) fn rate(options: &[TcOption]) -> Option<u64> {
    // Of kinds that the library does not know, it hands on all options as one.
    let [TcOption::Other(all)] = options else { return None };
    let mut bytes = vec![0; all.value_len()];
    all.emit_value(&mut bytes);
    let options: Vec<_> = NlasIterator::new(bytes.as_slice()).collect::<Result<_, _>>().ok()?;
    let find = |kind| options.iter().find(|option| option.kind() == kind).map(NlaBuffer::value);
    if let Some(rate) = find(RATE64) {
        return Some(u64::from_ne_bytes(rate.try_into().ok()?));
    }
    let rate = *find(PARMS)?.get(RATE..)?.first_chunk()?;
    Some(u32::from_ne_bytes(rate).into())
}

/// `struct tc_ratespec`: cell size, kind of link, overhead, alignment, smallest packet, rate.
fn ratespec(rate: u64) -> Vec<u8> {
    let mut spec = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    spec.extend(u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    spec
}
