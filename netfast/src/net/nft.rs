//! The one use of `nf_tables`: rules that make the kernel put fragments together in a namespace.
//!
//! The requests are written here: the libraries for `nf_tables` that there are run the `nft` program, need C libraries, or
//! have a licence that netfast cannot take on.

use std::io;
use std::os::fd::AsRawFd;

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
/// `NFT_REG_1`, and `NFT_CT_STATE`.
const REGISTER: u32 = 1;
const CT_STATE: u32 = 0;

/// How long the kernel may take over it: it may have to load modules.
const PATIENCE: TimeVal = TimeVal::new(30, 0);

const TABLE: &[u8] = b"netfast\0";
const CHAIN: &[u8] = b"defrag\0";

/// Makes the kernel put together every packet in fragments that comes into a namespace, and send it on in pieces, the
/// first one first. An expression about connections is what has it do that (`nf_defrag`); connections are not
/// tracked nevertheless, so none of their tables fills.
///
/// # Errors
/// When the kernel has no `nf_tables`, or not this expression.
pub fn defragment(netns: &Netns) -> Result<(), Error> {
    netns.run(|| load(&batch()))?.map_err(|e| Error::system("load", "nf_tables rules", e))
}

fn load(batch: &[u8]) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    setsockopt(&socket, ReceiveTimeout, &PATIENCE)?;
    sendto(socket.as_raw_fd(), batch, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
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
const LAST: u32 = 4;

/// The table, the chain and its two rules, all of them or none.
fn batch() -> Vec<u8> {
    let hook = [attribute(1, &PREROUTING.to_be_bytes()), attribute(2, &RAW.to_be_bytes())].concat();
    let chain = [attribute(1, TABLE), attribute(3, CHAIN), nested(4, &hook), attribute(7, b"filter\0")];
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
        message(NEW_CHAIN, REQUEST | ACK | CREATE, 2, (INET, 0), &chain.concat()),
        message(NEW_RULE, REQUEST | ACK | CREATE, 3, (INET, 0), &ct),
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
