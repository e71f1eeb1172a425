//! Settings of the host that somebody who looks for a fault will want to know. None stands in netfast's way.

use std::fs;

use super::Check;

/// All of them that are worth a word.
pub(super) fn all() -> Vec<Check> {
    [jit(), br_netfilter(), rp_filter(), ipv6()].into_iter().flatten().collect()
}

/// A setting below `/proc/sys/net`, which shows those of the caller's network namespace.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/net/{path}")).ok().map(|text| text.trim().to_owned())
}

/// Only the first network namespace shows it.
fn jit() -> Option<Check> {
    let value = read("core/bpf_jit_enable")?;
    Some(Check::whether(
        value != "0",
        "jit",
        "programs run as machine code",
        "programs are interpreted, which is slow (sysctl net.core.bpf_jit_enable=1)",
    ))
}

fn br_netfilter() -> Option<Check> {
    let value = read("bridge/bridge-nf-call-iptables")?;
    (value != "0").then(|| {
        Check::note(
            "br_netfilter",
            "the host's iptables rules also see what bridges carry: what is redirected between endpoints never meets them",
        )
    })
}

fn rp_filter() -> Option<Check> {
    let value = read("ipv4/conf/all/rp_filter")?;
    (value == "1").then(|| {
        Check::note(
            "rp_filter",
            "strict: the host drops packets that come in by another device than replies leave by",
        )
    })
}

fn ipv6() -> Option<Check> {
    match read("ipv6/conf/all/disable_ipv6").as_deref() {
        Some("0") => None,
        Some(_) => Some(Check::note("ipv6", "switched off for all devices: only IPv4 leads outside")),
        None => Some(Check::note("ipv6", "this kernel has none, or it was switched off at boot: IPv4 only")),
    }
}
