//! Published ports for endpoints of one family only: clients of the other one reach them too.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Duration;

use netfast_tests::{
    HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, Reply, UdpQuestion, require_root, udp_ask_on,
};
use nix::errno::Errno;
use nix::libc;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// Longer than anything takes that is to succeed.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a packet that is to be dropped is waited for.
const SHORT: Duration = Duration::from_millis(300);

const FOUR: &str = "10.77.0.10";
const SIX: &str = "fd78::10";
const GATEWAY_V4: &str = "10.77.0.1";
const GATEWAY_V6: &str = "fd78::1";

const MANIFEST: &str = "
networks:
  four: {subnet: 10.77.0.0/24}
  six: {subnet6: 'fd78::/64'}
  both: {subnet: 10.79.0.0/24, subnet6: 'fd79::/64'}
endpoints:
  web4:
    network: four
    ip: 10.77.0.10
    labels: {app: web}
    publish: ['8080:80', '8081:81', '5353:53/udp', '5354:54/udp', '[2001:db8:99::1]:8083:80', '[::1]:8084:80']
  web6:
    network: six
    ip6: 'fd78::10'
    labels: {app: web}
    publish: ['9080:80', '9081:81', '6353:53/udp', '6354:54/udp', '192.0.2.1:9083:80']
  client: {network: both}
";

/// One endpoint, and those who can reach it only through a translation.
struct Side {
    web: &'static str,
    /// The host's address of the family that the endpoint lacks.
    host: &'static str,
    client: &'static str,
    /// Published ports: of TCP and UDP, the same without a server, and on that address only.
    tcp: u16,
    closed_tcp: u16,
    udp: u16,
    closed_udp: u16,
    single: u16,
    address: &'static str,
    gateway: &'static str,
}

const SIDES: [Side; 2] = [
    Side {
        web: "web4",
        host: HOST_V6,
        client: OUTSIDE_V6,
        tcp: 8080,
        closed_tcp: 8081,
        udp: 5353,
        closed_udp: 5354,
        single: 8083,
        address: FOUR,
        gateway: GATEWAY_V4,
    },
    Side {
        web: "web6",
        host: HOST_V4,
        client: OUTSIDE_V4,
        tcp: 9080,
        closed_tcp: 9081,
        udp: 6353,
        closed_udp: 6354,
        single: 9083,
        address: SIX,
        gateway: GATEWAY_V6,
    },
];

fn at(address: &str, port: u16) -> String {
    SocketAddr::new(address.parse().unwrap(), port).to_string()
}

struct World {
    lab: Lab,
    _servers: Vec<Box<dyn Send>>,
}

fn world(more: &str) -> World {
    let lab = Lab::new().unwrap();
    lab.up(&format!("{MANIFEST}{more}")).unwrap();
    let mut servers: Vec<Box<dyn Send>> = Vec::new();
    for Side { web, address, .. } in SIDES {
        let ns = lab.endpoint_ns(web).unwrap();
        servers.push(Box::new(ns.tcp_serve(&at(address, 80)).unwrap()));
        servers.push(Box::new(ns.udp_serve(&at(address, 53)).unwrap()));
    }
    World { lab, _servers: servers }
}

/// Expects that the endpoint sees the gateway, and the asker what it asked for.
#[track_caller]
fn reached(side: &Side, reply: io::Result<Reply>, asked: &str, port: u16) -> Reply {
    let reply = reply.unwrap_or_else(|error| panic!("{asked}: {error}"));
    assert_eq!(reply.by, side.web, "{asked}");
    assert_eq!(reply.seen_source.ip(), side.gateway.parse::<IpAddr>().unwrap(), "{asked}");
    assert_eq!(reply.seen_destination.to_string(), at(side.address, port));
    assert_eq!(reply.remote.to_string(), asked);
    reply
}

/// Asks by TCP and UDP.
#[track_caller]
fn reaches(side: &Side, from: &Ns, host: &str) {
    let tcp = at(host, side.tcp);
    reached(side, from.tcp_ask(&tcp, PATIENCE), &tcp, 80);
    let udp = at(host, side.udp);
    reached(side, from.udp_ask(&udp, PATIENCE), &udp, 53);
}

/// How many packets were dropped on the whole host.
fn dropped(lab: &Lab, reason: &str) -> u64 {
    lab.netfast_json(&["status"]).unwrap()["counters"]["drops"][reason]["packets"].as_u64().unwrap()
}

