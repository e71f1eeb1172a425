//! A namespace in which the kernel puts fragments in order: a veth pair leads into it, and what comes in by it is
//! forwarded out of it again.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use nix::libc;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::netlink::Request;
use super::sysctl::{self, DeviceSetting, check_device_name};
use super::{Error, Netlink, Netns, nft};

/// A place to put fragments in order.
#[derive(Debug)]
pub struct DefragSpec<'a> {
    /// Name of the host's end of the veth pair.
    pub device: &'a str,
    /// The alias to mark it with.
    pub alias: &'a str,
    /// The namespace, which is used for nothing else.
    pub netns: &'a Netns,
    /// Hardware address of the end inside.
    pub mac: [u8; 6],
}

/// The end inside.
const INSIDE: &str = "defrag";
/// Whatever is put together fits.
const MTU: u32 = 65535;
/// Routers on the wire, to which all is sent. There are none: the wire has no neighbours (`IFF_NOARP`), so nothing is asked
/// for, and all it takes is one entry in the host's table of neighbours, whatever the destination.
const GATEWAYS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))];

/// Settings of the namespace, under `/proc/sys/net`. What concerns a device is for all, as a new namespace may have
/// inherited the host's (`net.core.devconf_inherit_init_net`).
const SETTINGS: [(&str, &str); 7] = [
    ("ipv4/conf/all/forwarding", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/defrag/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/defrag/send_redirects", "0"),
    // Pieces that overtake others are milliseconds ahead, and what is never complete is in the way of others.
    ("ipv4/ipfrag_time", "5"),
    // Many packets of one sender may be on their way at a time.
    ("ipv4/ipfrag_max_dist", "0"),
];

/// The same for IPv6, which a kernel may lack. (`nf_conntrack_frag6_timeout` is there once the rules are.)
const SETTINGS_V6: [(&str, &str); 5] = [
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/defrag/disable_ipv6", "0"),
    ("ipv6/conf/defrag/accept_ra", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("netfilter/nf_conntrack_frag6_timeout", "5"),
];

impl Netlink {
    /// Makes the way into a namespace that puts fragments in order, and the namespace do so. The host's end has no
    /// address, forwards nothing and stays down. Returns its index. Nothing is left of the pair when that fails.
    ///
    /// # Errors
    /// When there is a device of that name, or the kernel cannot do it.
    pub fn create_defrag(&self, spec: &DefragSpec<'_>) -> Result<u32, Error> {
        check_device_name(spec.device)?;
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(INSIDE)
            .address(spec.mac.to_vec())
            .mtu(MTU)
            .arp(false)
            .setns_by_fd(spec.netns.as_fd().as_raw_fd())
            .build();
        let host = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .name(spec.device)
            .mtu(MTU)
            .arp(false)
            .build();
        let request = Request { operation: "create veth pair", object: &spec.device };
        self.change(request, RouteNetlinkMessage::NewLink(host), NLM_F_CREATE | NLM_F_EXCL)?;
        let index = self.link(spec.device)?.index;
        self.finish_defrag(spec, index).inspect_err(|_| self.undo_link(index))?;
        Ok(index)
    }

    fn finish_defrag(&self, spec: &DefragSpec<'_>, index: u32) -> Result<(), Error> {
        self.set_alias(index, spec.alias)?;
        // Nothing of this is for the host's stack, should the program that takes it be gone.
        let settings = [DeviceSetting::v4("forwarding", "0"), DeviceSetting::v6("disable_ipv6", "1")];
        sysctl::set_device(self.netns(), spec.device, &settings)?;
        nft::defragment(spec.netns)?;
        spec.netns.run(configure)??;
        let inside = Self::open(spec.netns)?;
        let index = inside.link(INSIDE)?.index;
        inside.forbid_link_local(index)?;
        inside.set_up(index)?;
        for gateway in GATEWAYS {
            match inside.set_default_route(index, gateway, true) {
                // Without IPv6 there is nothing of it to put in order.
                Err(error) if gateway.is_ipv6() && is_without_ipv6(&error) => {}
                result => result?,
            }
        }
        Ok(())
    }
}

/// What makes a namespace put fragments in order: the generation of its rules, its default routes and its settings, a line
/// each. Whole it stays as it was made.
///
/// # Errors
/// When it cannot be entered, or the kernel does not answer.
pub fn defrag_state(netns: &Netns) -> Result<Vec<String>, Error> {
    netns.run(|| {
        let generation = nft::generation().map_err(|e| Error::system("read", "nf_tables generation", e))?;
        let mut lines = vec![format!("rules {generation}")];
        lines.extend(default_routes("route", |[device, to, gateway, _, _, _, _, mask]| {
            (to == "00000000" && mask == "00000000").then(|| format!("{device} {gateway}"))
        })?);
        lines.extend(default_routes("ipv6_route", |[to, length, _, _, gateway, .., device]: [&str; 10]| {
            let is_default = length == "00" && to.bytes().all(|digit| digit == b'0') && device == INSIDE;
            is_default.then(|| format!("{device} {gateway}"))
        })?);
        for (key, _) in SETTINGS.iter().chain(&SETTINGS_V6) {
            match fs::read_to_string(Path::new("/proc/sys/net").join(key)) {
                Ok(value) => lines.push(format!("{key} {}", value.trim_end())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::system("read", key, error)),
            }
        }
        Ok(lines)
    })?
}

/// The default routes that a table of `/proc/net` lists, by its columns.
fn default_routes<const N: usize>(
    table: &str,
    read: impl Fn([&str; N]) -> Option<String>,
) -> Result<Vec<String>, Error> {
    let path = Path::new("/proc/thread-self/net").join(table);
    let text = match fs::read_to_string(&path) {
        // Without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|e| Error::system("read", path.display(), e))?,
    };
    let columns = |line: &str| -> Option<String> {
        let columns: Vec<&str> = line.split_whitespace().collect();
        read(*columns.first_chunk::<N>()?)
    };
    Ok(text.lines().filter_map(columns).collect())
}

fn is_without_ipv6(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::EACCES | libc::ENODEV))
}

fn configure() -> Result<(), Error> {
    for (key, value) in SETTINGS {
        write(key, value)?;
    }
    for (key, value) in SETTINGS_V6 {
        match write(key, value) {
            Err(error) if error.is_not_found() => {}
            result => result?,
        }
    }
    Ok(())
}

fn write(key: &str, value: &str) -> Result<(), Error> {
    let path = Path::new("/proc/sys/net").join(key);
    let is_set = fs::read_to_string(&path).is_ok_and(|text| text.trim_end() == value);
    if is_set { Ok(()) } else { fs::write(&path, value) }
        .map_err(|e: io::Error| Error::system("write", path.display(), e))
}
