//! A netlink connection to one network namespace, and how its answers are judged.
//!
//! Requests go through rtnetlink's connection but not its request types: those hide whether a dump was interrupted
//! by a change (it is repeated here), and the errno a dump may end with.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use rtnetlink::packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::AsyncSocket;
use tokio::runtime::{Builder, Runtime};

use super::{Error, Netns};

/// How long the kernel may take over one message. It answers in microseconds; a minute is a device driver gone astray.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often a dump that a concurrent change interrupted is repeated before its last result is taken as it is.
const DUMP_ATTEMPTS: usize = 8;

/// A connection to the network stack of one namespace. Its socket stays bound to that namespace whichever thread uses
/// it, and keeps the namespace alive: a connection to a container's is not for keeping.
///
/// Every method blocks, on a runtime of its own, so none may be called (nor the handle dropped) in async code.
pub struct Netlink {
    runtime: Runtime,
    handle: rtnetlink::Handle,
    netns: Netns,
}

/// What a request is for, to be told in errors.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) operation: &'static str,
    pub(super) object: &'a dyn Display,
}

impl Netlink {
    /// Connects to a namespace.
    pub fn open(netns: &Netns) -> Result<Self, Error> {
        let runtime = runtime()?;
        // A socket belongs to the namespace of the thread that opens it.
        let handle = netns.run(|| connect(&runtime))?.map_err(failed)?;
        Ok(Self { runtime, handle, netns: netns.try_clone()? })
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
        // The acknowledgement ends the answer even where the answer itself cannot be read: rtnetlink drops such ones.
        let (mut answers, _) = self.exchange(request, message, NLM_F_ACK)?;
        answers.pop().ok_or_else(|| request.answer("the kernel's answer cannot be read"))
    }

    /// Asks for all objects of a kind. The message is built anew for every attempt.
    pub(super) fn dump(
        &self,
        request: Request<'_>,
        message: impl Fn() -> RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut answers = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            let interrupted;
            (answers, interrupted) = self.exchange(request, message(), NLM_F_DUMP)?;
            if !interrupted {
                break;
            }
        }
        Ok(answers)
    }

    fn exchange(
        &self,
        request: Request<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(Vec<RouteNetlinkMessage>, bool), Error> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        let work = async {
            let mut stream =
                self.handle.clone().request(message).map_err(|_closed| request.answer("connection lost"))?;
            let mut answers = Vec::new();
            let mut interrupted = false;
            while let Some(answer) = stream.next().await {
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Error(error) if error.code.is_none() => {
                        return Ok((answers, interrupted));
                    }
                    NetlinkPayload::Error(error) => return Err(request.refused(&error)),
                    NetlinkPayload::Done(done) if done.code >= 0 => return Ok((answers, interrupted)),
                    NetlinkPayload::Done(done) => return Err(request.errno(-done.code, None)),
                    _ => return Err(request.answer("messages were lost")),
                }
            }
            Err(request.answer("connection lost"))
        };
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, work).await })
            .map_err(|_elapsed| request.answer("the kernel does not answer"))?
    }
}

/// Builds a runtime. The first one in a process makes the socket pair by which tokio learns of signals, which is never
/// closed: made on a thread inside a container, it would keep the container's namespace alive as long as this process.
/// (tokio 1.54: `enable_io` builds the signal driver wherever the `signal` feature is on.)
fn runtime() -> Result<Runtime, Error> {
    let own = Netns::open(Path::new("/proc/self/ns/net"))?;
    own.run(|| Builder::new_current_thread().enable_io().enable_time().build())?.map_err(failed)
}

fn connect(runtime: &Runtime) -> io::Result<rtnetlink::Handle> {
    let _entered = runtime.enter();
    let (mut connection, handle, _unsolicited) = rtnetlink::new_connection_with_strict_check()?;
    let socket = connection.socket_mut().socket_mut();
    // The kernel explains refusals in words; without CAP_ACK it would put the whole request in front of them.
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    // So that the end of an answer can be told from the end of the connection.
    connection.set_forward_ack(true);
    connection.set_forward_done(true);
    // The task runs whenever a request is waited for, and dies with the runtime.
    drop(runtime.spawn(connection));
    Ok(handle)
}

fn failed(error: io::Error) -> Error {
    Error::system("open", "netlink socket", error)
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
