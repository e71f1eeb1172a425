//! Sets, asks for and removes one clsact filter: netlink requests written by hand.
//!
//! aya cannot ask for one, and whoever opens a program with it to set one has it first try what the kernel knows of BPF, by
//! loading a dozen programs and type tables. That takes longer than all of this.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use aya::programs::TcAttachType;
use nix::libc;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};

use super::{KernelError, Result};

/// Priority of netfast's filters.
pub(super) const PRIORITY: u16 = 50;
/// Handle of netfast's filters, by which they are known from foreign ones of the same priority: "nf".
pub(super) const HANDLE: u16 = 0x6e66;

const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLA_F_NESTED: u16 = 1 << 15;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// The program's answer is the verdict, there are no classes.
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
/// `TC_H_CLSACT`, as the parent of the queueing discipline; and with `TC_H_MIN_INGRESS` and `TC_H_MIN_EGRESS`.
const TC_H_CLSACT: u32 = 0xffff_fff1;
const TC_H_INGRESS: u32 = 0xffff_fff2;
const TC_H_EGRESS: u32 = 0xffff_fff3;
/// Handle of the queueing discipline.
const TC_H_CLSACT_HANDLE: u32 = 0xffff_0000;
const ETH_P_ALL: u16 = 3;
/// `struct nlmsghdr` and `struct tcmsg`.
const HEADER: usize = 16;
const TCMSG: usize = 20;

/// Number of the program of netfast's filter at a device of the current network namespace; `None` where there is
/// no such filter, qdisc or device.
pub(super) fn program_id(ifindex: u32, direction: TcAttachType) -> Result<Option<u32>> {
    let message = request(RTM_GETTFILTER, 0, &place(ifindex, direction), &[]);
    match exchange(&message).and_then(|answer| program_of(&answer)) {
        Ok(id) => Ok(id),
        // No filter or chain; no qdisc (EINVAL); no device.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => Ok(None),
        Err(source) => Err(KernelError::Netlink { operation: "look for a filter", ifindex, source }),
    }
}

/// Has a program run at a device of the current network namespace, in the place of one that netfast's filter runs already.
pub(super) fn set(
    ifindex: u32,
    direction: TcAttachType,
    program: BorrowedFd<'_>,
    name: &str,
) -> io::Result<()> {
    let discipline = tcmsg(ifindex, TC_H_CLSACT_HANDLE, TC_H_CLSACT, 0);
    let message =
        request(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &discipline, &text(TCA_KIND, "clsact"));
    match exchange(&message) {
        Err(e) if e.raw_os_error() != Some(libc::EEXIST) => return Err(e),
        _ => {}
    }
    let options = [
        attribute(TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes()),
        text(TCA_BPF_NAME, name),
        attribute(TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes()),
    ];
    let attributes = [text(TCA_KIND, "bpf"), attribute(TCA_OPTIONS | NLA_F_NESTED, &options.concat())];
    let message =
        request(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE, &place(ifindex, direction), &attributes.concat());
    exchange(&message).map(drop)
}

/// Removes netfast's filter from a device of the current network namespace.
pub(super) fn remove(ifindex: u32, direction: TcAttachType) -> io::Result<()> {
    let message = request(RTM_DELTFILTER, NLM_F_ACK, &place(ifindex, direction), &[]);
    exchange(&message).map(drop)
}

/// Sends a request and returns the first answer to it.
fn exchange(message: &[u8]) -> io::Result<Vec<u8>> {
    let socket = socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    socket::send(socket.as_raw_fd(), message, MsgFlags::empty())?;
    answer(&socket)
}

/// A request: header, `struct tcmsg`, attributes.
fn request(kind: u16, flags: u16, tcmsg: &[u8], attributes: &[u8]) -> Vec<u8> {
    let length = HEADER + tcmsg.len() + attributes.len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    // Sequence number and sender, which matter to dialogues of more than one question.
    message.extend([0; 8]);
    message.extend(tcmsg);
    message.extend(attributes);
    message
}

/// Where netfast's filter is.
fn place(ifindex: u32, direction: TcAttachType) -> Vec<u8> {
    let parent = match direction {
        TcAttachType::Egress => TC_H_EGRESS,
        _ => TC_H_INGRESS,
    };
    let info = u32::from(PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be());
    tcmsg(ifindex, HANDLE.into(), parent, info)
}

fn tcmsg(ifindex: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    // The family is none.
    let words = [0, ifindex, handle, parent, info];
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(4));
    bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), b"\0"].concat())
}

/// The message that came; a refusal is an error.
fn answer(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    // Far more than a filter's attributes take.
    let mut buffer = vec![0; 8 * 1024];
    let length = socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    buffer.truncate(length);
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    if word16(&buffer, 4).ok_or_else(short)? == NLMSG_ERROR {
        let code = word32(&buffer, HEADER).ok_or_else(short)?.cast_signed();
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code.saturating_neg()));
        }
    }
    Ok(buffer)
}

/// The program that a filter runs; a filter of another kind has none.
fn program_of(message: &[u8]) -> io::Result<Option<u32>> {
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    match word16(message, 4).ok_or_else(short)? {
        RTM_NEWTFILTER => {
            let attributes = message.get(HEADER + TCMSG..).ok_or_else(short)?;
            let id = find(attributes, TCA_OPTIONS).and_then(|options| find(options, TCA_BPF_ID));
            Ok(id.and_then(|id| word32(id, 0)))
        }
        other => Err(io::Error::other(format!("unexpected netlink message of type {other}"))),
    }
}

/// The content of the first attribute of a type.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    const TYPE_MASK: u16 = 0x3fff;
    loop {
        let length = usize::from(word16(attributes, 0)?);
        let kind = word16(attributes, 2)? & TYPE_MASK;
        let content = attributes.get(4..length)?;
        if kind == wanted {
            return Some(content);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}
