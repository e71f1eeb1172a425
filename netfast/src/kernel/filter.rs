//! Asks for one clsact filter, which aya cannot: a blocking netlink request written by hand.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use aya::programs::TcAttachType;
use nix::libc;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};

use super::{KernelError, Result};

/// Priority of netfast's filters.
pub(super) const PRIORITY: u16 = 50;
/// Handle of netfast's filters, by which they are known from foreign ones of the same priority: "nf".
pub(super) const HANDLE: u16 = 0x6e66;

const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_ID: u16 = 11;
const ETH_P_ALL: u16 = 3;
/// `struct nlmsghdr` and `struct tcmsg`.
const HEADER: usize = 16;
const TCMSG: usize = 20;

/// Number of the program of netfast's filter at a device of the current network namespace; `None` where there is
/// no such filter, qdisc or device.
pub(super) fn program_id(ifindex: u32, direction: TcAttachType) -> Result<Option<u32>> {
    match ask(ifindex, direction) {
        Ok(id) => Ok(id),
        // No filter or chain; no qdisc (EINVAL); no device.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => Ok(None),
        Err(source) => Err(KernelError::Netlink { operation: "look for a filter", ifindex, source }),
    }
}

fn ask(ifindex: u32, direction: TcAttachType) -> io::Result<Option<u32>> {
    let socket = socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    socket::send(socket.as_raw_fd(), &request(ifindex, direction), MsgFlags::empty())?;
    answer(&socket)
}

fn request(ifindex: u32, direction: TcAttachType) -> Vec<u8> {
    // TC_H_CLSACT with TC_H_MIN_INGRESS or TC_H_MIN_EGRESS.
    let parent: u32 = match direction {
        TcAttachType::Egress => 0xffff_fff3,
        _ => 0xffff_fff2,
    };
    let info = u32::from(PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be());
    let mut message = Vec::with_capacity(HEADER + TCMSG);
    message.extend(u32::try_from(HEADER + TCMSG).unwrap_or(0).to_ne_bytes());
    message.extend(RTM_GETTFILTER.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and sender, which matter to dialogues of more than one question.
    message.extend([0; 8]);
    // Family.
    message.extend([0; 4]);
    message.extend(ifindex.to_ne_bytes());
    message.extend(u32::from(HANDLE).to_ne_bytes());
    message.extend(parent.to_ne_bytes());
    message.extend(info.to_ne_bytes());
    message
}

fn answer(socket: &OwnedFd) -> io::Result<Option<u32>> {
    let mut buffer = vec![0; 32 * 1024];
    let length = socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    let message = buffer.get(..length).unwrap_or_default();
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    match word16(message, 4).ok_or_else(short)? {
        NLMSG_ERROR => {
            let code = word32(message, HEADER).ok_or_else(short)?.cast_signed();
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        }
        RTM_NEWTFILTER => {
            let attributes = message.get(HEADER + TCMSG..).ok_or_else(short)?;
            let id = attribute(attributes, TCA_OPTIONS).and_then(|options| attribute(options, TCA_BPF_ID));
            // A filter of another kind has no program.
            Ok(id.and_then(|id| word32(id, 0)))
        }
        other => Err(io::Error::other(format!("unexpected netlink message of type {other}"))),
    }
}

/// The content of the first attribute of a type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
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