#[test]
fn from_outside() {
    require_root!();
    let World { lab, .. } = &world("");
    for side in &SIDES {
        reaches(side, &lab.outside, side.host);
        let single = at(side.host, side.single);
        reached(side, lab.outside.tcp_ask(&single, PATIENCE), &single, 80);
        // In segments as large as the kernel makes them, both ways, and every byte of them.
        lab.outside.tcp_stream(&at(side.host, side.tcp), 30_000_001, 3 * PATIENCE).unwrap();
        lab.outside.udp_ask_sized(&at(side.host, side.udp), 1400, PATIENCE).unwrap();
    }
}

/// The kernel cuts what is sent at once only where it leaves the last device that can take it whole.
#[test]
fn datagrams_that_are_cut_on_their_way() {
    require_root!();
    let World { lab, .. } = &world("");
    for side in &SIDES {
        let socket = lab.outside.udp_connect(None, &at(side.host, side.udp)).unwrap();
        let size: libc::c_int = 1200;
        // SAFETY: the option's value is an integer that lives through the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                (&raw const size).cast(),
                4,
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        for waited_for in [0, 1, 2] {
            let questions: Vec<_> = (0..3).map(|_| UdpQuestion::new(1200)).collect();
            let all: Vec<&[u8]> = questions.iter().map(UdpQuestion::payload).collect();
            socket.send(&all.concat()).unwrap();
            questions[waited_for].answered(&socket, PATIENCE).unwrap();
        }
    }
}

