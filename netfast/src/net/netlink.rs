//! A netlink connection to one network namespace, and how its answers are judged.
//!
//! Messages are rtnetlink's, its connection is not: that needs a runtime and a task of its own for a dialogue that is one
//! question and its answer, and hides whether a dump was interrupted by a change (it is repeated here), and the errno a
//! dump may end with.

use std::cell::Cell;
use std::fmt::Display;
use std::io;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;
use rtnetlink::packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_ALIGNTO, NetlinkBuffer,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{Error, Netns};

/// How long the kernel may take over one message, in seconds. It answers in microseconds; a minute is a device driver gone
/// astray.
pub(super) const PATIENCE: u8 = 60;

/// How often a dump that a concurrent change interrupted is repeated before its last result is taken as it is.
const DUMP_ATTEMPTS: usize = 8;

/// A connection to the network stack of one namespace. Its socket stays bound to that namespace whichever thread uses
/// it, and keeps the namespace alive: a connection to a container's is not for keeping.
pub struct Netlink {
    socket: Socket,
    /// Number of the last request, by which an answer is told from one that came too late for its own.
    number: Cell<u32>,
    netns: Netns,
}

/// What a request is for, to be told in errors.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) operation: &'static str,
    pub(super) object: &'a dyn Display,
}

/// What came in answer to a request.
#[derive(Default)]
struct Answers {
    messages: Vec<RouteNetlinkMessage>,
    /// Something changed while they were listed.
    interrupted: bool,
}

impl Netlink {
    /// Connects to a namespace.
    pub fn open(netns: &Netns) -> Result<Self, Error> {
        // A socket belongs to the namespace of the thread that opens it.
        let socket = netns.visit(connect)?.map_err(|e| Error::system("open", "netlink socket", e))?;
        Ok(Self { socket, number: Cell::new(0), netns: netns.try_clone()? })
    }

    /// The namespace it is connected to.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Sends a change; `flags` are those besides `NLM_F_REQUEST` and `NLM_F_ACK`.
    pub(super) fn change(
        &self,
        request: Request<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), Error> {
        self.exchange(request, message, flags | NLM_F_ACK).map(drop)
    }

    /// Asks for one object.
    pub(super) fn get(
        &self,
        request: Request<'_>,
        message: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, Error> {
        // The acknowledgement ends the answer even where the answer itself cannot be read.
        let mut answers = self.exchange(request, message, NLM_F_ACK)?;
        answers.messages.pop().ok_or_else(|| request.answer("the kernel's answer cannot be read"))
    }

    /// Asks for all objects of a kind. The message is built anew for every attempt.
    pub(super) fn dump(
        &self,
        request: Request<'_>,
        message: impl Fn() -> RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut answers = Answers::default();
        for _ in 0..DUMP_ATTEMPTS {
            answers = self.exchange(request, message(), NLM_F_DUMP)?;
            if !answers.interrupted {
                break;
            }
        }
        Ok(answers.messages)
    }

    fn exchange(
        &self,
        request: Request<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Answers, Error> {
        let number = self.number.get().wrapping_add(1);
        self.number.set(number);
        let bytes = serialize(message, flags, number);
        let failed = |error: io::Error| match error.raw_os_error() {
            Some(libc::EAGAIN) => request.answer("the kernel does not answer"),
            Some(libc::ENOBUFS) => request.answer("messages were lost"),
            _ => Error::system(request.operation, request.object, error),
        };
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map_err(failed)?;
        let mut answers = Answers::default();
        loop {
            let datagram = match self.socket.recv_from_full() {
                Ok((datagram, _)) => datagram,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            if answers.read(&datagram, number, request)? {
                return Ok(answers);
            }
        }
    }
}

impl Answers {
    /// Takes what a datagram holds of the answer to a request of that number, and says whether that was the end of it.
    fn read(&mut self, mut datagram: &[u8], number: u32, request: Request<'_>) -> Result<bool, Error> {
        while let Ok(next) = NetlinkBuffer::new_checked(datagram) {
            let length = next.length() as usize;
            let (is_ours, flags) = (next.sequence_number() == number, next.flags());
            // One that cannot be read is of a kind that nobody asked for, or from a kernel that knows more.
            let message = NetlinkMessage::deserialize(datagram);
            datagram =
                datagram.get(length.next_multiple_of(usize::from(NLMSG_ALIGNTO))..).unwrap_or_default();
            let Ok(message) = message else { continue };
            if !is_ours {
                continue;
            }
            self.interrupted |= flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => self.messages.push(inner),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                NetlinkPayload::Error(error) => return Err(request.refused(&error)),
                NetlinkPayload::Done(done) if done.code >= 0 => return Ok(true),
                NetlinkPayload::Done(done) => return Err(request.errno(-done.code, None)),
                _ => return Err(request.answer("messages were lost")),
            }
        }
        Ok(false)
    }
}

/// What the acknowledgement of the request with that number says.
pub(super) fn acknowledged(answer: &[u8], number: u32, request: Request<'_>) -> Result<(), Error> {
    if Answers::default().read(answer, number, request)? {
        return Ok(());
    }
    Err(request.answer("the kernel's answer cannot be read"))
}

/// A request with that number; `flags` are those besides `NLM_F_REQUEST`.
pub(super) fn serialize(message: RouteNetlinkMessage, flags: u16, number: u32) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    message.header.sequence_number = number;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// A socket in the namespace of the calling thread.
pub(super) fn connect() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(PATIENCE.into(), 0))?;
    // What a request says and the kernel does not know is refused, and not passed over.
    socket.set_netlink_get_strict_chk(true)?;
    // The kernel explains refusals in words; without CAP_ACK it would put the whole request in front of them.
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    Ok(socket)
}

impl Request<'_> {
    pub(super) fn answer(self, problem: &'static str) -> Error {
        Error::answer(self.operation, self.object, problem)
    }

    fn refused(self, error: &ErrorMessage) -> Error {
        self.errno(error.raw_code().saturating_abs(), reason(&error.header))
    }

    fn errno(self, errno: i32, reason: Option<String>) -> Error {
        Error::Netlink { operation: self.operation, object: self.object.to_string(), errno, reason }
    }
}

/// Finds the words in the attributes of an extended acknowledgement, after the 16-byte header of the request.
fn reason(payload: &[u8]) -> Option<String> {
    /// Attribute of the text (`NLMSGERR_ATTR_MSG`).
    const TEXT: u16 = 1;
    let mut rest = payload.get(16..)?;
    loop {
        let (header, _) = rest.split_first_chunk::<4>()?;
        let [l0, l1, k0, k1] = *header;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([k0, k1]) == TEXT {
            let text = value.split(|&byte| byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}
