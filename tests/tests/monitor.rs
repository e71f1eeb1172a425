//! `netfast monitor`: every drop is told with names, nothing is lost uncounted, and packets are captured as their
//! endpoint sees them.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use netfast_tests::{Finished, HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, Running, require_root};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(200);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
  other: {subnet: 10.78.0.0/24, subnet6: 'fd78::/64'}
endpoints:
  web: {network: lab, labels: {app: web}, publish: ['8080:80']}
  client: {network: lab, labels: {role: client}}
  stranger: {network: lab}
policies: [policy.yaml]
";

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector: {matchLabels: {role: client}}
    - ipBlock: {cidr: 192.0.2.0/24}
    - ipBlock: {cidr: '2001:db8:99::/64'}
    ports:
    - {protocol: TCP, port: 80}
";

fn lab() -> Lab {
    let lab = Lab::new().unwrap();
    lab.file("policy.yaml", POLICY).unwrap();
    lab.up(MANIFEST).unwrap();
    lab
}

/// Starts a monitor, which reads on return.
fn monitor(lab: &Lab, args: &[&str]) -> Running {
    let mut running = lab.start(&[&["monitor"], args].concat()).unwrap();
    running.wait_for("Ctrl-C ends", 10 * SECOND).unwrap();
    running
}

/// Ends a monitor as Ctrl-C does.
fn interrupt(running: Running) -> Finished {
    running.signal(Signal::SIGINT).unwrap();
    let done = running.finish(10 * SECOND).unwrap();
    assert!(done.success(), "{}", done.stderr);
    done
}