#[test]
fn a_port_without_a_server_is_refused() {
    require_root!();
    let World { lab, .. } = &world("");
    for side in &SIDES {
        let refused = lab.outside.tcp_ask(&at(side.host, side.closed_tcp), PATIENCE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        // By an ICMP error, which is translated too.
        let refused = lab.outside.udp_ask(&at(side.host, side.closed_udp), PATIENCE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    // All four questions reached the endpoints.
    let counters = &lab.netfast_json(&["status"]).unwrap()["counters"]["paths"];
    assert!(counters["from_outside"]["packets"].as_u64().unwrap() >= 4, "{counters}");
}

#[test]
fn from_containers_of_another_network() {
    require_root!();
    let World { lab, .. } = &world("");
    let client = lab.endpoint_ns("client").unwrap();
    for side in &SIDES {
        reaches(side, &client, side.host);
        client.tcp_stream(&at(side.host, side.tcp), 3_000_001, 3 * PATIENCE).unwrap();
    }
}

#[test]
fn from_processes_of_the_host() {
    require_root!();
    let World { lab, .. } = &world("");
    let [four, six] = &SIDES;
    for address in ["::1", HOST_V6] {
        reaches(four, &lab.host, address);
    }
    let loopback = at("::1", 8084);
    reached(four, lab.host.tcp_ask(&loopback, PATIENCE), &loopback, 80);
    lab.host.tcp_stream(&at("::1", four.tcp), 3_000_001, 3 * PATIENCE).unwrap();
    // A socket that speaks IPv6 only cannot speak to an IPv4 address, nor one of IPv4 to an IPv6 address.
    let only_v6 = lab.host.socket(Domain::IPV6, Type::STREAM, None).unwrap();
    only_v6.set_only_v6(true).unwrap();
    let refusal = only_v6.connect(&at("::1", four.tcp).parse::<SocketAddr>().unwrap().into()).unwrap_err();
    assert_eq!(refusal.raw_os_error(), Some(Errno::ENETUNREACH as i32));
    is_unreachable(&lab.host.tcp_ask(&at("127.0.0.1", six.tcp), PATIENCE).unwrap_err());
    is_unreachable(&lab.host.udp_ask(&at("127.0.0.1", six.udp), PATIENCE).unwrap_err());
    // Nor can a socket of IPv6 send there without connecting; the kernel has no way to lead it.
    for (family, to) in [(Domain::IPV6, at("::1", four.udp)), (Domain::IPV4, at("127.0.0.1", six.udp))] {
        let socket: UdpSocket = lab.host.socket(family, Type::DGRAM, None).unwrap().into();
        is_unreachable(&socket.send_to(b"a question", to.parse::<SocketAddr>().unwrap()).unwrap_err());
    }
}

/// Before Linux 6.1 programs cannot choose what a process is told.
#[track_caller]
fn is_unreachable(error: &io::Error) {
    let told = error.raw_os_error();
    let expected = [Errno::ENETUNREACH, Errno::EPERM].map(|errno| Some(errno as i32));
    assert!(expected.contains(&told), "{error}");
}

#[test]
fn a_hundred_clients_at_once() {
    require_root!();
    let World { lab, .. } = &world("");
    for side in &SIDES {
        let asked = at(side.host, side.tcp);
        let replies: Vec<_> = thread::scope(|scope| {
            let ask = || {
                let mut open = lab.outside.tcp_connect(&asked, 3 * PATIENCE)?;
                open.ask()?;
                open.ask().map(|reply| (reply, open))
            };
            let clients: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        // All are open still, so no two of them can share what the endpoint knows them by.
        let mut ports: Vec<_> = replies
            .into_iter()
            .map(|reply| {
                reply.map(|(reply, open)| (reached(side, Ok(reply), &asked, 80).seen_source.port(), open))
            })
            .collect::<Result<_, _>>()
            .unwrap();
        ports.sort_unstable_by_key(|(port, _)| *port);
        ports.dedup_by_key(|(port, _)| *port);
        assert_eq!(ports.len(), 100);
    }
}

#[test]
fn ports_run_out_and_are_counted() {
    require_root!();
    let World { lab, .. } = &world("masquerade: {ports: 20000-20003}\n");
    for side in &SIDES {
        let connect = || lab.outside.udp_connect(None, &at(side.host, side.udp)).unwrap();
        let open: Vec<_> = (0..4).map(|_| connect()).collect();
        let ask = |socket: &Socket| udp_ask_on(socket, 100, PATIENCE).unwrap().seen_source.port();
        let mut ports: Vec<_> = open.iter().map(ask).collect();
        ports.sort_unstable();
        assert_eq!(ports, [20000, 20001, 20002, 20003]);
        let before = dropped(lab, "masquerade_exhausted");
        udp_ask_on(&connect(), 100, SHORT).unwrap_err();
        assert!(dropped(lab, "masquerade_exhausted") > before);
        // Those that are there go on.
        assert!(open.iter().all(|socket| ports.contains(&ask(socket))));
    }
}

#[test]
fn policies_judge_the_client_by_its_own_address() {
    require_root!();
    let World { lab, .. } = &world("");
    lab.outside.address("eth0", "2001:db8:99::66/64").unwrap();
    lab.outside.address("eth0", "192.0.2.66/24").unwrap();
    let policy = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - ipBlock: {cidr: '2001:db8:99::/64', except: ['2001:db8:99::66/128']}
    - ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.66/32]}
    ports: [{port: 80}]
";
    let file = lab.file("policy.yaml", policy).unwrap();
    lab.netfast_ok(&["policy", "apply", &file]).unwrap();
    for (side, denied) in SIDES.iter().zip(["2001:db8:99::66", "192.0.2.66"]) {
        let asked = at(side.host, side.tcp);
        let from = |address: &str, patience| {
            let from = SocketAddr::new(address.parse().unwrap(), 0);
            lab.outside.tcp_connect_from(Some(from), &asked, patience).and_then(|mut open| open.ask())
        };
        reached(side, from(side.client, PATIENCE), &asked, 80);
        let before = lab.dropped(side.web, "policy_ingress").unwrap();
        from(denied, SHORT).unwrap_err();
        assert!(lab.dropped(side.web, "policy_ingress").unwrap() > before);
        // And what is asked about it says so too.
        let ask = |from: &str, to: &str, port: &str| {
            let args = ["policy", "explain", "--from", from, "--to", to, "--port", port, "-o", "json"];
            let told: Value = serde_json::from_str(&lab.netfast(&args).unwrap().stdout).unwrap();
            (told["allowed"].as_bool().unwrap(), told["reachable"].as_bool().unwrap())
        };
        let explain = |from: &str| ask(from, side.web, "80");
        assert_eq!(explain(side.client), (true, true));
        assert_eq!(explain(denied), (false, false));
        let through = |from: &str| ask(from, side.host, &side.tcp.to_string());
        assert_eq!(through(side.client), (true, true));
        assert_eq!(through(denied), (false, false));
    }
}

#[test]
fn flows_show_both_families() {
    require_root!();
    let World { lab, .. } = &world("");
    for side in &SIDES {
        let mut open = lab.outside.tcp_connect(&at(side.host, side.tcp), PATIENCE).unwrap();
        let reply = open.ask().unwrap();
        let list = lab.netfast_json(&["flow", "ls"]).unwrap();
        let flows: Vec<&Value> = list["flows"].as_array().unwrap().iter().collect();
        let flow = flows.iter().find(|flow| flow["responder"]["endpoint"] == side.web).unwrap();
        assert_eq!(flow["originator"]["addr"], side.client);
        assert_eq!(flow["originator"]["port"], reply.local.port());
        assert_eq!(
            (&flow["responder"]["addr"], &flow["responder"]["port"]),
            (&side.host.into(), &side.tcp.into())
        );
        assert_eq!(flow["source_nat"]["addr"], side.gateway);
        assert_eq!(flow["source_nat"]["port"], reply.seen_source.port());
        assert_eq!(flow["destination_nat"]["addr"], side.address);
        assert_eq!(flow["destination_nat"]["port"], 80);
        // And end when they are told to.
        lab.netfast_ok(&["flow", "flush", "--endpoint", side.web]).unwrap();
        assert!(open.ask().is_err());
    }
}

#[test]
fn flows_go_on_under_another_netfasts_programs() {
    require_root!();
    let World { lab, .. } = &world("");
    let mut open = SIDES.map(|side| lab.outside.tcp_connect(&at(side.host, side.tcp), PATIENCE).unwrap());
    for open in &mut open {
        open.ask().unwrap();
    }
    let pins = lab.dir().join("bpffs/v1");
    let script = format!("cd {} && mv programs-* programs-0000000000000000", pins.display());
    assert!(lab.host.finish("sh", &["-c", &script], PATIENCE).unwrap().success());
    lab.up(MANIFEST).unwrap();
    assert_eq!(lab.netfast_json(&["status"]).unwrap()["object"]["is_own"], true);
    for open in &mut open {
        open.swap(300_000).unwrap();
    }
    // What is not published any more ends.
    lab.up(&MANIFEST.replace("'8080:80', ", "").replace("'9080:80', ", "")).unwrap();
    for open in &mut open {
        assert!(open.ask().is_err());
    }
}

#[test]
fn the_ports_are_taken_in_both_families() {
    require_root!();
    let World { lab, .. } = &world("");
    let bind = |kind, address: String| {
        let address: SocketAddr = address.parse().unwrap();
        let socket = lab.host.socket(Domain::for_address(address), kind, None).unwrap();
        socket.bind(&address.into()).map(|()| socket)
    };
    for side in &SIDES {
        let any = if side.host.contains(':') { "::" } else { "0.0.0.0" };
        for address in [any, side.host] {
            for (kind, port) in [(Type::STREAM, side.tcp), (Type::DGRAM, side.udp)] {
                let told = bind(kind, at(address, port)).unwrap_err().raw_os_error();
                assert_eq!(told, Some(Errno::EADDRINUSE as i32), "{address} {port}");
            }
        }
        assert!(bind(Type::STREAM, at(side.host, side.single)).is_err());
    }
}

#[test]
fn what_comes_in_fragments_is_dropped_and_counted() {
    require_root!();
    let World { lab, .. } = &world("");
    for side in &SIDES {
        let before = dropped(lab, "untranslatable");
        lab.outside.udp_ask_sized(&at(side.host, side.udp), 4_000, SHORT).unwrap_err();
        assert!(dropped(lab, "untranslatable") > before);
    }
}

#[test]
fn a_path_that_takes_less_is_found_out() {
    require_root!();
    let World { lab, .. } = &world("");
    // The router's wire behind takes 1300 bytes, which the host there does not know.
    let far = lab.far().unwrap();
    lab.outside.ip("link set dev eth1 mtu 1300").unwrap();
    for side in &SIDES {
        far.tcp_stream(&at(side.host, side.tcp), 1_000_001, 3 * PATIENCE).unwrap();
    }
    // The endpoints have learnt of it.
    let routes = |side: &Side| {
        let family = if side.address.contains(':') { "-6" } else { "-4" };
        lab.endpoint_ns(side.web).unwrap().ip(&format!("{family} route get {}", side.gateway)).unwrap()
    };
    for (side, mtu) in SIDES.iter().zip(["mtu 1280", "mtu 1320"]) {
        assert!(routes(side).contains(mtu), "{}", routes(side));
    }
}
