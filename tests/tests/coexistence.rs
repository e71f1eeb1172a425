//! netfast beside other people's firewalls, settings and programs: all ways stay open, and what is theirs stays.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use netfast_tests::{HOST_V4, HOST_V6, Lab, OUTSIDE_V4, OUTSIDE_V6, Ways, Who, require_root};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(5);

/// What Docker does to a host, in its own table.
const DOCKER: &str = "
table ip filter {
    chain FORWARD { type filter hook forward priority filter; policy drop; }
}
table ip6 filter {
    chain FORWARD { type filter hook forward priority filter; policy drop; }
}
";

/// A firewall that lets nothing in but answers and neighbour discovery.
const CLOSED: &str = "
table inet firewall {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iif lo accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    }
}
";

/// Returns from the calling test, saying so, where there is no `nft`.
macro_rules! require_nft {
    () => {
        require_root!();
        if !["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].iter().any(|path| Path::new(path).exists()) {
            eprintln!("skipped: needs nft (run `cargo xtask setup`)");
            return;
        }
    };
}

/// Runs `nft` on the host.
fn nft(lab: &Lab, args: &[&str]) -> String {
    let done = lab.host.finish("nft", args, PATIENCE).unwrap();
    assert!(done.success(), "nft {args:?}: {}", done.stderr);
    done.stdout
}

fn apply(lab: &Lab, rules: &str) {
    let file = lab.file("rules.nft", rules).unwrap();
    nft(lab, &["-f", &file]);
}

/// Writes a setting of the host's network; `false` where there is no such setting.
fn set(lab: &Lab, setting: &str, value: &str) -> bool {
    let path = format!("/proc/sys/net/{setting}");
    lab.host.run(|| Ok(fs::write(&path, value).is_ok())).unwrap()
}

#[track_caller]
fn all_ways_are_open(ways: &Ways) {
    ways.all(|way, family, protocol| ways.reaches(way, family, protocol)).unwrap();
}

#[test]
fn dockers_forward_policy_and_bridge_netfilter() {
    require_nft!();
    let lab = Lab::new().unwrap();
    lab.host.forward().unwrap();
    for setting in ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"] {
        if !set(&lab, setting, "1") {
            eprintln!("this kernel has no {setting}");
        }
    }
    apply(&lab, DOCKER);
    let ways = Ways::in_lab(lab, None).unwrap();
    all_ways_are_open(&ways);
    // Whose rules come later makes no difference, and netfast has none of its own.
    nft(&ways.lab, &["flush", "ruleset"]);
    apply(&ways.lab, DOCKER);
    all_ways_are_open(&ways);
    let rules = nft(&ways.lab, &["list", "ruleset"]);
    assert_eq!(rules.matches("chain").count(), 2, "{rules}");
}

#[test]
fn a_firewall_that_is_flushed_all_the_time() {
    require_nft!();
    let ways = Ways::new(None).unwrap();
    let file = ways.lab.file("rules.nft", DOCKER).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flush = scope.spawn(|| {
            let mut rounds = 0;
            while !is_over.load(Ordering::Relaxed) {
                nft(&ways.lab, &["flush", "ruleset"]);
                nft(&ways.lab, &["-f", &file]);
                rounds += 1;
                thread::sleep(Duration::from_millis(50));
            }
            rounds
        });
        let result = ways.all(|way, family, protocol| ways.reaches(way, family, protocol));
        is_over.store(true, Ordering::Relaxed);
        assert!(flush.join().unwrap() > 0);
        result.unwrap();
    });
}

#[test]
fn reverse_path_filters() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    for device in ways.lab.host.links().unwrap().iter().map(String::as_str).chain(["all", "default"]) {
        assert!(set(&ways.lab, &format!("ipv4/conf/{device}/rp_filter"), "1"), "{device}");
    }
    all_ways_are_open(&ways);
}

/// An endpoint's published port is translated before the host's firewall sees a packet: the firewall does not guard it,
/// policies do. What is the host's own is the firewall's.
#[test]
fn a_firewall_that_lets_nothing_in_to_the_host() {
    require_nft!();
    let ways = Ways::new(None).unwrap();
    apply(&ways.lab, CLOSED);
    ways.all(|way, family, protocol| match way.server {
        Who::Host => {
            ensure!(ways.ask(way, family, protocol, SHORT).is_err(), "the firewall let it in");
            Ok(())
        }
        _ => ways.reaches(way, family, protocol),
    })
    .unwrap();
}