/// What a monitor with `-o json` has told.
fn objects(done: &Finished) -> Vec<Value> {
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn addresses(lab: &Lab, endpoint: &str) -> [IpAddr; 2] {
    lab.addresses(endpoint).unwrap()
}

/// Sends `count` datagrams, which nobody answers.
fn send(from: &Ns, to: &str, count: usize) {
    let socket = from.udp_connect(None, to).unwrap();
    for _ in 0..count {
        // Refused ones may be told by an earlier one's error.
        drop(socket.send(b"hello"));
    }
}

/// How often netfast has dropped for a reason.
fn counted(lab: &Lab, reason: &str) -> u64 {
    lab.netfast_json(&["status"]).unwrap()["counters"]["drops"][reason]["packets"].as_u64().unwrap()
}

fn monitors(lab: &Lab) -> u64 {
    lab.netfast_json(&["status"]).unwrap()["monitors"].as_u64().unwrap()
}

#[test]
fn drops_are_told_with_names_and_reasons() {
    require_root!();
    let lab = lab();
    let client = lab.endpoint_ns("client").unwrap();
    let stranger = lab.endpoint_ns("stranger").unwrap();
    lab.outside.ip(&format!("route add 10.77.0.0/24 via {HOST_V4}")).unwrap();
    lab.outside.ip(&format!("-6 route add fd77::/64 via {HOST_V6}")).unwrap();
    client.ip("addr add 10.77.0.99/32 dev eth0").unwrap();
    client.ip("addr add fd77::99/128 dev eth0 nodad preferred_lft 0").unwrap();
    for address in addresses(&lab, "web") {
        // Whoever poses as another is not told MAC addresses: it has to know them.
        assert!(client.ping(&address.to_string(), SHORT).is_err());
    }
    let running = monitor(&lab, &["-o", "json"]);
    let [web, other] = [addresses(&lab, "web"), ["10.78.0.200", "fd78::200"].map(|a| a.parse().unwrap())];
    for family in 0..2 {
        let target = SocketAddr::new(web[family], 80).to_string();
        let spoofed: SocketAddr = ["10.77.0.99:4000", "[fd77::99]:4000"][family].parse().unwrap();
        assert!(stranger.tcp_ask(&target, SHORT).is_err());
        assert!(lab.outside.tcp_ask(&target, SHORT).is_err());
        assert!(client.tcp_connect_from(Some(spoofed), &target, SHORT).is_err());
        assert!(client.ping(&other[family].to_string(), SHORT).is_err());
        assert!(client.ping(["10.77.0.250", "fd77::250"][family], SHORT).is_err());
    }
    lab.netfast_ok(&["deny", "add", OUTSIDE_V4, OUTSIDE_V6]).unwrap();
    for host in [HOST_V4, HOST_V6] {
        assert!(lab.outside.ping(host, SHORT).is_err());
    }
    let events = objects(&interrupt(running));
    let find = |reason: &str, src: &str| {
        let mut found = events.iter().filter(|event| event["reason"] == reason && event["src"] == src);
        found.next().unwrap_or_else(|| panic!("no {reason} from {src} in {events:#?}"))
    };
    let [stranger, client] = ["stranger", "client"].map(|name| addresses(&lab, name));
    let source = lab.dir().join("policy.yaml").display().to_string() + ":2";
    let denied_by =
        json!({"direction": "ingress", "endpoint": "web", "policies": ["default/web"], "sources": [source]});
    for family in 0..2 {
        let icmp = (["icmp", "icmpv6"][family], [8, 128][family]);
        let (stranger, client) = (stranger[family].to_string(), client[family].to_string());
        let outside = [OUTSIDE_V4, OUTSIDE_V6][family];

        let event = find("policy_ingress", &stranger);
        for (field, wanted) in [
            ("event", json!("drop")),
            ("program", json!("from_endpoint")),
            ("direction", json!("egress")),
            ("explanation", json!("a policy isolates the receiver and no rule lets this in")),
            ("src_endpoint", json!("stranger")),
            ("dst", json!(web[family].to_string())),
            ("dst_endpoint", json!("web")),
            ("dport", json!(80)),
            ("protocol", json!("tcp")),
            ("tcp_flags", json!(["SYN"])),
            ("endpoint", json!("web")),
            ("length", json!(if family == 0 { 74 } else { 94 })),
            ("policy", denied_by.clone()),
            ("answers", json!([{"direction": "ingress", "verdict": "denied"}])),
        ] {
            assert_eq!(event[field], wanted, "{field} of {event:#}");
        }
        assert!(event["time"].as_str().unwrap().starts_with("20"), "{event:#}");
        let device = lab.inspect("stranger").unwrap()["host_ifname"].clone();
        assert_eq!(event["device"], device);

        let event = find("unpublished", outside);
        assert_eq!((&event["device"], &event["endpoint"]), (&json!("uplink0"), &json!("web")));
        let event = find("spoofed_address", ["10.77.0.99", "fd77::99"][family]);
        assert_eq!((&event["endpoint"], &event["src_endpoint"]), (&json!("client"), &Value::Null));
        let event = find("unknown_neighbour", &client);
        assert_eq!(event["protocol"], ["arp", "icmpv6"][family]);
        let event = find("no_such_address", &client);
        assert_eq!((&event["protocol"], &event["icmp_type"]), (&json!(icmp.0), &json!(icmp.1)));
        assert_eq!(event["icmp_code"], 0);
        let event = find("denied_source", outside);
        assert_eq!((&event["program"], &event["device"]), (&json!("deny_xdp"), &json!("uplink0")));
        assert_eq!((&event["protocol"], &event["icmp_type"]), (&json!(icmp.0), &json!(icmp.1)));
    }
    let end = events.last().unwrap();
    assert_eq!((&end["event"], &end["lost"]), (&json!("end"), &json!(0)));
    assert_eq!(end["events"], events.len() - 1);
}

#[test]
fn what_is_not_told_is_counted_as_lost() {
    require_root!();
    let lab = lab();
    let stranger = lab.endpoint_ns("stranger").unwrap();
    let before = counted(&lab, "policy_ingress");
    let running = monitor(&lab, &["-o", "json", "--reason", "policy_ingress"]);
    for (address, is_stopped) in addresses(&lab, "web").into_iter().zip([true, false]) {
        if is_stopped {
            running.signal(Signal::SIGSTOP).unwrap();
        }
        // More than the ring holds.
        send(&stranger, &SocketAddr::new(address, 9).to_string(), 10_000);
        running.signal(Signal::SIGCONT).unwrap();
    }
    let done = interrupt(running);
    let events = objects(&done);
    let dropped = counted(&lab, "policy_ingress") - before;
    let told = events.iter().filter(|event| event["event"] == "drop").count() as u64;
    let lost = events.last().unwrap()["lost"].as_u64().unwrap();
    assert_eq!(told + lost, dropped, "{told} told, {lost} lost");
    assert!(dropped >= 20_000 && lost > 1000 && told > 1000, "{told} told, {lost} lost");
    assert!(done.stderr.contains(&format!("{told} events, {lost} lost")), "{}", done.stderr);
}

#[test]
fn each_monitor_reads_everything_and_a_killed_one_leaves_its_place() {
    require_root!();
    let lab = lab();
    let stranger = lab.endpoint_ns("stranger").unwrap();
    let [web, _] = addresses(&lab, "web").map(|address| SocketAddr::new(address, 9).to_string());
    let args = ["-o", "json", "--reason", "policy_ingress"];
    let drops = |done: &Finished| objects(done).iter().filter(|event| event["event"] == "drop").count();
    let (first, second) = (monitor(&lab, &args), monitor(&lab, &args));
    assert_eq!(monitors(&lab), 2);
    send(&stranger, &web, 10);
    first.signal(Signal::SIGKILL).unwrap();
    drop(first);
    send(&stranger, &web, 10);
    // Nobody has looked yet.
    assert_eq!(monitors(&lab), 2);
    lab.up(MANIFEST).unwrap();
    assert_eq!(monitors(&lab), 1);

    // What the dead one has not read is not for its heir.
    let mut all = vec![monitor(&lab, &args), monitor(&lab, &args), monitor(&lab, &args)];
    assert_eq!(monitors(&lab), 4);
    let refused = lab.netfast(&["monitor"]).unwrap();
    assert!(refused.stderr.contains("4 monitors are running already"), "{}", refused.stderr);
    send(&stranger, &web, 10);
    let heir = all.remove(0);
    assert_eq!(drops(&interrupt(heir)), 10);
    // A new one takes the place of a dead one without anybody's help.
    let killed = all.remove(0);
    killed.signal(Signal::SIGKILL).unwrap();
    drop(killed);
    all.extend([monitor(&lab, &args), monitor(&lab, &args)]);
    assert_eq!(monitors(&lab), 4);
    assert_eq!(drops(&interrupt(second)), 30);
    drop(all);
    lab.up(MANIFEST).unwrap();
    assert_eq!(monitors(&lab), 0);
}

#[test]
fn flows_are_told_with_their_translation_and_the_rule_that_allows_them() {
    require_root!();
    let lab = lab();
    let (web, client) = (lab.endpoint_ns("web").unwrap(), lab.endpoint_ns("client").unwrap());
    let _servers = [web.tcp_serve("[::]:80").unwrap(), lab.outside.tcp_serve("[::]:80").unwrap()];
    let running = monitor(&lab, &["-o", "json", "--flows", "--verdicts"]);
    let (webs, clients) = (addresses(&lab, "web"), addresses(&lab, "client"));
    for (family, host, outside) in [(0, HOST_V4, OUTSIDE_V4), (1, HOST_V6, OUTSIDE_V6)] {
        let at = |address: IpAddr, port| SocketAddr::new(address, port).to_string();
        lab.outside.tcp_ask(&at(host.parse().unwrap(), 8080), SECOND).unwrap();
        client.tcp_ask(&at(webs[family], 80), SECOND).unwrap();
        client.tcp_ask(&at(outside.parse().unwrap(), 80), SECOND).unwrap();
    }
    let events = objects(&interrupt(running));
    let find = |kind: &str, src: &str, dst: &str| {
        let mut found = events
            .iter()
            .filter(|event| event["event"] == kind && event["src"] == src && event["dst"] == dst);
        found.next().unwrap_or_else(|| panic!("no {kind} from {src} to {dst} in {events:#?}")).clone()
    };
    for (family, host, outside) in [(0, HOST_V4, OUTSIDE_V4), (1, HOST_V6, OUTSIDE_V6)] {
        let (web, client) = (webs[family].to_string(), clients[family].to_string());
        let published = find("flow", outside, host);
        let seen = &published["seen"];
        assert_eq!((&seen["src"], &seen["dst"]), (&json!(outside), &json!(web)), "{published:#}");
        assert_eq!((&seen["dport"], &seen["dst_endpoint"]), (&json!(80), &json!("web")));
        let answer = &published["answers"][0];
        assert_eq!((&answer["verdict"], &answer["policy"]), (&json!("allowed"), &json!("default/web")));
        assert!(answer["rule"].as_u64().unwrap() > 0, "{answer}");
        assert!(answer["source"].as_str().unwrap().contains("policy.yaml:"), "{answer}");
        let direct = find("flow", &client, &web);
        assert_eq!((direct.get("seen"), &direct["src_endpoint"]), (None, &json!("client")));
        let masqueraded = find("flow", &client, outside);
        assert_eq!(masqueraded["seen"]["src"], host, "{masqueraded:#}");
        let verdict = find("verdict", &client, &web);
        assert_eq!(verdict["answers"][0]["policy"], "default/web");
    }
}

#[test]
fn only_what_was_asked_for_is_shown() {
    require_root!();
    let lab = lab();
    let stranger = lab.endpoint_ns("stranger").unwrap();
    let client = lab.endpoint_ns("client").unwrap();
    let [web, _] = addresses(&lab, "web");
    let stranger_address = addresses(&lab, "stranger")[0].to_string();
    let by_endpoint =
        monitor(&lab, &["--endpoint", "default/stranger", "--reason", "policy_ingress", "--count", "3"]);
    let by_port = monitor(&lab, &["--port", "99", "--addr", "10.77.0.0/24"]);
    let by_address = monitor(&lab, &["--addr", &stranger_address, "--reason", "policy_ingress"]);
    let of_nobody = monitor(&lab, &["--reason", "martian", "--for", "2"]);
    for port in [98, 99] {
        send(&client, &SocketAddr::new(web, port).to_string(), 2);
        send(&stranger, &SocketAddr::new(web, port).to_string(), 2);
    }
    let done = by_endpoint.finish(10 * SECOND).unwrap();
    assert!(done.success() && done.stderr.contains("3 events, 0 lost"), "{}", done.stderr);
    assert_eq!(done.stdout.lines().count(), 3);
    assert!(done.stdout.lines().all(|line| line.contains("stranger 10.77.0.")), "{}", done.stdout);
    let line = done.stdout.lines().last().unwrap();
    for part in
        ["policy_ingress", "udp", "-> web 10.77.0.", "(ingress of web: default/web in ", "policy.yaml:2)"]
    {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
    let done = interrupt(by_port);
    assert_eq!(done.stdout.matches(":99 ").count(), 4, "{}", done.stdout);
    assert!(!done.stdout.contains(":98 "), "{}", done.stdout);
    assert_eq!(interrupt(by_address).stdout.lines().count(), 4);
    let done = of_nobody.finish(10 * SECOND).unwrap();
    assert!(done.success() && done.stdout.is_empty(), "{}", done.stdout);
}

#[test]
fn mistakes_are_told() {
    require_root!();
    let lab = Lab::new().unwrap();
    let fails = |args: &[&str], wanted: &str| {
        let done = lab.netfast(&[&["monitor"], args].concat()).unwrap();
        assert!(!done.success() && done.stderr.contains(wanted), "{args:?}: {}", done.stderr);
    };
    fails(&[], "nothing is up");
    lab.file("policy.yaml", POLICY).unwrap();
    lab.up(MANIFEST).unwrap();
    fails(&["--endpoint", "nobody"], "nobody");
    fails(&["--reason", "bad_luck"], "policy_ingress");
    fails(&["--addr", "10.0.0"], "is no address");
    fails(&["--pcap", "/nowhere/x.pcapng"], "/nowhere/x.pcapng");
    fails(&["--pcap", "x", "--flows"], "--flows");
    fails(&["--snaplen", "100"], "--pcap");
}

#[test]
fn it_ends_with_its_instance_or_its_reader_and_has_no_rights() {
    require_root!();
    let lab = lab();
    let running = monitor(&lab, &[]);
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    for set in ["CapPrm", "CapEff"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    // Somebody who reads one line and goes.
    let mut head = lab.host.command("sh");
    head.args(["-c", "\"$0\" monitor --reason policy_ingress | head -n 1"])
        .arg(lab.binary())
        .envs(lab.environment());
    let mut head = Running::start(&mut head).unwrap();
    head.wait_for("Ctrl-C ends", 10 * SECOND).unwrap();
    let stranger = lab.endpoint_ns("stranger").unwrap();
    send(&stranger, &SocketAddr::new(addresses(&lab, "web")[0], 9).to_string(), 1);
    let done = head.finish(10 * SECOND).unwrap();
    assert_eq!(done.stdout.lines().count(), 1);
    assert_eq!(monitors(&lab), 1);

    assert!(lab.dir().join("run/readers").exists());
    lab.down().unwrap();
    assert!(!lab.dir().join("run/readers").exists());
    let done = running.finish(10 * SECOND).unwrap();
    assert!(!done.success() && done.stderr.contains("the instance was taken down"), "{}", done.stderr);
}

/// A packet of a pcapng file.
struct Captured {
    endpoint: String,
    is_sent: bool,
    length: u32,
    bytes: Vec<u8>,
}

impl Captured {
    /// Source and destination, with ports, and the TCP payload's length, if it is TCP.
    fn tcp(&self) -> Option<(SocketAddr, SocketAddr)> {
        let packet = SlicedPacket::from_ethernet(&self.bytes).ok()?;
        let (src, dst): (IpAddr, IpAddr) = match packet.net? {
            NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
        Some((SocketAddr::new(src, tcp.source_port()), SocketAddr::new(dst, tcp.destination_port())))
    }
}

/// Reads a pcapng file as its definition says.
fn read(mut bytes: &[u8]) -> Vec<Captured> {
    let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
    assert_eq!(word(bytes, 8), 0x1a2b_3c4d);
    while !bytes.is_empty() {
        let (kind, length) = (word(bytes, 0), word(bytes, 4) as usize);
        assert_eq!(word(bytes, length - 4) as usize, length);
        match kind {
            1 => {
                let name = word(bytes, 16);
                assert_eq!(name & 0xffff, 2, "its name is its first option");
                let name = &bytes[20..20 + (name >> 16) as usize];
                interfaces.push(String::from_utf8(name.to_vec()).unwrap());
            }
            6 => {
                let kept = word(bytes, 20) as usize;
                let options = 28 + kept.next_multiple_of(4);
                packets.push(Captured {
                    endpoint: interfaces[word(bytes, 8) as usize].clone(),
                    is_sent: word(bytes, options + 4) == 2,
                    length: word(bytes, 24),
                    bytes: bytes[28..28 + kept].to_vec(),
                });
            }
            _ => {}
        }
        bytes = &bytes[length..];
    }
    packets
}

#[test]
fn packets_are_captured_as_their_endpoint_sees_them() {
    require_root!();
    let lab = lab();
    let (web, client) = (lab.endpoint_ns("web").unwrap(), lab.endpoint_ns("client").unwrap());
    let _server = web.tcp_serve("[::]:80").unwrap();
    let files =
        ["web", "client", "all"].map(|name| lab.dir().join(format!("{name}.pcapng")).display().to_string());
    let [of_web, of_client, of_all] = &files;
    let running = [
        monitor(&lab, &["--pcap", of_web, "--endpoint", "web", "--snaplen", "9216"]),
        monitor(&lab, &["--pcap", of_client, "--endpoint", "client", "--snaplen", "100"]),
        monitor(&lab, &["--pcap", of_all]),
    ];
    let (webs, clients) = (addresses(&lab, "web"), addresses(&lab, "client"));
    let mut conversations = Vec::new();
    for (family, host) in [HOST_V4, HOST_V6].into_iter().enumerate() {
        let published = SocketAddr::new(host.parse().unwrap(), 8080);
        let reply = lab.outside.tcp_ask(&published.to_string(), SECOND).unwrap();
        conversations.push((reply.local, SocketAddr::new(webs[family], 80), published));
        let reply = client.tcp_ask(&published.to_string(), SECOND).unwrap();
        assert_eq!(reply.local.ip(), clients[family]);
        conversations.push((reply.local, SocketAddr::new(webs[family], 80), published));
    }
    client.tcp_stream(&format!("{HOST_V4}:8080"), 1_000_001, 10 * SECOND).unwrap();
    for running in running {
        let done = interrupt(running);
        assert!(done.stderr.contains("packets, 0 lost"), "{}", done.stderr);
    }
    let [at_web, at_client, at_all] = files.map(|file| read(&fs::read(file).unwrap()));
    let has = |packets: &[Captured], endpoint: &str, is_sent: bool, ends: (SocketAddr, SocketAddr)| {
        let mut packets = packets.iter();
        packets.any(|p| p.endpoint == endpoint && p.is_sent == is_sent && p.tcp() == Some(ends))
    };
    for (asker, server, published) in conversations {
        // The server is asked by its own address, whatever the asker called it.
        for packets in [&at_web, &at_all] {
            assert!(has(packets, "web", false, (asker, server)), "{asker} to {server}");
            assert!(has(packets, "web", true, (server, asker)), "{server} to {asker}");
            assert!(!has(packets, "web", false, (asker, published)));
        }
        if clients.contains(&asker.ip()) {
            for packets in [&at_client, &at_all] {
                assert!(has(packets, "client", true, (asker, published)), "{asker} to {published}");
                assert!(has(packets, "client", false, (published, asker)), "{published} to {asker}");
            }
        }
    }
    assert!(at_web.iter().all(|packet| packet.endpoint == "web"));
    assert!(at_client.iter().all(|packet| packet.bytes.len() <= 100));
    // What is cut, and what is still to be segmented, tells its real length.
    assert!(at_client.iter().any(|packet| packet.bytes.len() == 100 && packet.length > 9216));
    assert!(at_web.iter().any(|packet| packet.bytes.len() == 9216 && packet.length > 9216));
}
