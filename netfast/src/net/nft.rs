//! The one use of `nf_tables`: rules that make the kernel put fragments together in a namespace.
//!
//! The requests are written here: the libraries for `nf_tables` that there are run the `nft` program, need C libraries, or
//! have a licence that netfast cannot take on.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::TimeVal;

use super::{Error, Netns};

/// Message types (`linux/netfilter/nfnetlink.h`, `nf_tables.h`).
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const NEW_GENERATION: u16 = SUBSYSTEM << 8 | 15;
const GET_GENERATION: u16 = SUBSYSTEM << 8 | 16;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;

/// `NFPROTO_UNSPEC` and `NFPROTO_INET`, which is both families.
const UNSPECIFIED: u8 = 0;
const INET: u8 = 1;
/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;

/// `NF_INET_PRE_ROUTING`, and `NF_IP_PRI_RAW`: before connections are tracked.
const PREROUTING: u32 = 0;
const RAW: i32 = -300;
/// `NF_INET_LOCAL_OUT`, and the policy `NF_DROP`.
const OUTPUT: u32 = 3;
const DROP: u32 = 0;
/// `NFT_REG_1`, and `NFT_CT_STATE`.
const REGISTER: u32 = 1;
const CT_STATE: u32 = 0;

/// How long the kernel may take over it: it may have to load modules.
const PATIENCE: TimeVal = TimeVal::new(30, 0);

const TABLE: &[u8] = b"netfast\0";
const CHAIN: &[u8] = b"defrag\0";
const SILENCE: &[u8] = b"silence\0";

/// Makes the kernel put together every packet in fragments that comes into a namespace, and send it on in pieces, the
/// first one first. An expression about connections is what has it do that (`nf_defrag`); connections are not
/// tracked nevertheless, so none of their tables fills. The namespace itself says nothing: to the sender of a packet that is
/// never complete its kernel would tell that (ICMPv6 type 3, code 1; Linux 6.18), from an address of nobody's.
///
/// # Errors
/// When the kernel has no `nf_tables`, or not this expression.
pub fn defragment(netns: &Netns) -> Result<(), Error> {
    netns.run(|| load(&batch()))?.map_err(|e| Error::system("load", "nf_tables rules", e))
}

/// The generation of the rules of the calling thread's namespace: every change makes it another.
pub(super) fn generation() -> io::Result<u32> {
    let socket = send(&message(GET_GENERATION, REQUEST, 1, (UNSPECIFIED, 0), &[]))?;
    let mut answer = [0; 8192];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let answer = answer.get(..length).unwrap_or_default();
    // The first attribute is the number, in network order.
    match answer.split_first_chunk::<28>() {
        Some(([_, _, _, _, t0, t1, .., n0, n1, n2, n3], _))
            if u16::from_ne_bytes([*t0, *t1]) == NEW_GENERATION =>
        {
            Ok(u32::from_be_bytes([*n0, *n1, *n2, *n3]))
        }
        _ => Err(judge(answer).err().unwrap_or_else(|| io::ErrorKind::InvalidData.into())),
    }
}

/// Sends messages on a socket of their own.
fn send(messages: &[u8]) -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    setsockopt(&socket, ReceiveTimeout, &PATIENCE)?;
    sendto(socket.as_raw_fd(), messages, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    Ok(socket)
}

fn load(batch: &[u8]) -> io::Result<()> {
    let socket = send(batch)?;
    let mut answer = [0; 8192];
    loop {
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let answers = answer.get(..length).unwrap_or_default();
        if judge(answers)? {
            return Ok(());
        }
    }
}

/// Reads answers; says whether the last one is among them.
fn judge(mut answers: &[u8]) -> io::Result<bool> {
    /// `NLMSG_ERROR`, which is an acknowledgement with the errno 0.
    const ERROR: u16 = 2;
    while let Some((header, _)) = answers.split_first_chunk::<20>() {
        let [l0, l1, l2, l3, t0, t1, _, _, s0, s1, s2, s3, _, _, _, _, e0, e1, e2, e3] = *header;
        if u16::from_ne_bytes([t0, t1]) == ERROR {
            match i32::from_ne_bytes([e0, e1, e2, e3]) {
                0 => {}
                errno => return Err(io::Error::from_raw_os_error(-errno)),
            }
            if u32::from_ne_bytes([s0, s1, s2, s3]) == LAST {
                return Ok(true);
            }
        }
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        answers = answers.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Number of the last message that is acknowledged.
const LAST: u32 = 5;

/// The table, a chain with two rules and one without, all of them or none.
fn batch() -> Vec<u8> {
    let chain = |name: &[u8], hook: u32, priority: i32| {
        let hook = [attribute(1, &hook.to_be_bytes()), attribute(2, &priority.to_be_bytes())].concat();
        [attribute(1, TABLE), attribute(3, name), nested(4, &hook), attribute(7, b"filter\0")].concat()
    };
    let silence = [chain(SILENCE, OUTPUT, 0), attribute(5, &DROP.to_be_bytes())].concat();
    let register = [attribute(1, &REGISTER.to_be_bytes()), attribute(2, &CT_STATE.to_be_bytes())].concat();
    let [ct, no_track] = [
        [attribute(1, b"ct\0"), nested(2, &register)].concat(),
        [attribute(1, b"notrack\0"), nested(2, &[])].concat(),
    ]
    .map(|expression| {
        let expressions = nested(1, &expression);
        [attribute(1, TABLE), attribute(2, CHAIN), nested(4, &expressions)].concat()
    });
    [
        message(BATCH_BEGIN, REQUEST, 0, (UNSPECIFIED, SUBSYSTEM), &[]),
        message(NEW_TABLE, REQUEST | ACK | CREATE, 1, (INET, 0), &attribute(1, TABLE)),
        message(NEW_CHAIN, REQUEST | ACK | CREATE, 2, (INET, 0), &chain(CHAIN, PREROUTING, RAW)),
        message(NEW_CHAIN, REQUEST | ACK | CREATE, 3, (INET, 0), &silence),
        message(NEW_RULE, REQUEST | ACK | CREATE, 4, (INET, 0), &ct),
        message(NEW_RULE, REQUEST | ACK | CREATE, LAST, (INET, 0), &no_track),
        message(BATCH_END, REQUEST, LAST + 1, (UNSPECIFIED, SUBSYSTEM), &[]),
    ]
    .concat()
}

/// A message: `nlmsghdr`, `nfgenmsg`, attributes.
fn message(kind: u16, flags: u16, number: u32, (family, resource): (u8, u16), attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(attributes);
    bytes
}

fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, attributes)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}