#[test]
fn programs_of_others_see_what_they_should_and_stay() {
    require_root!();
    let lab = Lab::new().unwrap();
    let earlier = lab.host.count_packets("uplink0", true).unwrap();
    let filter = ["bpf", "bytecode", "1,6 0 0 0"];
    let add = |device: &str| {
        for parent in ["ingress", "egress"] {
            let args =
                [&["filter", "add", "dev", device, parent, "pref", "7", "protocol", "all"], &filter[..]];
            let done = lab.host.finish("tc", &args.concat(), PATIENCE).unwrap();
            assert!(done.success(), "{}", done.stderr);
        }
    };
    let filters = |lab: &Lab, device: &str| {
        let list = |parent| lab.host.finish("tc", &["filter", "show", "dev", device, parent], PATIENCE);
        ["ingress", "egress"].map(|parent| list(parent).unwrap().stdout).concat().matches("bytecode").count()
    };
    let done = lab.host.finish("tc", &["qdisc", "add", "dev", "uplink0", "clsact"], PATIENCE).unwrap();
    assert!(done.success(), "{}", done.stderr);
    add("uplink0");
    let ways = Ways::in_lab(lab, None).unwrap();
    let lab = &ways.lab;
    let veth = lab.inspect("client").unwrap()["host_ifname"].as_str().unwrap().to_owned();
    // netfast puts itself in front of who was there. Who wants to be in front of netfast comes later and says so.
    let first = lab.host.count_packets("uplink0", true).unwrap();
    let last = lab.host.count_packets("uplink0", false).unwrap();
    let at_veth = [true, false].map(|is_first| lab.host.count_packets(&veth, is_first).unwrap());
    all_ways_are_open(&ways);

    let counts = || [&first, &last, &at_veth[0], &at_veth[1]].map(|program| program.seen().unwrap());
    let up = || {
        let manifest = lab.dir().join("netfast.yaml").display().to_string();
        lab.netfast_ok(&["up", "-d", "-f", &manifest]).unwrap();
    };
    let rounds = 50;
    let go = |from: Who, to: &str| {
        let before = counts();
        for _ in 0..rounds {
            ways.ns(from).unwrap().ping(to, SECOND).unwrap();
        }
        let after = counts();
        after.iter().zip(before).map(|(after, before)| after - before).collect::<Vec<_>>()
    };
    // Neighbour discovery and such come in between.
    let some = 0..20;
    let every = rounds..rounds + 20;
    for _ in 0..2 {
        for host in [HOST_V4, HOST_V6] {
            // The host's own: everybody sees it.
            let grown = go(Who::Outside, host);
            assert!(every.contains(&grown[0]) && every.contains(&grown[1]), "{host}: {grown:?}");
        }
        for outside in [OUTSIDE_V4, OUTSIDE_V6] {
            // An endpoint's: who comes first sees it come and go, who comes last does not.
            let grown = go(Who::Endpoint("client"), outside);
            assert!(every.contains(&grown[0]) && every.contains(&grown[2]), "{outside}: {grown:?}");
            assert!(some.contains(&grown[1]) && some.contains(&grown[3]), "{outside}: {grown:?}");
        }
        for gateway in ["10.77.0.1", "fd77::1"] {
            let grown = go(Who::Endpoint("client"), gateway);
            assert!(every.contains(&grown[2]) && every.contains(&grown[3]), "{gateway}: {grown:?}");
        }
        // What is whole is not attached anew, so the order stays.
        up();
    }
    // What is broken is.
    let links = lab.dir().join("bpffs/v1/links");
    lab.host
        .run(|| {
            for link in fs::read_dir(&links)? {
                fs::remove_file(link?.path())?;
            }
            Ok(())
        })
        .unwrap();
    up();
    all_ways_are_open(&ways);
    assert_eq!(filters(lab, "uplink0"), 2);
    lab.down().unwrap();
    assert_eq!(filters(lab, "uplink0"), 2);
    let theirs = [&earlier, &first, &last];
    let before = theirs.map(|program| program.seen().unwrap());
    lab.outside.ping(HOST_V4, SECOND).unwrap();
    for (program, before) in theirs.into_iter().zip(before) {
        assert!(program.seen().unwrap() > before);
    }
}

#[test]
fn the_hosts_own_services_and_connections() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    let Lab { host, outside, .. } = &ways.lab;
    let client = ways.ns(Who::Endpoint("client")).unwrap();
    for (own, away) in
        [(HOST_V4.to_owned(), OUTSIDE_V4.to_owned()), (format!("[{HOST_V6}]"), format!("[{OUTSIDE_V6}]"))]
    {
        // Ports among those of masquerade are served as any other.
        let server = format!("{own}:20000");
        let _servers = (host.tcp_serve(&server).unwrap(), host.udp_serve(&server).unwrap());
        let mut inward = outside.tcp_connect(&server, SECOND).unwrap();
        let mut outward = host.tcp_connect(&format!("{away}:80"), SECOND).unwrap();
        for _ in 0..20 {
            assert_eq!(inward.ask().unwrap().by, "host");
            let reply = outward.ask().unwrap();
            assert_eq!((reply.by.as_str(), reply.seen_source), ("outside", reply.local));
            assert_eq!(outside.udp_ask(&server, SECOND).unwrap().by, "host");
            let reply = host.udp_ask(&format!("{away}:53"), SECOND).unwrap();
            assert_eq!((reply.by.as_str(), reply.seen_source), ("outside", reply.local));
            assert_eq!(client.tcp_ask(&format!("{away}:80"), SECOND).unwrap().by, "outside");
            assert_eq!(client.udp_ask(&format!("{away}:53"), SECOND).unwrap().by, "outside");
        }
        outside.tcp_stream(&server, 3_000_001, 20 * SECOND).unwrap();
    }
}
