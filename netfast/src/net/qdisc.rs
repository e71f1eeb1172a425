//! Queueing disciplines: where others hold packets back.

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use super::netlink::Request;
use super::shaping::{self, LIMIT};
use super::{Error, Netlink};

/// A queueing discipline of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qdisc {
    /// The device's index.
    pub ifindex: u32,
    /// Its kind, as in `tbf`.
    pub kind: String,
    /// Whether all that the device sends passes it, and not only what another one hands on.
    pub is_root: bool,
    /// Bytes a second that it lets through, if it is a token bucket.
    pub rate: Option<u64>,
}

impl Netlink {
    /// The queueing disciplines of all devices of the namespace.
    pub fn qdiscs(&self) -> Result<Vec<Qdisc>, Error> {
        let request = Request { operation: "list", object: &"queueing disciplines" };
        let answers = self.dump(request, || RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()))?;
        Ok(answers.iter().filter_map(parse).collect())
    }
}

fn parse(answer: &RouteNetlinkMessage) -> Option<Qdisc> {
    let RouteNetlinkMessage::NewQueueDiscipline(message) = answer else { return None };
    let kind = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.clone()),
        _ => None,
    });
    let options = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options.as_slice()),
        _ => None,
    });
    let is_limit = kind.as_deref() == Some(LIMIT);
    Some(Qdisc {
        ifindex: message.header.index.try_into().ok()?,
        kind: kind?,
        is_root: message.header.parent == TcHandle::ROOT,
        rate: options.filter(|_| is_limit).and_then(shaping::rate),
    })
}
